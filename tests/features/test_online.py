"""Features computed online equal those of the whole recording."""


import numpy as np
import pytest
import soxr
from helpers import CONF

from lstmp import config
from lstmp.features.extract import CONFIGS, compute_features
from lstmp.features.online import OnlineFeatures


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
@pytest.mark.parametrize("snip", [True, False])
def test_frames_do_not_depend_on_chunk_sizes(kind, snip):
    rng = np.random.default_rng(0)
    samples = (3000 * rng.standard_normal(16000)).astype(np.float32)
    cfg = config.load(CONF / f"{kind}.yaml", CONFIGS[kind])
    cfg = type(cfg)(**{**config.to_dict(cfg), "snip_edges": snip})
    assert cfg.dither > 0  # whose random numbers must be the same as well
    whole = compute_features(samples, cfg, "utt")
    online, got = OnlineFeatures(cfg, "utt"), []
    at = 0
    while at < len(samples):
        size = int(rng.integers(0, 700))
        got.append(online.accept(samples[at:at + size]))
        at += size
    got.append(online.finish())
    assert np.array_equal(np.concatenate(got), whole) and online.dim == whole.shape[1]
    other = compute_features(samples, cfg, "another")
    assert not np.array_equal(other, whole)


@pytest.mark.parametrize("snip", [True, False])
def test_other_sampling_rates_are_resampled(snip):
    t = np.arange(32000) / 16000
    samples = (4000 * np.sin(2 * np.pi * (300 + 400 * t) * t)).astype(np.float32)
    cfg = config.load(CONF / "fbank.yaml", CONFIGS["fbank"])
    cfg = type(cfg)(**{**config.to_dict(cfg), "sample_rate": 8000, "snip_edges": snip, "dither": 0.0})
    whole = compute_features(soxr.resample(samples, 16000, 8000), cfg)
    online = OnlineFeatures(cfg)
    got = [online.accept(piece) for piece in np.array_split(samples, 23)]
    got = np.concatenate([*got, online.finish()])
    assert got.shape == whole.shape == (198 + 2 * (not snip), 40)
    assert np.abs(got - whole).mean() < 0.01


def test_no_frames_before_the_first_window():
    online = OnlineFeatures(config.load(CONF / "fbank.yaml", CONFIGS["fbank"]))
    assert online.accept(np.zeros(0, np.float32)).shape == (0, 40)
    assert online.accept(np.zeros(399, np.float32)).shape == (0, 40)
    assert online.accept(np.zeros(1, np.float32)).shape == (1, 40)
    assert online.finish().shape == (0, 40)
