"""Cuts long recordings at pauses, so that each piece can be decoded as one utterance."""

from dataclasses import dataclass

import numpy as np

from lstmp.config import check
from lstmp.corpus.audio import RATE

_STEP = RATE // 100  # samples of a frame


@dataclass(frozen=True)
class CutConfig:
    """The values of conf/transcribe.yaml, which explains them."""

    min_seconds: float
    max_seconds: float
    pause_seconds: float

    def __post_init__(self):
        check(self.min_seconds > 0, "min_seconds", "above 0")
        check(self.max_seconds >= 2 * self.min_seconds, "max_seconds", "at least twice min_seconds")
        check(0 < self.pause_seconds <= self.min_seconds, "pause_seconds", "above 0 and at most min_seconds")


def loudness(samples: np.ndarray) -> np.ndarray:
    """The log of the mean square of each 10 ms, float64 [frames], with a floor of one unit of a 16-bit sample."""
    frames = len(samples) // _STEP
    return np.log(np.square(samples[:frames * _STEP].reshape(frames, _STEP), dtype=np.float64).mean(axis=1) + 1.0)


def cuts(samples: np.ndarray, cfg: CutConfig) -> list[tuple[int, int]]:
    """Choose where to cut a recording: (begin, end) of each piece in samples, without gaps between pieces.

    A piece that would be longer than ``max_seconds`` ends in the middle of the quietest interval of ``pause_seconds``
    that begins ``min_seconds`` or more after the start of the piece.
    """
    width, minimum, maximum = (round(x * 100) for x in (cfg.pause_seconds, cfg.min_seconds, cfg.max_seconds))
    total = np.concatenate([[0.0], np.cumsum(loudness(samples))])
    frames, begin, out = len(total) - 1, 0, []
    while frames - begin > maximum:
        first, last = begin + minimum, begin + maximum - width
        quiet = first + int(np.argmin(total[first + width:last + width + 1] - total[first:last + 1]))
        out.append((begin * _STEP, (quiet + width // 2) * _STEP))
        begin = quiet + width // 2
    out.append((begin * _STEP, len(samples)))
    return out
