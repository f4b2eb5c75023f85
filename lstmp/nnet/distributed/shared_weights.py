"""Weights that the processes of one machine share in memory, and add to without locks (Niu et al., arXiv 1106.5730).

Every worker computes on a copy of its own. Now and then it adds what it has changed to the shared weights, and takes
these as its own: two additions at the same moment may lose a little of one, which the papers' training bears as well.
"""

import contextlib
import os
import time

import torch

from lstmp.distributed import LostPeer
from lstmp.errors import UserError
from lstmp.nnet.distributed.team import Stopped

_PAUSE = 0.002  # seconds between two looks at how far the others are


class SharedWeights:
    """A vector in the machine's memory, and a clock for each worker.

    Args:
        size: numbers in the vector.
        workers: processes that share it on this machine; ``index`` is this one's.
        agree: collective of these workers: value → the first one's value.

    Attributes:
        weights: float32 [size], shared.
        staleness: of each exchange, how many exchanges of others this machine saw since this worker's one before.
        waited: seconds that this worker has waited for slower ones.
        seconds: spent in exchanges.
    """

    def __init__(self, size: int, workers: int, index: int, agree):
        self.index, self.waited, self.seconds = index, 0.0, 0.0
        self.staleness: list[int] = []
        fault, name, handle, length = None, None, None, _length(size, workers)
        if index == 0:
            try:
                handle, name = _memory(length)
            except OSError as e:  # told by all: the others would wait
                fault = f"{length:,} bytes of memory for the weights cannot be had: {e.strerror or e}"
        fault, name = agree((fault, name))
        if fault:
            raise UserError(fault, hint="start fewer processes on this machine, or give it more memory")
        table = torch.from_file(name, shared=True, size=length, dtype=torch.uint8)
        agree(None)  # all have it
        if handle is not None:
            os.close(handle)
        self.weights = table[:4 * size].view(torch.float32)
        cells = table[-8 * (3 * workers + 1):].view(torch.int64)
        self.clocks, self.pushes, self.waiting = cells[:-1].view(3, workers)  # one cell a worker: no two write to one
        self.fault = cells[-1:]
        self._seen = 0

    def set(self, weights: torch.Tensor):
        """Begin anew; no other worker may be at work."""
        self.weights.copy_(weights)
        self.fault.zero_(), self.clocks.zero_()

    @property
    def clock(self) -> int:
        """Batches that this worker has done since all came together."""
        return int(self.clocks[self.index])

    @contextlib.contextmanager
    def resting(self):
        """No other worker waits for this one meanwhile."""
        self.waiting[self.index] = 1
        yield
        self.waiting[self.index] = 0

    def rest(self):
        """Set this worker's clock back; all are together."""
        self.clocks[self.index] = 0

    def clear(self):
        """Forget what was measured."""
        self.staleness, self.waited, self.seconds = [], 0.0, 0.0

    def exchange(self, own: torch.Tensor, base: torch.Tensor):
        """Add what ``own`` has changed since it was ``base``, and make both the weights as they are then."""
        began = time.monotonic()
        self.staleness.append(int(self.pushes.sum()) - int(self.pushes[self.index]) - self._seen)
        self.weights.add_((own - base).cpu())
        self.pushes[self.index] += 1
        self.take(own, base)
        self.seconds += time.monotonic() - began

    def take(self, own: torch.Tensor, base: torch.Tensor):
        """Make both the weights as they are now."""
        self._seen = int(self.pushes.sum()) - int(self.pushes[self.index])
        base.copy_(self.weights)
        own.copy_(base)

    def tick(self, bound: int, patience: float):
        """One batch more is done. Waits where that is more than ``bound`` ahead of the slowest worker.

        Raises:
            Stopped: a worker has reported a fault.
            LostPeer: the slowest has not moved for ``patience`` seconds.
        """
        self.clocks[self.index] += 1
        began = since = time.monotonic()
        slowest = int(self.slowest())
        while not self.fault and self.clock - slowest > bound:
            time.sleep(_PAUSE)
            before, slowest = slowest, int(self.slowest())
            if slowest > before:
                since = time.monotonic()
            if time.monotonic() - since > patience:
                raise LostPeer(f"a worker has done nothing for {patience:g} s")
        self.waited += time.monotonic() - began
        if self.fault:
            raise Stopped

    def slowest(self) -> torch.Tensor:
        """Batches that the slowest worker has done, of those at work."""
        return self.clocks.masked_fill(self.waiting.bool(), 1 << 62).min()


def _length(size: int, workers: int) -> int:
    """Bytes: the weights, then 3 cells of 8 bytes a worker and one for all."""
    return -(-4 * size // 8) * 8 + 8 * (3 * workers + 1)


def _memory(length: int) -> tuple[int, str]:
    """Memory without a name, full of zeros: its handle, and the path by which this machine's processes open it. It is
    gone with the last of them, and not bounded by the size of /dev/shm."""
    handle = os.memfd_create("lstmp-weights")
    os.posix_fallocate(handle, 0, length)  # now, rather than to be killed when a page of it cannot be had
    return handle, f"/proc/{os.getpid()}/fd/{handle}"
