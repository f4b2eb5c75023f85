"""Whether the confidences of words are probabilities: of the words with confidence 0.8, are 80 % correct?"""

import numpy as np

from lstmp.aliases import Array, Json

BINS = 10
_FLOOR = 1e-6  # a wrong word of confidence 1 would make the entropy infinite


def calibration(confidences: list[float], correct: list[bool]) -> Json:
    """Compare the confidences of hypothesis words with what is correct.

    Args:
        confidences: [N] from 0 to 1.
        correct: [N] whether the word is correct.

    Returns:
        ``bins``: ten of equal width, each with ``low``, ``high``, ``n`` words, and their mean ``confidence`` and share
        ``correct`` (None if there are no words);
        ``ece``, expected calibration error: the mean difference of the two, weighted by words (Naeini, Cooper and
        Hauskrecht, AAAI 2015);
        ``nce``, normalized cross entropy: 1 if confidences are always right, 0 if they tell no more than the share of
        correct words does, negative if they mislead (Siu, Gish and Richardson, Eurospeech 1997). None if all words are
        correct, or none is.
    """
    p, right = np.asarray(confidences, float), np.asarray(correct, bool)
    index = np.minimum((p * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for i in range(BINS):
        inside = index == i
        n = int(inside.sum())
        mean, share = (float(p[inside].mean()), float(right[inside].mean())) if n else (None, None)
        bins.append({"low": i / BINS, "high": (i + 1) / BINS, "n": n, "confidence": _rounded(mean),
                     "correct": _rounded(share)})
        error += n * abs(mean - share) if mean is not None and share is not None else 0.0
    return {"bins": bins, "ece": _rounded(error / len(p)) if len(p) else None, "nce": _nce(p, right)}


def _nce(p: Array, right: Array) -> float | None:
    n, n_right = len(right), int(right.sum())
    if n_right in (0, n):
        return None
    share = n_right / n
    most = -(n_right * np.log2(share) + (n - n_right) * np.log2(1 - share))
    p = np.clip(p, _FLOOR, 1 - _FLOOR)
    return _rounded(float((most + np.log2(p[right]).sum() + np.log2(1 - p[~right]).sum()) / most))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
