"""Bootstrap confidence intervals of word error rates, with resampling of utterances.

M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004: sample
as many utterances as the set has, with replacement, and compute the word error rate; repeat this many times. The
interval is the central part of the distribution of these error rates.
"""

import numpy as np

_BLOCK = 1000  # replicates drawn at a time, which bounds the memory


def replicate_wers(errors: np.ndarray, words: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Word error rates in per cent of ``replicates`` resampled sets, float64 [replicates].

    Args:
        errors: [N] errors of each utterance.
        words: [N] reference words of each utterance.
        replicates: number of samples.
        seed: random seed; with the same seed, the same utterances are sampled, independent of their errors.
    """
    n = len(errors)
    rng = np.random.default_rng(seed)
    wers = []
    for start in range(0, replicates, _BLOCK):
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(_BLOCK, replicates - start))  # counts [block, N]
        wers.append(100.0 * (times @ errors) / np.maximum(times @ words, 1))
    return np.concatenate(wers)


def interval(errors: np.ndarray, words: np.ndarray, *, replicates: int, seed: int,
             confidence: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval (low, high) of the word error rate in per cent; arguments as :func:`replicate_wers`."""
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(replicate_wers(errors, words, replicates, seed), [tail, 100.0 - tail])
    return float(low), float(high)
