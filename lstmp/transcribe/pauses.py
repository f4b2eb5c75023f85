"""Long recordings cut at pauses, so that every piece can be searched as one utterance."""

from dataclasses import dataclass

import numpy as np

from lstmp.config import check
from lstmp.corpus.audio import RATE

_STEP = RATE // 100  # samples of a frame


@dataclass(frozen=True)
class CutConfig:
    """The values of conf/transcribe.yaml, explained there."""

    min_seconds: float
    max_seconds: float
    pause_seconds: float

    def __post_init__(self):
        check(self.min_seconds > 0, "min_seconds", "above 0")
        check(self.max_seconds >= 2 * self.min_seconds, "max_seconds", "at least twice min_seconds")
        check(0 < self.pause_seconds <= self.min_seconds, "pause_seconds", "above 0 and at most min_seconds")


def loudness(samples: np.ndarray) -> np.ndarray:
    """float64 [frames of 10 ms]: the logarithm of the mean square, with a floor at one unit of a 16-bit sample."""
    frames = len(samples) // _STEP
    return np.log(np.square(samples[:frames * _STEP].reshape(frames, _STEP), dtype=np.float64).mean(axis=1) + 1.0)


def cuts(samples: np.ndarray, cfg: CutConfig) -> list[tuple[int, int]]:
    """Where to cut a recording: (begin, end) in samples; the pieces follow each other without gap.

    A piece that would be longer than ``max_seconds`` ends in the middle of the quietest stretch of ``pause_seconds``
    that begins ``min_seconds`` or more after its start.
    """
    width, least, most = (round(x * 100) for x in (cfg.pause_seconds, cfg.min_seconds, cfg.max_seconds))
    total = np.concatenate([[0.0], np.cumsum(loudness(samples))])
    frames, begin, out = len(total) - 1, 0, []
    while frames - begin > most:
        first, last = begin + least, begin + most - width
        quiet = first + int(np.argmin(total[first + width:last + width + 1] - total[first:last + 1]))
        out.append((begin * _STEP, (quiet + width // 2) * _STEP))
        begin = quiet + width // 2
    out.append((begin * _STEP, len(samples)))
    return out
