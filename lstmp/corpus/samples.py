"""Converts samples from other libraries to the form used here: float32, mono, ±32768."""

import numpy as np

from lstmp.errors import UserError
from lstmp.log import warn

FULL_SCALE = np.float32(32768)
MAX_FLOAT = 16.0  # largest float accepted as a sample in ±1: 24 dB above full scale
RATES = range(1000, 768001)  # Hz
_MAX_CHANNELS = 64
_MIN_POWER = 0.05  # minimum power of the mean relative to the channels; 16 uncorrelated channels have 0.06


def to_int16_scale(samples) -> np.ndarray:
    """Convert samples to float32 [n] on the scale of 16-bit integers, ±32768; several channels are mixed to one.

    Args:
        samples: [n] or [n, channels], floats in ±1 or int16: a NumPy array, or anything that NumPy converts to one.

    Raises:
        TypeError: the samples are neither floats nor int16.
        UserError: the shape is wrong, or floats are NaN, infinite or far beyond ±1.
    """
    array = np.asarray(samples)
    if array.ndim not in (1, 2) or array.ndim == 2 and not 1 <= array.shape[1] <= _MAX_CHANNELS:
        raise UserError(f"samples of shape {list(array.shape)}", hint="give [n], or [n, channels]")
    if array.dtype == np.int16:
        return array.astype(np.float32) if array.ndim == 1 else Mixer()(array.astype(np.float32))
    if array.dtype.kind != "f":
        raise TypeError(f"samples of {array.dtype}; floats in ±1 or int16 are expected")
    array = array.astype(np.float32, copy=False)
    check_float_samples(array)
    return (array if array.ndim == 1 else Mixer()(array)) * FULL_SCALE


def check_float_samples(samples: np.ndarray, file=None):
    """Check that floats are plausible samples in ±1.

    Args:
        samples: float32, of any shape.
        file: file that they come from, for the error.

    Raises:
        UserError: a value is NaN, infinite or far beyond ±1.
    """
    largest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(largest):
        raise UserError("contains samples that are not numbers (NaN or infinite)", file=file, hint="check how they "
                        "were made")
    if largest > MAX_FLOAT:
        raise UserError(f"contains samples up to {largest:.0f}, but floats must be in ±1", file=file,
                        hint="divide 16-bit samples by 32768")


class Mixer:
    """Mixes channels to one, block by block: their mean, or the strongest channel if they cancel each other.

    Args:
        where: name of the recording for the warning that channels cancel, which is logged once.
    """

    def __init__(self, where="the samples"):
        self._where, self._warned = where, False

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Mix float32 [n, channels] to float32 [n]."""
        mean = samples.mean(axis=1)
        if samples.shape[1] == 1:
            return mean
        power = np.square(samples, dtype=np.float64).sum(axis=0)
        if np.square(mean, dtype=np.float64).sum() >= _MIN_POWER * power.mean():
            return mean
        strongest = int(power.argmax())
        if not self._warned:
            warn(f"{self._where}: its channels cancel each other, as if one were the other with inverted sign; "
                 f"channel {strongest + 1} is used instead of their mean")
            self._warned = True
        return samples[:, strongest]


def checked_rate(rate) -> int:
    """Check a sampling rate in Hz and return it as an int; some libraries give a float.

    Raises:
        UserError: ``rate`` is None, or not a whole number from 1,000 to 768,000.
    """
    if rate is None:
        raise UserError("samples without a sampling rate", hint="give rate=, in samples per second")
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate or whole not in RATES:
        raise UserError(f"invalid sampling rate {rate!r}", hint="give a whole number from 1,000 to 768,000")
    return whole
