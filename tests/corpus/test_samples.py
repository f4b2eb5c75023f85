"""Samples in the forms that other libraries return."""

import numpy as np
import pytest
import torch

from lstmp.corpus.samples import checked_rate, to_int16_scale
from lstmp.errors import UserError


def test_all_forms_give_the_same_samples():
    pcm = np.array([0, 1, -32768, 32767, 1234], np.int16)
    expected = pcm.astype(np.float32)
    floats = (pcm / 32768).astype(np.float32)
    for form in (pcm, floats, floats.astype(np.float64), list(floats), torch.from_numpy(floats), floats[:, None],
                 np.stack([floats, floats], 1), np.stack([pcm, pcm], 1)):
        found = to_int16_scale(form)
        assert found.dtype == np.float32 and np.array_equal(found, expected)
    assert to_int16_scale(np.stack([pcm, np.zeros_like(pcm)], 1)).tolist() == (expected / 2).tolist()
    assert to_int16_scale([]).shape == (0,)


def test_invalid_samples_are_rejected():
    for dtype in (np.int32, np.uint8, bool, complex):
        with pytest.raises(TypeError, match="floats in ±1 or int16"):
            to_int16_scale(np.zeros(4, dtype))
    for samples, message in ((np.zeros((2, 16000)), r"give \[n\], or \[n, channels\]"), (np.zeros((2, 2, 2)), "shape"),
                             (np.float32(0), "shape"), ([0.0, np.nan], "NaN"), ([0.0, -np.inf], "NaN"),
                             ([0.0, -20000.0], "up to 20000.* divide 16-bit samples by 32768")):
        with pytest.raises(UserError, match=message):
            to_int16_scale(samples)


def test_sampling_rates_are_checked():
    assert checked_rate(44100.0) == 44100 and type(checked_rate(np.int64(8000))) is int
    for rate in (0, 16, 16000.5, 10**7, "high", float("nan"), float("inf")):
        with pytest.raises(UserError, match="invalid sampling rate"):
            checked_rate(rate)
    with pytest.raises(UserError, match="give rate="):
        checked_rate(None)


def test_strongest_of_cancelling_channels_is_used(capsys):
    wave = np.sin(np.arange(1000) * 0.3).astype(np.float32)
    for ratio in (-0.99, -0.8):
        for scale in (1, 32767):
            both = np.stack([ratio * wave, wave], 1) * scale
            found = to_int16_scale(both.astype(np.int16) if scale > 1 else both)
            np.testing.assert_allclose(found, wave * 32767, atol=2)
            assert "its channels cancel each other" in capsys.readouterr().err
    for other in (wave, 0 * wave, np.random.default_rng(0).normal(size=1000), -0.5 * wave):
        both = np.stack([wave, other], 1)
        np.testing.assert_allclose(to_int16_scale(both), both.mean(axis=1) * 32768, rtol=1e-5, atol=1e-2)
    assert capsys.readouterr().err == ""
