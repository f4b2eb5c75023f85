"""Where in a recording there is something to hear, so that nothing is read into silence and quiet noise.

Levels are in dB, 0 being a mean square of 32768², and are those of a tenth of a second: the median of ten hundredths,
so that a click does not count. It is *sound* if it is louder than LOUD; or if it is louder than FAINT and stands RISE
above the recording's floor, the level that a tenth of all levels do not reach, digital silence left out. So speech at
low volume is heard, since it rises and falls by tens of decibels, and steady noise at that volume is not. Where there
is no sound for PAUSE or longer, nothing is searched, but for MARGIN at either side.

Noise, hum and tones are no sound at any volume where they are *steady*: for LASTING or longer the level stays within
STEADY dB, both of what lies above some 180 Hz and of the differences of samples, which are high frequencies above all.
Of speech at least one of the two varies by 5 dB or more: vowels hardly differ in the one, but consonants do in the
other. A word in steady noise that is as loud as the noise makes it unsteady.

Models are trained on recordings from microphones, which never give the same number hundreds of times: features of
digital silence are far from all that a model has seen, and words are found in it. It is made SHORT at most, and becomes
noise with the level and the spectrum of the quietest tenth of a second of the recording.
"""

import numpy as np
from scipy.ndimage import maximum_filter1d

from lstmp.corpus.audio import RATE

LOUD = -40.0  # dB
FAINT = -80.0  # dB: three units of a 16-bit sample
RISE = 6.0  # dB; a tenth of a second of steady noise is hardly ever 2 dB above the tenth percentile
PAUSE = 2.0  # seconds
MARGIN = 0.5  # seconds
NOISY_MARGIN = 0.1  # seconds of loud steady noise
STEADY = 3.0  # dB; white noise stays within 1.5, brown noise and noise that was coded as MP3 or Opus within 2.9
LASTING = 2.0  # seconds; the whole of a shorter recording
SHORT = 0.3  # seconds: a pause between two words
_FLOOR = 10  # per cent
_SAME = RATE // 100  # samples of one value: so many are digital silence
_STEP = RATE // 100
_WINDOW = 10  # steps
_LEAST = 100  # steps: in a shorter recording nothing is called steady
_EDGE = 20  # steps: the begin and end of noise
_MARGIN_STEPS = round(MARGIN * 100)
_PIECE = 60 * RATE  # samples
_LOUDER = 1.0  # dB
_LOW = 40  # samples whose mean is what lies below 180 Hz
_KEPT = 600  # levels, a minute: how far back the floor of live speech is looked for


def levels(samples: np.ndarray) -> np.ndarray:
    """float64 [n]: the level around every 10 ms; a constant part does not count.

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
    """The level that a tenth of a recording does not reach; FAINT where there is nothing but digital silence."""
    heard = level[level > -120]
    return max(FAINT, float(np.percentile(heard, _FLOOR))) if len(heard) else FAINT


def is_sound(level: np.ndarray, floor_level: float) -> np.ndarray:
    """bool [n], of levels."""
    return (level > LOUD) | (level > max(FAINT, floor_level + RISE))


def steady(samples: np.ndarray) -> np.ndarray:
    """bool [n], of the steps of :func:`levels`: those of steady noise.

    Args:
        samples: float32, 16 kHz, ±32768.
    """
    n = len(samples) // _STEP
    if n < _LEAST:
        return np.zeros(n, bool)
    return _stays(_high_levels(samples), min(n, round(LASTING * 100)), _EDGE)


def _high_levels(samples: np.ndarray) -> np.ndarray:
    """float64 [2, n]: levels of what lies above some 180 Hz, and of the differences of samples."""
    found = []
    for begin in range(0, len(samples), _PIECE):  # a long recording is not copied as a whole
        piece = samples[begin:begin + _PIECE]
        around = np.pad(piece.astype(np.float64), (_LOW // 2, _LOW - _LOW // 2), mode="edge").cumsum()
        above = piece - (around[_LOW:] - around[:-_LOW]) / _LOW
        if len(above) > 2 * _STEP:  # at both ends that mean is of less
            above[:_STEP], above[-_STEP:] = above[_STEP:2 * _STEP], above[-2 * _STEP:-_STEP]
        found.append([levels(above), levels(np.diff(piece, prepend=piece[:1]))])
    return np.concatenate(found, axis=1)


def _stays(level: np.ndarray, least: int, edge: int) -> np.ndarray:
    """bool [n]: where both rows of levels [2, n] stay within STEADY for ``least`` steps; and ``edge`` steps before and
    behind, where noise begins and ends, unless they are louder, as speech is that follows."""
    windows = np.lib.stride_tricks.sliding_window_view(level, least, axis=1)
    begins = (windows.max(axis=2) - windows.min(axis=2) < STEADY).all(axis=0)
    core = np.convolve(begins, np.ones(least, int)) > 0
    loudest = maximum_filter1d(np.where(core, level, -np.inf), 2 * edge + 1, axis=1, mode="nearest")
    return core | (level <= loudest + _LOUDER).all(axis=0)


def heard(samples: np.ndarray) -> list[tuple[int, int]]:
    """The parts of a recording that are worth a search, in order: (begin, end) in samples; of silence none."""
    level = levels(samples)
    sound = is_sound(level, floor(level))
    noisy = steady(samples) & sound if sound.any() else sound
    at = np.flatnonzero(sound & ~noisy)
    if not len(at):
        return []
    breaks = np.flatnonzero(np.diff(at) > PAUSE * 100)
    parts = []
    for first, last in zip(at[np.append(0, breaks + 1)], at[np.append(breaks, -1)], strict=True):
        before, behind = (_margin(noisy[max(0, first - _MARGIN_STEPS):first][::-1]),
                          _margin(noisy[last + 1:last + 1 + _MARGIN_STEPS]))
        parts.append((max(0, int(first) * _STEP - before), min(len(samples), int(last + 1) * _STEP + behind)))
    return parts


def _margin(noisy: np.ndarray) -> int:
    """Samples to search beside a part, of steps from it on: up to loud steady noise, in which words would be found."""
    at = np.flatnonzero(noisy)
    return round((MARGIN if len(at) <= _EDGE // 2 else min(MARGIN, at[0] / 100 + NOISY_MARGIN)) * RATE)


def nothing_heard(samples: np.ndarray) -> str:
    """Why :func:`heard` finds nothing in a recording, for a message."""
    level = levels(samples)
    loudest = float(level.max(initial=-np.inf))
    if len(level) < _WINDOW:
        return f"it has {len(samples) / RATE:.3f} s, in which no word is"
    if loudest < -120:
        return "digital silence"
    if is_sound(level, floor(level)).any():
        return f"steady noise or tones of {loudest:.0f} dB, and no speech"
    return f"its level is {loudest:.0f} dB of full scale at most{', and hardly varies' * (loudest > FAINT)}"


def digital_silence(samples: np.ndarray) -> np.ndarray:
    """int64 [n, 2]: begin and end of each run of equal samples that is too long to have been recorded."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(samples)) + 1, [len(samples)]])
    runs = np.stack([edges[:-1], edges[1:]], axis=1)
    return runs[runs[:, 1] - runs[:, 0] >= _SAME]


def quietest(samples: np.ndarray) -> np.ndarray | None:
    """float64 [1600]: the tenth of a second with the least power; None: there is not a tenth of a second."""
    size = _WINDOW * _STEP
    if len(samples) < size:
        return None
    tenths = samples[:len(samples) // size * size].reshape(-1, size).astype(np.float64)
    return tenths[int(tenths.var(axis=1).argmin())]


def with_noise(samples: np.ndarray, runs: np.ndarray, quiet: np.ndarray | None) -> np.ndarray:
    """The samples with noise like ``quiet`` in these runs, of FAINT if it is None; the same each time."""
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


class Natural:
    """A recording as a microphone might have given it, without digital silence.

    Args:
        samples: float32, 16 kHz, ±32768.

    Attributes:
        samples: what to recognize instead.
    """

    def __init__(self, samples: np.ndarray):
        runs = digital_silence(samples)
        recorded, kept = np.ones(len(samples), bool), np.ones(len(samples), bool)
        for begin, end in runs:
            recorded[begin:end] = False
            kept[begin + round(SHORT * RATE):end] = False
        self._at = None if kept.all() else np.append(np.flatnonzero(kept), len(samples))
        short = np.stack([runs[:, 0], np.minimum(runs[:, 1], runs[:, 0] + round(SHORT * RATE))], axis=1)
        self.samples = with_noise(samples, short, quietest(samples[recorded]) if len(runs) else None)
        if self._at is not None:
            self.samples = self.samples[kept]

    def seconds(self, seconds: float) -> float:
        """The time in the recording of a time in what was recognized."""
        if self._at is None:
            return seconds
        return float(self._at[min(round(seconds * RATE), len(self._at) - 1)]) / RATE


class Listener:
    """A recognizer of live speech that is given no digital silence, and whose words count where there is sound.

    Args:
        recognizer: a :class:`lstmp.decode.live.LiveRecognizer`.
    """

    def __init__(self, recognizer):
        self._recognizer = recognizer
        self._rest, self._steps = np.zeros(0, np.float32), 0
        self._quiet: np.ndarray | None = None
        self._levels = np.zeros((3, 0))  # of all, and as of _high_levels, for each tenth of a second

    def accept(self, samples: np.ndarray):
        """As of the recognizer."""
        runs, last = digital_silence(samples), len(self._rest)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) - len(samples) % (_WINDOW * _STEP)
        self._rest, self._steps = samples[whole:], self._steps + whole // (_WINDOW * _STEP)
        if whole:
            new = np.concatenate([levels(samples[:whole])[np.newaxis], _high_levels(samples[:whole])])
            self._levels = np.concatenate([self._levels, new[:, _WINDOW // 2::_WINDOW]], axis=1)[:, -_KEPT:]
        if not len(runs) and (quiet := quietest(samples[:whole])) is not None and (
                self._quiet is None or quiet.var() < self._quiet.var()):
            self._quiet = quiet
        return self._heard(self._recognizer.accept(with_noise(samples[last:], runs, self._quiet)))

    def finish(self):
        """As of the recognizer."""
        return self._heard(self._recognizer.finish())

    def _heard(self, segments):
        level, least = self._levels[0], round(LASTING * 10)
        sound, first = is_sound(level, floor(level)), self._steps - len(level)
        if len(level) >= least and sound.any():
            sound &= ~_stays(self._levels[1:], least, _EDGE // _WINDOW)
        return [s for s in segments
                if sound[max(0, int(s.begin * 10) - 1 - first):max(0, int(s.end * 10) + 2 - first)].any()]
