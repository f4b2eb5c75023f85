"""Finds the parts of a recording that contain sound, so that no words are recognized in silence or steady noise.

Levels are in dB; 0 dB is a mean square of 32768². Each level describes a tenth of a second: it is the median over ten
hundredths, so that a click does not count. There is *sound* if the level is above LOUD, or if it is above FAINT and at
least RISE above the recording's floor. The floor is the tenth percentile of all levels outside digital silence. Speech
at low volume is therefore found, because it rises and falls by tens of decibels, but steady noise at that volume is
not. Gaps of MIN_GAP or more without sound are not searched, except for MARGIN at both ends.

Noise, hum and tones are not sound, at any volume, if they are *steady*: for STEADY_SECONDS or longer, two levels stay
within STEADY_RANGE dB. One is the level above about 180 Hz; the other is the level of the differences of successive
samples, which emphasizes high frequencies. In speech at least one of the two varies by 5 dB or more: during vowels
the first hardly changes, but consonants change the second. A word in steady noise that is as loud as the noise makes it
unsteady.

Models are trained on recordings from microphones, which never give the same number hundreds of times. The features of
digital silence are therefore far from all training data, and words would be recognized in it. Digital silence is
shortened to MAX_SILENCE, and noise is added to it that has the level and the spectrum of the quietest tenth of a second
of the recording.
"""

import numpy as np
from scipy.ndimage import maximum_filter1d

from lstmp.corpus.audio import RATE

LOUD = -40.0  # dB
FAINT = -80.0  # dB: three units of a 16-bit sample
RISE = 6.0  # dB; a tenth of a second of steady noise is hardly ever 2 dB above the tenth percentile
MIN_GAP = 2.0  # seconds
MARGIN = 0.5  # seconds
NOISY_MARGIN = 0.1  # seconds of loud steady noise
STEADY_RANGE = 3.0  # dB; white noise stays within 1.5, brown noise and noise coded as MP3 or Opus within 2.9
STEADY_SECONDS = 2.0  # in a shorter recording: its whole length
MAX_SILENCE = 0.3  # seconds: a pause between two words
_FLOOR_PERCENTILE = 10
_MIN_DIGITAL_SILENCE = RATE // 100  # samples of equal value
_STEP = RATE // 100  # samples
_WINDOW = 10  # steps
_MIN_STEPS = 100  # in a shorter recording nothing is called steady
_EDGE = 20  # steps at the beginning and the end of noise
_MARGIN_STEPS = round(MARGIN * 100)
_PIECE = 60 * RATE  # samples
_MAX_EDGE_RISE = 1.0  # dB by which the edge of noise may be louder than the noise
_LOW_PASS = 40  # samples: a moving average of this width keeps what is below about 180 Hz
_MAX_LEVELS = 600  # one minute: the floor of online speech is computed over these


def levels(samples: np.ndarray) -> np.ndarray:
    """Compute the level around every 10 ms, float64 [n]; a constant offset is removed.

    Args:
        samples: float32, 16 kHz, ±32768.
    """
    steps = len(samples) // _STEP
    power = samples[:steps * _STEP].reshape(steps, _STEP).astype(np.float64).var(axis=1)
    around = np.pad(power, (_WINDOW // 2, _WINDOW - _WINDOW // 2 - 1), mode="edge") if steps else power
    return _decibels(np.median(np.lib.stride_tricks.sliding_window_view(around, _WINDOW), axis=1) if steps else power)


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, 1e-6)) - 20 * np.log10(32768)


def floor(level: np.ndarray) -> float:
    """The tenth percentile of a recording's levels, at least FAINT; digital silence is left out."""
    recorded = level[level > -120]
    return max(FAINT, float(np.percentile(recorded, _FLOOR_PERCENTILE))) if len(recorded) else FAINT


def is_sound(level: np.ndarray, floor_level: float) -> np.ndarray:
    """Which levels are sound, bool [n]."""
    return (level > LOUD) | (level > max(FAINT, floor_level + RISE))


def steady(samples: np.ndarray) -> np.ndarray:
    """Which steps of :func:`levels` are steady noise, bool [n].

    Args:
        samples: float32, 16 kHz, ±32768.
    """
    n = len(samples) // _STEP
    if n < _MIN_STEPS:
        return np.zeros(n, bool)
    return _is_constant(_high_levels(samples), min(n, round(STEADY_SECONDS * 100)), _EDGE)


def _high_levels(samples: np.ndarray) -> np.ndarray:
    """The levels above about 180 Hz, and of the differences of successive samples, float64 [2, n]."""
    rows = []
    for begin in range(0, len(samples), _PIECE):  # so that a long recording is not copied as a whole
        piece = samples[begin:begin + _PIECE]
        sums = np.pad(piece.astype(np.float64), (_LOW_PASS // 2, _LOW_PASS - _LOW_PASS // 2), mode="edge").cumsum()
        high = piece - (sums[_LOW_PASS:] - sums[:-_LOW_PASS]) / _LOW_PASS
        if len(high) > 2 * _STEP:  # at both ends the moving average covers fewer samples
            high[:_STEP], high[-_STEP:] = high[_STEP:2 * _STEP], high[-2 * _STEP:-_STEP]
        rows.append([levels(high), levels(np.diff(piece, prepend=piece[:1]))])
    return np.concatenate(rows, axis=1)


def _is_constant(level: np.ndarray, min_steps: int, edge: int) -> np.ndarray:
    """Where both rows of ``level`` [2, n] stay within STEADY_RANGE for at least ``min_steps`` steps, bool [n].

    This includes up to ``edge`` steps before and after, where noise begins and ends, unless they are louder, as
    adjacent speech is.
    """
    windows = np.lib.stride_tricks.sliding_window_view(level, min_steps, axis=1)
    begins = (windows.max(axis=2) - windows.min(axis=2) < STEADY_RANGE).all(axis=0)
    core = np.convolve(begins, np.ones(min_steps, int)) > 0
    loudest = maximum_filter1d(np.where(core, level, -np.inf), 2 * edge + 1, axis=1, mode="nearest")
    return core | (level <= loudest + _MAX_EDGE_RISE).all(axis=0)


def sound_parts(samples: np.ndarray) -> list[tuple[int, int]]:
    """Find the parts of a recording to search for words: (begin, end) in samples, in order; none in silence."""
    level = levels(samples)
    sound = is_sound(level, floor(level))
    noisy = steady(samples) & sound if sound.any() else sound
    steps = np.flatnonzero(sound & ~noisy)
    if not len(steps):
        return []
    breaks = np.flatnonzero(np.diff(steps) > MIN_GAP * 100)
    parts = []
    for first, last in zip(steps[np.append(0, breaks + 1)], steps[np.append(breaks, -1)], strict=True):
        before, after = (_margin(noisy[max(0, first - _MARGIN_STEPS):first][::-1]),
                         _margin(noisy[last + 1:last + 1 + _MARGIN_STEPS]))
        parts.append((max(0, int(first) * _STEP - before), min(len(samples), int(last + 1) * _STEP + after)))
    return parts


def _margin(noisy: np.ndarray) -> int:
    """Number of samples to search next to a part, up to loud steady noise, in which words would be recognized.

    ``noisy`` says which of the next steps are such noise, beginning with the one next to the part.
    """
    steps = np.flatnonzero(noisy)
    return round((MARGIN if len(steps) <= _EDGE // 2 else min(MARGIN, steps[0] / 100 + NOISY_MARGIN)) * RATE)


def why_no_sound(samples: np.ndarray) -> str:
    """Say, for a message, why :func:`sound_parts` finds nothing in a recording."""
    level = levels(samples)
    loudest = float(level.max(initial=-np.inf))
    if len(level) < _WINDOW:
        return f"its {len(samples) / RATE:.3f} s are too short for a word"
    if loudest < -120:
        return "digital silence"
    if is_sound(level, floor(level)).any():
        return f"steady noise or tones of {loudest:.0f} dB, but no speech"
    return f"its level is at most {loudest:.0f} dB of full scale{', and hardly varies' * (loudest > FAINT)}"


def digital_silence(samples: np.ndarray) -> np.ndarray:
    """Begin and end of each run of equal samples that is too long to have been recorded, int64 [n, 2]."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(samples)) + 1, [len(samples)]])
    runs = np.stack([edges[:-1], edges[1:]], axis=1)
    return runs[runs[:, 1] - runs[:, 0] >= _MIN_DIGITAL_SILENCE]


def quietest(samples: np.ndarray) -> np.ndarray | None:
    """The tenth of a second with the least power, float64 [1600]; None if there are fewer samples than that."""
    size = _WINDOW * _STEP
    if len(samples) < size:
        return None
    tenths = samples[:len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return tenths[int(tenths.var(axis=1).argmin())]


def with_noise(samples: np.ndarray, runs: np.ndarray, quiet: np.ndarray | None) -> np.ndarray:
    """Add noise with the level and the spectrum of ``quiet`` to these runs of samples; it is always the same.

    If ``quiet`` is None, it is white noise at the level FAINT.
    """
    if not len(runs):
        return samples
    size = _WINDOW * _STEP
    spectrum = np.full(size // 2 + 1, 32768 * 10 ** (FAINT / 20))
    if quiet is not None:
        window = np.hanning(size)
        spectrum = np.abs(np.fft.rfft((quiet - quiet.mean()) * window)) / np.sqrt(np.square(window).sum())
    out, random = samples.copy(), np.random.default_rng(0)
    for begin, end in runs:
        white = np.fft.rfft(random.standard_normal(end - begin + size))
        shape = np.interp(np.linspace(0, 1, len(white)), np.linspace(0, 1, len(spectrum)), spectrum)
        out[begin:end] += np.fft.irfft(white * shape)[:end - begin].astype(np.float32)
    return out


class WithoutDigitalSilence:
    """A recording in which digital silence is shortened and replaced by noise, as a microphone might have recorded it.

    Args:
        samples: float32, 16 kHz, ±32768.

    Attributes:
        samples: the samples to recognize instead.
    """

    def __init__(self, samples: np.ndarray):
        runs = digital_silence(samples)
        recorded, kept = np.ones(len(samples), bool), np.ones(len(samples), bool)
        for begin, end in runs:
            recorded[begin:end] = False
            kept[begin + round(MAX_SILENCE * RATE):end] = False
        self._positions = None if kept.all() else np.append(np.flatnonzero(kept), len(samples))
        shortened = np.stack([runs[:, 0], np.minimum(runs[:, 1], runs[:, 0] + round(MAX_SILENCE * RATE))], axis=1)
        self.samples = with_noise(samples, shortened, quietest(samples[recorded]) if len(runs) else None)
        if self._positions is not None:
            self.samples = self.samples[kept]

    def seconds(self, seconds: float) -> float:
        """Convert a time in ``samples`` to a time in the original recording."""
        if self._positions is None:
            return seconds
        return float(self._positions[min(round(seconds * RATE), len(self._positions) - 1)]) / RATE


class SoundOnlyRecognizer:
    """An online recognizer that adds noise to digital silence, and drops the words in parts without sound.

    Args:
        recognizer: a :class:`lstmp.decode.live.LiveRecognizer`.
    """

    def __init__(self, recognizer):
        self._recognizer = recognizer
        self._rest, self._steps = np.zeros(0, np.float32), 0
        self._quiet: np.ndarray | None = None
        self._levels = np.zeros((3, 0))  # for each tenth of a second: the level, and the two of _high_levels

    def accept(self, samples: np.ndarray):
        """See :meth:`lstmp.decode.live.LiveRecognizer.accept`."""
        runs, last = digital_silence(samples), len(self._rest)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % (_WINDOW * _STEP)
        self._rest, self._steps = samples[whole:], self._steps + whole // (_WINDOW * _STEP)
        if whole:
            new = np.concatenate([levels(samples[:whole])[np.newaxis], _high_levels(samples[:whole])])
            self._levels = np.concatenate([self._levels, new[:, _WINDOW // 2::_WINDOW]], axis=1)[:, -_MAX_LEVELS:]
        if not len(runs) and (quiet := quietest(samples[:whole])) is not None and (
                self._quiet is None or quiet.var() < self._quiet.var()):
            self._quiet = quiet
        return self._with_sound(self._recognizer.accept(with_noise(samples[last:], runs, self._quiet)))

    def finish(self):
        """See :meth:`lstmp.decode.live.LiveRecognizer.finish`."""
        return self._with_sound(self._recognizer.finish())

    def heard(self):
        """See :meth:`lstmp.decode.live.LiveRecognizer.heard`."""
        return self._recognizer.heard()

    def _with_sound(self, segments):
        if not segments:  # after most chunks
            return []
        level, min_steps = self._levels[0], round(STEADY_SECONDS * 10)
        sound, first = is_sound(level, floor(level)), self._steps - len(level)
        if len(level) >= min_steps and sound.any():
            sound &= ~_is_constant(self._levels[1:], min_steps, _EDGE // _WINDOW)
        return [s for s in segments
                if sound[max(0, int(s.begin * 10) - 1 - first):max(0, int(s.end * 10) + 2 - first)].any()]
