"""Loading features as a model's input: CMVN, deltas and transforms."""

import json

import numpy as np
import pytest
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.features import ark
from lstmp.features.cmvn import compute_cmvn
from lstmp.features.load import FeatureConfig, Features

UTT2SPK = {"a-1": "a", "a-2": "a", "b-1": "b"}


@pytest.fixture
def folder(tmp_path):
    """Features of three utterances of two speakers with different means and variances."""
    rng = np.random.default_rng(3)
    with ark.ArkWriter(tmp_path / "feats.ark", tmp_path / "feats.scp") as writer:
        for i, utt in enumerate(UTT2SPK):
            writer.write(utt, (rng.standard_normal((20 + i, 4)) * (1 + i) + 10 * i).astype(np.float32))
    (tmp_path / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in UTT2SPK.items()))
    compute_cmvn(tmp_path)
    return tmp_path


def raw(folder, utt):
    return ark.read_mat(ark.read_scp(folder / "feats.scp")[utt])


def test_raw_features(folder):
    feats = Features(folder, FeatureConfig("mfcc", "none", 0))
    assert feats.utts == list(UTT2SPK) and feats.dim == 4
    for utt in feats.utts:
        x = feats.load(utt)
        assert x.dtype == torch.float32 and np.array_equal(x.numpy(), raw(folder, utt))
        assert feats.num_frames(utt) == len(x)


@pytest.mark.parametrize("cmvn, std", [("mean", None), ("mean_var", 1.0)])
def test_cmvn_is_per_speaker(folder, cmvn, std):
    feats = Features(folder, FeatureConfig("mfcc", cmvn, 0))
    for speaker in ("a", "b"):
        x = torch.cat([feats.load(u) for u in feats.utts if UTT2SPK[u] == speaker])
        y = np.concatenate([raw(folder, u) for u in feats.utts if UTT2SPK[u] == speaker])
        assert torch.allclose(x.mean(0), torch.zeros(4), atol=1e-4)
        expected = y.std(0) if std is None else np.full(4, std)
        np.testing.assert_allclose(x.std(0, unbiased=False), expected, rtol=1e-4)


@pytest.mark.parametrize("deltas", [0, 2])
def test_utterance_without_frames_is_an_error(folder, deltas):
    with ark.ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        for utt, frames in zip(UTT2SPK, (3, 0, 5), strict=True):
            writer.write(utt, np.zeros((frames, 4), np.float32))
    feats = Features(folder, FeatureConfig("mfcc", "mean", deltas))
    assert [len(feats.load(u)) for u in ("a-1", "b-1")] == [3, 5]
    with pytest.raises(UserError, match=r"feats\.scp: utterance a-2 has no frames; leave it out"):
        feats.load("a-2")


@pytest.mark.parametrize("speaker, count", [("a", 0.5), ("b", 0.0), ("b", float("nan"))])
def test_statistics_of_less_than_one_frame_are_an_error(folder, speaker, count):
    stats = {s: ark.read_mat(rx, dtype=np.float64) for s, rx in ark.read_scp(folder / "cmvn.scp").items()}
    stats[speaker][0, -1] = count
    with ark.ArkWriter(folder / "cmvn.ark", folder / "cmvn.scp") as writer:
        for name, matrix in stats.items():
            writer.write(name, matrix)
    with pytest.raises(UserError, match=f"speaker {speaker} has statistics of 0 frames|NaN"):
        Features(folder, FeatureConfig("mfcc", "mean", 0))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 30])
def test_deltas_match_kaldi(folder, order, frames):
    """Δ: regression over edge-padded frames; ΔΔ: the window convolved with itself, padded once."""
    x = np.random.default_rng(frames).standard_normal((frames, 4))
    with ark.ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        writer.write("a-1", x.astype(np.float32))
    got = Features(folder, FeatureConfig("mfcc", "none", order)).load("a-1").numpy()
    window, blocks = np.array([1.0]), [x]
    for _ in range(order):
        window = np.convolve(window, np.array([-2, -1, 0, 1, 2]) / 10)
        half = len(window) // 2
        block = np.zeros_like(x)
        for t in range(frames):
            for j in range(-half, half + 1):
                block[t] += window[j + half] * x[min(max(t + j, 0), frames - 1)]
        blocks.append(block)
    np.testing.assert_allclose(got, np.concatenate(blocks, axis=1), atol=1e-5)


def test_deltas_are_computed_after_normalization(folder):
    x = Features(folder, FeatureConfig("mfcc", "mean_var", 2))
    plain = Features(folder, FeatureConfig("mfcc", "mean_var", 0))
    assert x.dim == 12
    assert torch.equal(x.load("b-1")[:, :4], plain.load("b-1"))


@pytest.mark.parametrize("name, value", [("kind", "plp"), ("cmvn", "sliding"), ("deltas", 3)])
def test_invalid_configuration_is_rejected(tmp_path, name, value):
    values = {"kind": "mfcc", "cmvn": "mean", "deltas": 2, name: value}
    (tmp_path / "c.yaml").write_text("".join(f"{k}: {v}\n" for k, v in values.items()))
    with pytest.raises(UserError, match=rf"c\.yaml:\d: `{name}` must be"):
        config.load(tmp_path / "c.yaml", FeatureConfig)


def test_errors_name_the_file(folder):
    cfg = FeatureConfig("mfcc", "mean", 0)
    feats = Features(folder, cfg)
    with pytest.raises(UserError, match=r"feats\.scp: utterance zzz has no features"):
        feats.load("zzz")
    (folder / "feats.json").write_text(json.dumps({"kind": "fbank"}))
    with pytest.raises(UserError, match=r"feats\.json: the features are fbank, the model needs mfcc"):
        Features(folder, cfg)
    (folder / "feats.json").write_text("{")
    with pytest.raises(UserError, match=r"feats\.json"):
        Features(folder, cfg)
    (folder / "feats.json").unlink()
    (folder / "utt2num_frames").write_text("a-1 20\na-2 x\nb-1 22\n")
    with pytest.raises(UserError, match=r"utt2num_frames:2: 'x' is not a number of frames"):
        Features(folder, cfg)
    (folder / "utt2num_frames").unlink()
    (folder / "utt2spk").write_text("a-1 a\na-2 a\nb-1 c\n")
    with pytest.raises(UserError, match=r"cmvn\.scp: speaker c has no statistics"):
        Features(folder, cfg)
    (folder / "utt2spk").write_text("a-1 a\na-2 a\n")
    with pytest.raises(UserError, match=r"utt2spk: utterance b-1 has no speaker"):
        Features(folder, cfg)
    (folder / "cmvn.scp").unlink()
    with pytest.raises(UserError, match=r"cmvn\.scp: no such file"):
        Features(folder, cfg)
    (folder / "feats.scp").unlink()
    with pytest.raises(UserError, match=r"feats\.scp: no such file; run steps/make_mfcc\.sh"):
        Features(folder, cfg)


def test_statistics_of_other_dimension_are_rejected(folder):
    with ark.ArkWriter(folder / "cmvn.ark", folder / "cmvn.scp") as writer:
        for speaker in "ab":
            writer.write(speaker, np.ones((2, 9)))
    with pytest.raises(UserError, match=r"cmvn\.ark: .* 9 columns, 5 expected"):
        Features(folder, FeatureConfig("mfcc", "mean", 0))
    with ark.ArkWriter(folder / "cmvn.ark", folder / "cmvn.scp") as writer:
        for speaker in "ab":
            writer.write(speaker, np.zeros((2, 5)))
    with pytest.raises(UserError, match="statistics of 0 frames"):
        Features(folder, FeatureConfig("mfcc", "mean", 0))


def test_utterance_of_other_dimension_is_rejected(folder):
    with ark.ArkWriter(folder / "feats.ark", folder / "feats.scp") as writer:
        writer.write("a-1", np.ones((3, 4), dtype=np.float32))
        writer.write("b-1", np.ones((3, 5), dtype=np.float32))
    with pytest.raises(UserError, match=r"feats\.ark: .* 5 columns, 4 expected"):
        Features(folder, FeatureConfig("mfcc", "none", 0)).load("b-1")
    with pytest.raises(UserError, match="utt2spk: utterance b-1 has no speaker"):
        (folder / "utt2spk").write_text("a-1 a\n")
        compute_cmvn(folder)


@pytest.mark.parametrize("context", [0, 1, 3])
def test_spliced_frames_and_their_transform(folder, context):
    plain = Features(folder, FeatureConfig("mfcc", "mean", 0))
    spliced = Features(folder, FeatureConfig("mfcc", "mean", 0), context=context)
    x, y = plain.load("b-1"), spliced.load("b-1")
    assert spliced.dim == y.shape[1] == 4 * (1 + 2 * context)
    for t in (0, 1, 10, len(x) - 1):
        expected = [x[min(max(t + d, 0), len(x) - 1)] for d in range(-context, context + 1)]
        assert torch.equal(y[t], torch.cat(expected))
    matrix = torch.randn(3, y.shape[1], generator=torch.Generator().manual_seed(0))
    affine = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    both = Features(folder, FeatureConfig("mfcc", "mean", 0), matrix, {"b": affine})
    assert both.dim == 3
    torch.testing.assert_close(both.load("b-1"), y @ matrix.t() @ affine[:, :3].t() + affine[:, 3])
    torch.testing.assert_close(both.load("a-1"), spliced.load("a-1") @ matrix.t())  # a speaker without a transform


@pytest.mark.parametrize("width", [6, 8, 3])
def test_transform_of_other_dimension_is_rejected(folder, width):
    with pytest.raises(UserError, match=f"features of 4 dimensions for a transform of {width}"):
        Features(folder, FeatureConfig("mfcc", "none", 0), torch.zeros(2, width))
