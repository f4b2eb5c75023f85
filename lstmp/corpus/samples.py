"""Samples as other libraries hand them over, to those of this package: float32, one channel, ±32768."""

import numpy as np

from lstmp.errors import UserError

FULL_SCALE = np.float32(32768)
_LOUDEST = 16.0  # of floats that can be meant as ±1: 24 dB above full scale
_CHANNELS = 64


def own_samples(samples) -> np.ndarray:
    """float32 [n] on the scale of 16-bit integers, ±32768; several channels become their mean.

    Args:
        samples: [n] or [n, channels]: floats in ±1, or int16. A NumPy array, or what NumPy makes one of.

    Raises:
        TypeError: neither floats nor int16.
        UserError: another shape, NaN or infinity, or floats that are no samples in ±1.
    """
    given = np.asarray(samples)
    if given.ndim not in (1, 2) or given.ndim == 2 and not 1 <= given.shape[1] <= _CHANNELS:
        raise UserError(f"samples of shape {list(given.shape)}", mend="give [n], or [n, channels]")
    if given.dtype == np.int16:
        return given.astype(np.float32) if given.ndim == 1 else given.mean(axis=1, dtype=np.float32)
    if given.dtype.kind != "f":
        raise TypeError(f"samples of {given.dtype}; floats in ±1 or int16 are expected")
    given = given.astype(np.float32, copy=False)
    largest = float(np.abs(given).max(initial=0.0))
    if not np.isfinite(largest):
        raise UserError("samples that are not numbers (NaN or infinite)", mend="look where they come from")
    if largest > _LOUDEST:
        raise UserError(f"samples up to {largest:.0f}, where floats are in ±1", mend="divide 16-bit samples by 32768")
    return (given if given.ndim == 1 else given.mean(axis=1)) * FULL_SCALE


def whole_rate(rate) -> int:
    """A sampling rate in Hz, which some libraries give as a float.

    Raises:
        UserError: none was given, or it is not a whole number from 1,000 to 768,000.
    """
    if rate is None:
        raise UserError("samples without a sampling rate", mend="give rate=, samples a second")
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate or not 1000 <= whole <= 768000:
        raise UserError(f"a sampling rate of {rate!r}", mend="give a whole number from 1,000 to 768,000")
    return whole
