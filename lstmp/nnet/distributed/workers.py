"""Threads that share a batch: each runs some of the streams through the whole chunk, forward and backward.

Within an operation, torch's own threads meet at every small product of the recurrence, some 500 times a batch; where
another process takes a core away for a moment, all wait (measured: 390 frames/s against 3,700 with six other jobs on
two cores). Threads that meet once a batch, to add their gradients, lose nothing to this, and need no copies of the
weights: torch lets go of Python's lock inside every operation.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else the processors that this process may use."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() and int(text) > 0 else len(os.sched_getaffinity(0))


class Workers:
    """``count`` threads, each of which runs torch on one core. With ``count`` 1 everything runs in the caller; with 0
    too, on as many cores as torch has."""

    def __init__(self, count: int):
        self.count = max(1, count)
        self._pool = None
        if count > 0:
            torch.set_num_threads(1)  # in the caller as well: torch's helpers would wait by spinning, and block others
        if count > 1:
            self._pool = ThreadPoolExecutor(count, initializer=_one_core)

    def map(self, function, items) -> list:
        """``[function(item) for item in items]``, side by side. The first exception is raised."""
        return [function(item) for item in items] if self._pool is None else list(self._pool.map(function, items))

    def shares(self, size: int) -> list[slice]:
        """0 … size - 1 in as many parts as there are threads, as equal as can be; no empty ones."""
        count = min(self.count, size)
        edges = [size * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def close(self):
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def flush_denormals():
    """Take denormal numbers for 0 in the calling thread: arithmetic on them is a hundred times slower."""
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it looked at them only afterwards
    torch.set_flush_denormal(True)


def _one_core():
    torch.set_num_threads(1)
    flush_denormals()
