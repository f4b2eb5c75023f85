"""The matched-pairs test: whether two systems differ significantly, from their errors in short segments.

L. Gillick and S. Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP 1989.
Utterances are split where both systems are correct for two or more words, so that the errors in different segments are
independent. The errors of both systems are counted in each segment. If neither system is better, the mean difference is
normally distributed around zero.
"""

import math
from dataclasses import dataclass

import kaldialign
import numpy as np

RIGHT = 2  # two segments are separated by at least this many words that both systems have correct


@dataclass(frozen=True)
class MatchedPairs:
    """The result of the test.

    Attributes:
        segments: number of segments with an error of either system.
        mean: mean difference per segment: errors of the first system minus errors of the second.
        z: the mean divided by its standard deviation; 0 if there is no segment or no difference.
        p: two-sided p-value of the hypothesis that there is no difference.
    """

    segments: int
    mean: float
    z: float
    p: float


def errors_at(ref: tuple[str, ...], hyp: tuple[str, ...]) -> np.ndarray:
    """The number of errors at each reference word, int64 [len(ref) + 1]. An insertion counts at the next word."""
    counts, position = np.zeros(len(ref) + 1, np.int64), 0
    for r, h in kaldialign.align(ref, hyp, ""):
        counts[position] += r != h
        position += r != ""
    return counts


def segments(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """(errors of the first system, of the second) in each segment of an utterance.

    ``first``, ``second``: the results of :func:`errors_at` for the two systems.
    """
    out, correct, in_segment = [], RIGHT, False
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        correct = 0 if a or b else correct + 1
        if a or b:
            if not in_segment:
                out.append((0, 0))
            out[-1] = (out[-1][0] + a, out[-1][1] + b)
            in_segment = True
        elif correct >= RIGHT:
            in_segment = False
    return out


def matched_pairs(pairs: list[tuple[int, int]]) -> MatchedPairs:
    """Do the test. ``pairs``: the results of :func:`segments` for all utterances."""
    differences = np.array([a - b for a, b in pairs], float)
    count = len(differences)
    if count < 2 or not differences.any():
        return MatchedPairs(count, float(differences.mean()) if count else 0.0, 0.0, 1.0)
    deviation = differences.std(ddof=1) / math.sqrt(count)
    mean = differences.mean()
    z = float(mean / deviation) if deviation else math.copysign(math.inf, mean)
    return MatchedPairs(count, float(mean), z, math.erfc(abs(z) / math.sqrt(2)))
