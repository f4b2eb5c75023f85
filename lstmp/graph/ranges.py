"""Vectorized concatenation of many integer ranges, such as the arcs out of many states or the words on many arcs."""

import numpy as np


def ranges(begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Concatenate the ranges begin[i] … begin[i] + length[i] − 1, int64 [sum of the lengths]."""
    length = length.astype(np.int64)
    return np.repeat(begin - np.cumsum(length) + length, length) + np.arange(length.sum())


def pairs(items: np.ndarray, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair each item with each number of its range begin … end − 1: two arrays [sum of the lengths]."""
    return np.repeat(items, end - begin), ranges(begin, end - begin)
