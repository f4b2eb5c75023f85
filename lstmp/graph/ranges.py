"""Many ranges of numbers at once: the arcs out of many states, the words on many arcs."""

import numpy as np


def ranges(begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """begin[0] … begin[0] + length[0] − 1, begin[1] …, int64 [sum of the lengths]."""
    length = length.astype(np.int64)
    return np.repeat(begin - np.cumsum(length) + length, length) + np.arange(length.sum())


def pairs(items: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item with each number from its begin up to its end."""
    return np.repeat(items, end - begin), ranges(begin, end - begin)
