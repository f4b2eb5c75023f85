"""Where two systems err: the segments of the matched-pairs test.

L. Gillick and S. Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP 1989. The
words of an utterance are cut where both systems are right for two words or more, so that the errors of one segment do
not depend on those of another; for each segment the errors of both systems are counted. The mean of the differences is
then normally distributed around zero where neither system is better.
"""

import math
from dataclasses import dataclass

import kaldialign
import numpy as np

RIGHT = 2  # so many words in a row, right by both, part two segments


@dataclass(frozen=True)
class MatchedPairs:
    """Outcome of the test.

    Attributes:
        segments: how many there are with an error of either system.
        mean: errors of the first less those of the second, a segment.
        z: the mean in standard deviations of it; 0 where there is no segment, or no difference in any.
        p: two-sided, of no difference.
    """

    segments: int
    mean: float
    z: float
    p: float


def errors_at(ref: tuple[str, ...], hyp: tuple[str, ...]) -> np.ndarray:
    """int64 [len(ref) + 1]: the errors at each reference word; insertions count at the word they stand before."""
    counts, at = np.zeros(len(ref) + 1, np.int64), 0
    for r, h in kaldialign.align(ref, hyp, ""):
        counts[at] += r != h
        at += r != ""
    return counts


def segments(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """(errors of the first system, of the second) in each segment of an utterance; from :func:`errors_at` of both."""
    out, right, open_ = [], RIGHT, False
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        right = 0 if a or b else right + 1
        if a or b:
            if not open_:
                out.append((0, 0))
            out[-1] = (out[-1][0] + a, out[-1][1] + b)
            open_ = True
        elif right >= RIGHT:
            open_ = False
    return out


def matched_pairs(pairs: list[tuple[int, int]]) -> MatchedPairs:
    """The test on the segments of all utterances."""
    z = np.array([a - b for a, b in pairs], float)
    if len(z) < 2 or not z.any():
        return MatchedPairs(len(z), float(z.mean()) if len(z) else 0.0, 0.0, 1.0)
    deviation = z.std(ddof=1) / math.sqrt(len(z))
    score = float(z.mean() / deviation) if deviation else math.copysign(math.inf, z.mean())
    return MatchedPairs(len(z), float(z.mean()), score, math.erfc(abs(score) / math.sqrt(2)))
