"""Tests whether one network is better than another: the difference of their means, its interval and p-value.

There are two sources of variance: the training, which varies with the seed, and the choice of the decoded utterances.
The variance of the difference is the sum of three terms. Two are the variances of the networks over their seeds,
divided by the number of seeds. For word error rates, the third is the variance of the difference over utterances; it is
estimated by the bootstrap (Bisani and Ney, 2004), which draws the same utterances for both networks. The interval and
the p-value come from Student's t distribution, with the degrees of freedom by Welch and Satterthwaite. If a network has
only one seed, the variance of training is unknown and left out. Then only word error rates can be compared, and their
intervals are too narrow.

Three seeds say little about a variance, but the networks of a grid vary in similar ways. :class:`Spread` learns from
all of them what to expect of one, and the variance of a network is then the mean of that and its own, weighted by their
degrees of freedom (the moderated t-test of Smyth 2004, *Linear models and empirical Bayes methods*). A network that
varies far more than expected keeps its own. Such variances are better known than Welch and Satterthwaite can use: the
difference is a sum of independent t variables, and Student's distribution with the same variance and kurtosis takes its
place.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from lstmp.score.bootstrap import replicate_wers

_REPLICATES = 2000
_FEWEST = 6  # networks from which a spread can be learnt
_SMALLEST = 1e-5  # variances below this share of their median are raised to it
_UNUSUAL = 0.01  # probability of a variance as large as that of a network that keeps its own


@dataclass(frozen=True)
class Difference:
    """The difference of two networks, first minus second, in the unit of the measure.

    Attributes:
        mean: mean of the first minus mean of the second.
        low, high: 95 % interval; infinite if no variance is known.
        error: standard error of the mean; infinite if no variance is known.
        df: degrees of freedom.
    """

    mean: float
    low: float
    high: float
    error: float
    df: float

    def p_above(self, bound: float) -> float:
        """One-sided p-value of the hypothesis that the true difference is not above ``bound``.

        It is 1 if no variance is known.
        """
        if self.error == 0:
            return float(self.mean <= bound)
        return float(stats.t.sf((self.mean - bound) / self.error, self.df)) if np.isfinite(self.error) else 1.0

    def p_below(self, bound: float) -> float:
        """As :meth:`p_above`, of the hypothesis that it is not below ``bound``."""
        return Difference(-self.mean, -self.high, -self.low, self.error, self.df).p_above(-bound)


@dataclass(frozen=True)
class Spread:
    """What is expected of a network's variance over its seeds: a scaled inverse χ² distribution.

    Attributes:
        variance: its scale, s₀² of Smyth (2004).
        df: its degrees of freedom d₀; infinite if the variances differ no more than by chance.
        most_df: of all samples together; no variance is taken to be known better than that.
    """

    variance: float
    df: float
    most_df: float

    @classmethod
    def of(cls, samples: list) -> "Spread | None":
        """Estimate it from the values of networks, one for each seed (Smyth 2004, section 6.2).

        None if fewer than six networks have several seeds.
        """
        several = [np.asarray(x, float) for x in samples if len(x) > 1]
        if len(several) < _FEWEST:
            return None
        variances, df = np.array([x.var(ddof=1) for x in several]), np.array([len(x) - 1 for x in several])
        variances = np.maximum(variances, _SMALLEST * np.median(variances))  # those of equal values have no logarithm
        if not variances.all():
            return None
        e = np.log(variances) - special.digamma(df / 2) + np.log(df / 2)
        excess = e.var(ddof=1) - special.polygamma(1, df / 2).mean()  # how much more they differ than by chance
        if excess <= 0:
            return cls(float(np.exp(e.mean())), np.inf, float(df.sum()))
        half = optimize.brentq(lambda x: special.polygamma(1, np.exp(x)) - excess, -20, 20)
        d0 = 2 * float(np.exp(half))
        return cls(float(np.exp(e.mean() + special.digamma(d0 / 2) - np.log(d0 / 2))), d0, float(df.sum()))

    def moderated(self, values: np.ndarray) -> tuple[float, float]:
        """The variance of a network with these values, and its degrees of freedom."""
        own, df = float(values.var(ddof=1)), len(values) - 1
        if stats.f.sf(own / self.variance, df, min(self.df, self.most_df)) < _UNUSUAL:
            return own, df
        share = 1.0 if np.isinf(self.df) else self.df / (self.df + df)
        return share * self.variance + (1 - share) * own, min(self.df + df, self.most_df)


def difference(first, second, extra: tuple[float, float] | None = None, confidence: float = 0.95,
               spread: Spread | None = None) -> Difference:
    """Difference of the means of two independent samples.

    Args:
        first, second: one value per seed.
        extra: (variance of the difference from another source, its degrees of freedom).
        confidence: of the interval.
        spread: what is expected of the variances; None: nothing, so this is Welch's test.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    mean = float(a.mean() - b.mean())
    known = min(len(a), len(b)) > 1  # else the variance of training is not known
    if known and spread:
        parts = [(variance / len(x), df) for x in (a, b) for variance, df in [spread.moderated(x)]]
        total, df = _matched(parts)
        total, df = _matched([(total, min(df, spread.most_df)), *([extra] if extra else [])])
    else:
        parts = [extra] if extra else []
        parts += [(x.var(ddof=1) / len(x), len(x) - 1) for x in (a, b)] if known else []
        if not parts:
            return Difference(mean, -np.inf, np.inf, np.inf, np.nan)
        total = sum(v for v, _ in parts)
        df = total ** 2 / sum(v ** 2 / n for v, n in parts) if total else np.inf
    if total == 0:
        return Difference(mean, mean, mean, 0.0, np.inf)
    error = float(np.sqrt(total))
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * error
    return Difference(mean, mean - half, mean + half, error, float(df))


def _matched(parts: list[tuple[float, float]]) -> tuple[float, float]:
    """Squared scale and degrees of freedom of the t variable with the variance and the kurtosis of a sum of independent
    ones; those of the parts are given."""
    fewest = min(df for _, df in parts)
    if len(parts) == 1 or fewest <= 4:  # without a kurtosis: rather too wide
        return sum(v for v, _ in parts), fewest
    scales, df = np.array(parts).T
    variances = scales * df / (df - 2)
    total = float(variances.sum())
    if total == 0:
        return 0.0, np.inf
    together = 4 + total ** 2 / float((variances ** 2 / (df - 4)).sum())
    return total * (together - 2) / together, together


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for their number (Holm 1979): of those below α, with probability 1 - α not one is by chance."""
    order = np.argsort(p_values)
    raised = np.asarray(p_values, float)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0) if len(raised) else raised
    return adjusted.tolist()


def wers(runs: list[np.ndarray], words: np.ndarray) -> list[float]:
    """For each seed the word error rate in per cent, from the word errors and the words in every utterance [N]."""
    return [100 * e.sum() / words.sum() for e in runs]


def wer_difference(first: list[np.ndarray], second: list[np.ndarray], words: np.ndarray, seed: int = 1,
                   spread: Spread | None = None) -> Difference:
    """Difference of word error rates in per cent.

    Args:
        first, second: for each seed, the number of word errors in every utterance [N].
        words: number of reference words in every utterance [N].
        seed: random seed of the bootstrap.
        spread: what is expected of the variances over the seeds, as for :func:`difference`.
    """
    replicates = (replicate_wers(np.mean(first, 0), words, _REPLICATES, seed)
                  - replicate_wers(np.mean(second, 0), words, _REPLICATES, seed))
    return difference(wers(first, words), wers(second, words), (float(replicates.var(ddof=1)), len(words) - 1),
                      spread=spread)
