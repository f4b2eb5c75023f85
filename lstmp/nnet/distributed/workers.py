"""Threads that share a batch: each runs some of the streams through the whole chunk, forward and backward.

torch's own threads synchronize at every small product of the recurrence, some 500 times per batch; whenever another
process takes a core away for a moment, all of them wait (measured: 390 frames/s instead of 3,700 with six other jobs on
two cores). The threads here synchronize once per batch, to add their gradients, so they lose almost nothing. They share
one copy of the weights, because torch releases Python's global interpreter lock inside every operation.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch


def default_threads() -> int:
    """OMP_NUM_THREADS if it is set, else the number of processors that this process may use."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() and int(text) > 0 else len(os.sched_getaffinity(0))


class Workers:
    """A pool of ``count`` threads, each of which runs torch on one core.

    With ``count`` 1 everything runs in the calling thread; with 0 as well, but torch uses its own threads.
    """

    def __init__(self, count: int):
        self.count = max(1, count)
        self._pool = None
        if count > 0:
            torch.set_num_threads(1)  # in the calling thread too: torch's threads busy-wait, and would block the others
        if count > 1:
            self._pool = ThreadPoolExecutor(count, initializer=_one_core)

    def map(self, function, items) -> list:
        """Compute ``[function(item) for item in items]`` in parallel; raises the first exception."""
        return [function(item) for item in items] if self._pool is None else list(self._pool.map(function, items))

    def split(self, size: int) -> list[slice]:
        """Split 0 … size - 1 into one part per thread, as equal as possible, without empty parts."""
        count = min(self.count, size)
        edges = [size * i // count for i in range(count + 1)]
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def close(self):
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def flush_denormals():
    """Treat denormal numbers as 0 in the calling thread: arithmetic on them is a hundred times slower."""
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it computed these only afterwards
    torch.set_flush_denormal(True)


def _one_core():
    torch.set_num_threads(1)
    flush_denormals()
