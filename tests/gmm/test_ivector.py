"""i-vectors, compared with their definition written out, and trained on speakers that differ by known offsets."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import ROOT

from lstmp import config
from lstmp.errors import UserError
from lstmp.features import ark
from lstmp.features.cmvn import compute_cmvn
from lstmp.features.online_cmvn import OnlineCmvn
from lstmp.gmm.ivector import Extractor, Heard, IvectorConfig, OnlineIvectors, cosine_transform, sparse_posteriors
from lstmp.gmm.train_ivectors import BackgroundModel, main, train_ivectors

FILTERS = 6


@pytest.fixture
def cfg() -> IvectorConfig:
    return replace(config.load(ROOT / "conf/ivector.yaml", IvectorConfig), cepstra=4, context=1, pca_dim=5, gaussians=7,
                   best_gaussians=3, dim=2, period=4, window=20, speaker_frames=10, global_frames=5, ubm_frames=10**6)


@pytest.fixture
def extractor(cfg) -> Extractor:
    rng = np.random.default_rng(0)
    g, p = cfg.gaussians, cfg.pca_dim
    return Extractor(cfg, rng.normal(size=(FILTERS * 3, p)), rng.normal(size=p), np.full(g, 1 / g),
                     *(x for _ in range(2) for x in (rng.normal(size=(g, p)), rng.uniform(1, 2, (g, p)))),
                     rng.normal(size=(g, p, cfg.dim)), rng.normal(size=FILTERS), np.ones(FILTERS))


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, FILTERS)).astype(np.float32)


def slowly(ex: Extractor, x: np.ndarray, heard: Heard | None = None) -> np.ndarray:
    """The definition: for each frame, sums over the frames of which the right neighbour is known, in loops."""
    cfg, out = ex.cfg, []
    normalized = OnlineCmvn(ex.normalization, heard and heard.cmvn).accept(x)
    for t in range(len(x)):
        at = t // cfg.period * cfg.period  # the frame of the estimate
        count = heard.counts.copy() if heard else np.zeros(cfg.gaussians)
        linear = heard.linear.copy() if heard else np.zeros(cfg.dim)
        for centre in range(at - cfg.context + 1):
            window = [max(0, centre + k) for k in (-1, 0, 1)]
            y, raw = (a[window].reshape(-1) @ ex.projection - ex.offset for a in (normalized, x))
            density = np.log(ex.weights) - 0.5 * (np.log(2 * np.pi * ex.variances)
                                                  + (y - ex.means) ** 2 / ex.variances).sum(1)
            posterior = np.where(density >= np.sort(density)[-cfg.best_gaussians], np.exp(density), 0)
            for g, weight in enumerate(cfg.posterior_scale * posterior / posterior.sum()):
                count[g] += weight
                linear += weight * ex.loading[g].T @ ((raw - ex.raw_means[g]) / ex.raw_variances[g])
        scale = min(1, cfg.max_count / max(count.sum(), 1e-10))
        precision = np.eye(cfg.dim)
        for g in range(cfg.gaussians):
            precision += scale * count[g] * ex.loading[g].T @ (ex.loading[g] / ex.raw_variances[g][:, None])
        out.append(np.linalg.solve(precision, scale * linear))
    return np.array(out)


@pytest.mark.parametrize("max_count", [100.0, 1.5])
def test_they_are_their_definition(extractor, cfg, max_count):
    extractor.cfg = replace(cfg, max_count=max_count)
    first = OnlineIvectors(extractor)
    found = first.accept(frames(30))
    np.testing.assert_allclose(found, slowly(extractor, frames(30)), rtol=1e-4, atol=1e-5)
    assert found.dtype == np.float32 and not found[0].any() and np.abs(found[-1]).max() > 0.1
    later, x = OnlineIvectors(extractor, first.heard()), frames(15, seed=1)
    np.testing.assert_allclose(later.accept(x), slowly(extractor, x, first.heard()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cuts", [[1], [1, 2, 3], [2, 9, 10, 30], [0, 0, 17], list(range(1, 40))])
@pytest.mark.parametrize("context", [0, 1, 3])
def test_they_do_not_depend_on_the_division_of_the_frames(extractor, cfg, cuts, context):
    rng = np.random.default_rng(1)
    wide = Extractor(replace(cfg, context=context, pca_dim=2), rng.normal(size=(FILTERS * (1 + 2 * context), 5)),
                     **{n: getattr(extractor, n) for n in Extractor.TENSORS if n != "projection"})
    whole, parts = OnlineIvectors(wide), OnlineIvectors(wide)
    found = np.concatenate([parts.accept(x) for x in np.split(frames(40), cuts)])
    np.testing.assert_allclose(found, whole.accept(frames(40)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(parts.heard().linear, whole.heard().linear)


def test_a_later_frame_changes_nothing(extractor):
    x = frames(30)
    changed = x.copy()
    changed[21:] += 5
    one, two = (OnlineIvectors(extractor).accept(a) for a in (x, changed))
    assert np.array_equal(one[:21], two[:21]) and not np.array_equal(one[24:], two[24:])


def test_the_cosine_transform_is_orthonormal_and_its_first_row_the_mean():
    c = cosine_transform(8, 8)
    np.testing.assert_allclose(c.T @ c, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(c[:, 0], 8 ** -0.5)


def test_sparse_posteriors():
    found = sparse_posteriors(np.log([[0.5, 0.1, 0.3, 0.1], [0.1, 0.2, 0.3, 0.4]]), 2)
    np.testing.assert_allclose(found, [[0.625, 0, 0.375, 0], [0, 0, 3 / 7, 4 / 7]])


def test_the_background_model_finds_separate_clusters():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    sizes, widths = (500, 300, 200), (1, 2, 0.5)
    x = np.concatenate([c + rng.normal(size=(n, 2)) * s for c, n, s in zip(centres, sizes, widths, strict=True)])
    likelihoods, model = [], BackgroundModel(x, 3, np.random.default_rng(4))
    for _ in range(30):
        likelihoods.append(model.update())
    assert np.all(np.diff(likelihoods) > -1e-9)
    order = [int(np.argmin(((model.means - c) ** 2).sum(1))) for c in centres]
    np.testing.assert_allclose(model.means[order], centres, atol=0.4)
    np.testing.assert_allclose(model.weights[order], [0.5, 0.3, 0.2], atol=0.03)
    np.testing.assert_allclose(np.sqrt(model.variances[order]).mean(1), [1, 2, 0.5], rtol=0.15)
    with pytest.raises(UserError, match="lower `gaussians`"):
        BackgroundModel(x[:20], 3, rng)


@pytest.fixture
def speakers(tmp_path):
    """Data of 16 speakers, whose frames differ by an offset in one of two directions."""
    rng, data = np.random.default_rng(2), tmp_path / "data"
    data.mkdir()
    directions = rng.normal(size=(2, FILTERS))
    offsets = {f"s{n:02d}": rng.normal(size=2) for n in range(16)}
    utt2spk = {f"{s}-{k}": s for s in offsets for k in range(4)}
    with ark.ArkWriter(data / "feats.ark", data / "feats.scp") as writer:
        for utt, speaker in utt2spk.items():
            sounds = rng.integers(0, 3, 200)
            writer.write(utt, (3 * np.eye(3, FILTERS)[sounds] + offsets[speaker] @ directions
                               + 0.5 * rng.normal(size=(200, FILTERS))).astype(np.float32))
    (data / "utt2spk").write_text("".join(f"{u} {s}\n" for u, s in utt2spk.items()))
    (data / "feats.json").write_text(json.dumps({"kind": "fbank", "dim": FILTERS, "frame_shift": 0.01}))
    compute_cmvn(data)
    return data, offsets


def test_training_finds_what_differs_between_speakers(speakers, cfg, tmp_path, capsys):
    data, offsets = speakers
    train_ivectors(data, tmp_path / "out", cfg)
    gains = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if "i-vectors, iteration" in line]
    assert len(gains) == cfg.iterations and all(a < b + 1e-3 for a, b in zip(gains[1:-1], gains[2:], strict=True))
    extractor = Extractor.read(tmp_path / "out/ivectors.safetensors")
    scp = ark.read_scp(data / "feats.scp")
    vectors = np.array([OnlineIvectors(extractor).accept(ark.read_mat(scp[f"{s}-0"]))[-1] for s in offsets])
    known = np.array(list(offsets.values()))
    design = np.column_stack([vectors, np.ones(len(vectors))])
    predicted = design @ np.linalg.lstsq(design, known, rcond=None)[0]
    assert (1 - ((predicted - known) ** 2).sum(0) / ((known - known.mean(0)) ** 2).sum(0)).min() > 0.9
    train_ivectors(data, tmp_path / "out", cfg)
    assert "is done" in capsys.readouterr().out


def test_files(extractor, tmp_path):
    path = tmp_path / "ivectors.safetensors"
    extractor.write(path)
    again = Extractor.read(path)
    assert again.cfg == extractor.cfg
    assert np.array_equal(OnlineIvectors(again).accept(frames(20)), OnlineIvectors(extractor).accept(frames(20)))
    for change in ({"weights": extractor.weights[:3]}, {"variances": -extractor.variances}, {"cmvn_mean": np.ones(3)},
                   {"loading": extractor.loading * np.nan}):
        broken = extractor.replaced()
        for name, value in change.items():
            setattr(broken, name, value)
        broken.write(path)
        with pytest.raises(UserError, match="not an i-vector extractor"):
            Extractor.read(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="not an i-vector extractor, or cut off"):
        Extractor.read(path)


def test_the_command_needs_features(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--config", str(ROOT / "conf/ivector.yaml")])
    assert "feats.scp: no such file" in capsys.readouterr().err
