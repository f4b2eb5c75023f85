"""Loading frames and alignments, leaving out unusable utterances; the priors."""

import numpy as np
import pytest
import torch

from lstmp.errors import UserError
from lstmp.nnet.data import FrameSet, Moments, log_priors
from lstmp.nnet.load_frames import load_frames, read_num_pdfs


def load(toy, cfg, limit=0.2, **kwargs):
    return load_frames(toy.data, toy.ali, cfg.feature, 5, limit, "test", **kwargs)


def test_frames_of_the_utterances_are_concatenated(toy, small_config):
    frames = load(toy, small_config())
    assert frames.utts == sorted(toy.feats) and frames.features.shape[1] == 6
    for u, utt in enumerate(frames.utts):
        rows = slice(int(frames.offsets[u]), int(frames.offsets[u + 1]))
        assert np.array_equal(frames.features[rows], toy.feats[utt])
        assert np.array_equal(frames.pdfs[rows], toy.pdfs[utt])


def test_only_and_without(toy, small_config):
    held_out = {"a-10", "a-11"}
    assert load(toy, small_config(), only=held_out).utts == ["a-10", "a-11"]
    assert set(load(toy, small_config(), without=held_out).utts) == set(toy.feats) - held_out


@pytest.mark.parametrize("problem,message", [("missing", "no alignment"), ("length", "45 frames of features, 44"),
                                           ("pdf", "pdf-id 5 is not below 5"), ("nan", "NaN or infinity")])
def test_a_bad_utterance_is_left_out_and_named(toy, small_config, capfd, problem, message):
    if problem == "missing":
        del toy.pdfs["a-02"]
    elif problem == "length":
        toy.pdfs["a-02"] = toy.pdfs["a-02"][:-1]
    elif problem == "pdf":
        toy.pdfs["a-02"][3] = 5
    else:
        toy.feats["a-02"][7, 2] = np.nan
    toy.write()
    frames = load(toy, small_config())
    err = capfd.readouterr().err
    assert "a-02" not in frames.utts and len(frames.utts) == 11
    assert "a-02 is left out" in err and message in err
    with pytest.raises(UserError, match="1 of 12 utterances.*max_left_out"):
        load(toy, small_config(), limit=0.05)


def test_no_usable_utterance_is_an_error(toy, small_config):
    with pytest.raises(UserError, match="no utterance for test has both"):
        load(toy, small_config(), only={"someone-else"})


@pytest.mark.parametrize("text", ["", "many", "0", "-3"])
def test_num_pdfs_must_be_a_number(toy, text):
    (toy.ali / "num_pdfs").write_text(text)
    with pytest.raises(UserError, match="num_pdfs:1: .* not a number of states"):
        read_num_pdfs(toy.ali)


def test_mean_and_std_leave_a_constant_dimension_alone():
    x = 3 * torch.randn(70000, 3) + torch.tensor([100.0, 0.0, -5.0])
    x[:, 1] = 7.0
    mean, std = FrameSet(["u"], torch.tensor([0, len(x)]), x, torch.zeros(len(x)).long()).mean_and_std()
    torch.testing.assert_close(mean, x.double().mean(0).float())
    torch.testing.assert_close(std[[0, 2]], x[:, [0, 2]].double().std(0, unbiased=False).float())
    assert std[1] == 1.0


@pytest.mark.parametrize("frames,part", [(70000, 999), (1 << 16, 1 << 15), (1 << 17, 70000), (150000, 140000), (50, 7)])
def test_mean_and_std_do_not_depend_on_the_parts_in_which_frames_are_added(frames, part):
    x, moments = 3 * torch.randn(frames, 3) + 100, Moments(3)
    for piece in x.split(part):
        moments.add(piece)
    whole = FrameSet(["u"], torch.tensor([0, frames]), x, torch.zeros(frames).long()).mean_and_std()
    for a, b in zip(moments.mean_and_std(), whole, strict=True):
        assert torch.equal(a, b)
    total = torch.zeros(3, dtype=torch.float64)
    for block in x.split(1 << 16):
        total += block.sum(0, dtype=torch.float64)
    assert torch.equal(whole[0], (total / frames).float())


@pytest.mark.parametrize("floor", [0.0, 1e-5, 0.1])
def test_priors_sum_to_one_and_keep_the_floor(floor):
    pdfs = torch.tensor([0] * 70 + [1] * 25 + [3] * 5)
    priors = log_priors(torch.bincount(pdfs, minlength=5).double(), floor).double().exp()
    assert abs(priors.sum() - 1) < 1e-6 and (priors > 0).all()
    if floor == 0.1:
        torch.testing.assert_close(priors[2:] / priors[1], torch.full((3,), 0.4, dtype=torch.float64))
    else:
        torch.testing.assert_close(priors[0] / priors[1], torch.tensor(2.8, dtype=torch.float64), rtol=1e-5, atol=0)
