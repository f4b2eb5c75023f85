"""Samples as other libraries hand them over, to those of this package: float32, one channel, ±32768."""

import numpy as np

from lstmp.errors import UserError
from lstmp.log import warn

FULL_SCALE = np.float32(32768)
_LOUDEST = 16.0  # of floats that can be meant as ±1: 24 dB above full scale
RATES = range(1000, 768001)  # Hz
_CHANNELS = 64
_CANCELLED = 0.05  # of the channels' power is left in their mean; of 16 channels with nothing in common 0.06 are


def own_samples(samples) -> np.ndarray:
    """float32 [n] on the scale of 16-bit integers, ±32768; several channels become one.

    Args:
        samples: [n] or [n, channels]: floats in ±1, or int16. A NumPy array, or what NumPy makes one of.

    Raises:
        TypeError: neither floats nor int16.
        UserError: another shape, NaN or infinity, or floats that are no samples in ±1.
    """
    given = np.asarray(samples)
    if given.ndim not in (1, 2) or given.ndim == 2 and not 1 <= given.shape[1] <= _CHANNELS:
        raise UserError(f"samples of shape {list(given.shape)}", hint="give [n], or [n, channels]")
    if given.dtype == np.int16:
        return given.astype(np.float32) if given.ndim == 1 else Mixer()(given.astype(np.float32))
    if given.dtype.kind != "f":
        raise TypeError(f"samples of {given.dtype}; floats in ±1 or int16 are expected")
    given = given.astype(np.float32, copy=False)
    must_be_sound(given)
    return (given if given.ndim == 1 else Mixer()(given)) * FULL_SCALE


def must_be_sound(samples: np.ndarray, file=None):
    """Insist on floats that can be meant as sound in ±1.

    Args:
        samples: float32, of any shape.
        file: where they come from.

    Raises:
        UserError: NaN, infinity, or values far beyond ±1.
    """
    largest = float(np.abs(samples).max(initial=0.0))
    if not np.isfinite(largest):
        raise UserError("holds samples that are not numbers (NaN or infinite)", file=file, hint="look where they come "
                        "from")
    if largest > _LOUDEST:
        raise UserError(f"holds samples up to {largest:.0f}, where floats are in ±1", file=file,
                        hint="divide 16-bit samples by 32768")


class Mixer:
    """Several channels to one, piece by piece: their mean; where they cancel each other, the strongest of them.

    Args:
        where: what they are of, for the warning that they cancel, which is given once.
    """

    def __init__(self, where="the samples"):
        self._where, self._warned = where, False

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """float32 [n] of float32 [n, channels]."""
        mean = samples.mean(axis=1)
        if samples.shape[1] == 1:
            return mean
        power = np.square(samples, dtype=np.float64).sum(axis=0)
        if np.square(mean, dtype=np.float64).sum() >= _CANCELLED * power.mean():
            return mean
        strongest = int(power.argmax())
        if not self._warned:
            warn(f"{self._where}: its channels cancel each other, as where one is the other with its sign turned; "
                 f"channel {strongest + 1} is taken instead of their mean")
            self._warned = True
        return samples[:, strongest]


def whole_rate(rate) -> int:
    """A sampling rate in Hz, which some libraries give as a float.

    Raises:
        UserError: none was given, or it is not a whole number from 1,000 to 768,000.
    """
    if rate is None:
        raise UserError("samples without a sampling rate", hint="give rate=, samples a second")
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = 0
    if whole != rate or whole not in RATES:
        raise UserError(f"a sampling rate of {rate!r}", hint="give a whole number from 1,000 to 768,000")
    return whole
