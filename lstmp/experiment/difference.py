"""Is one network better than another? The difference of their means over seeds, its interval and p-value.

Two things scatter: the training, from seed to seed, and the choice of the utterances that were decoded. The variance of
the difference is the sum of three: each network's over its seeds, divided by their number, and, for word error rates,
that of the difference over utterances by the bootstrap (Bisani and Ney, 2004), the same utterances being drawn for both
networks. Interval and p-value are those of Student's distribution, its degrees of freedom by Welch and Satterthwaite.
Where a network has one seed only, the scatter of training is unknown and left out: only word error rates can then be
compared, and their intervals are too narrow.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from lstmp.score.bootstrap import replicate_wers

_REPLICATES = 2000


@dataclass(frozen=True)
class Difference:
    """First less second, in the unit of the measure.

    Attributes:
        mean: of the first less that of the second.
        low, high: 95 % interval; infinite where nothing is known of the scatter.
        p: two-sided, of no difference; 1 where nothing is known of the scatter.
    """

    mean: float
    low: float
    high: float
    p: float


def difference(first, second, extra: tuple[float, float] | None = None, confidence: float = 0.95) -> Difference:
    """Difference of the means of two independent samples.

    Args:
        first, second: one value a seed.
        extra: (variance of the difference from another cause, its degrees of freedom).
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    mean = float(a.mean() - b.mean())
    parts = [extra] if extra else []
    if min(len(a), len(b)) > 1:  # else the scatter of training is not known
        parts += [(a.var(ddof=1) / len(a), len(a) - 1), (b.var(ddof=1) / len(b), len(b) - 1)]
    if not parts:
        return Difference(mean, -np.inf, np.inf, 1.0)
    total = sum(v for v, _ in parts)
    if total == 0:
        return Difference(mean, mean, mean, float(mean == 0))
    df = total ** 2 / sum(v ** 2 / n for v, n in parts)
    half = float(stats.t.ppf(0.5 + confidence / 2, df) * np.sqrt(total))
    p = float(2 * stats.t.sf(abs(mean) / np.sqrt(total), df))
    return Difference(mean, mean - half, mean + half, p)


def wer_difference(first: list[np.ndarray], second: list[np.ndarray], words: np.ndarray, seed: int = 1) -> Difference:
    """Difference of word error rates in per cent.

    Args:
        first, second: for each seed the errors of every utterance [N].
        words: [N] reference words.
    """
    def wers(runs):
        return [100 * e.sum() / words.sum() for e in runs]

    apart = (replicate_wers(np.mean(first, 0), words, _REPLICATES, seed)
             - replicate_wers(np.mean(second, 0), words, _REPLICATES, seed))
    return difference(wers(first), wers(second), (float(apart.var(ddof=1)), len(words) - 1))
