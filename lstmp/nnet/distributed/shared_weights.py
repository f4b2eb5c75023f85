"""Weights in memory that the processes of one machine share and update without locks (Niu et al., arXiv 1106.5730).

Every worker computes with its own copy. Now and then it adds its changes to the shared weights, and copies the result.
Without locks, two simultaneous additions may lose a part of one; the papers' training tolerates this as well.
"""

import contextlib
import os
import time

import torch

from lstmp.distributed import LostPeer
from lstmp.errors import UserError
from lstmp.nnet.distributed.team import Stopped

_PAUSE = 0.002  # seconds between two checks of the other workers' progress


class SharedWeights:
    """A vector of weights in shared memory, and a clock for each worker, which counts its batches.

    Args:
        size: length of the vector.
        workers: number of processes that share it on this machine.
        index: index of this process among them.
        agree: collective function of these workers that returns the first worker's argument to all of them.

    Attributes:
        weights: float32 [size], shared.
        error: int64 [1], shared: 1 after a worker has reported an error.
        staleness: for each exchange, the number of exchanges by other workers since this worker's previous one.
        waited: seconds that this worker has waited for slower ones.
        seconds: time spent in exchanges.

    Raises:
        UserError: there is not enough memory.
    """

    def __init__(self, size: int, workers: int, index: int, agree):
        self.index, self.waited, self.seconds = index, 0.0, 0.0
        self.staleness: list[int] = []
        error, name, handle, length = None, None, None, _num_bytes(size, workers)
        if index == 0:
            try:
                handle, name = _allocate(length)
            except OSError as e:  # raised below by all workers: otherwise the others would wait
                error = f"cannot allocate {length:,} bytes of memory for the weights: {e.strerror or e}"
        error, name = agree((error, name))
        if error:
            raise UserError(error, hint="start fewer processes on this machine, or give it more memory")
        table = torch.from_file(name, shared=True, size=length, dtype=torch.uint8)
        agree(None)  # all workers have mapped it
        if handle is not None:
            os.close(handle)
        self.weights = table[:4 * size].view(torch.float32)
        cells = table[-8 * (3 * workers + 1):].view(torch.int64)
        # one cell per worker in each: no two workers write to the same cell
        self.clocks, self.exchanges, self.is_waiting = cells[:-1].view(3, workers)
        self.error = cells[-1:]
        self._seen = 0

    def set(self, weights: torch.Tensor):
        """Set the weights, and reset clocks and error; only while no other worker is training."""
        self.weights.copy_(weights)
        self.error.zero_(), self.clocks.zero_()

    @property
    def clock(self) -> int:
        """Number of batches that this worker has done since all workers synchronized."""
        return int(self.clocks[self.index])

    @contextlib.contextmanager
    def waiting(self):
        """Inside this block no other worker waits for this one, because it waits itself."""
        self.is_waiting[self.index] = 1
        yield
        self.is_waiting[self.index] = 0

    def reset_clock(self):
        """Set this worker's clock to 0, while all workers are synchronized."""
        self.clocks[self.index] = 0

    def reset_statistics(self):
        """Reset the measurements."""
        self.staleness, self.waited, self.seconds = [], 0.0, 0.0

    def exchange(self, own: torch.Tensor, base: torch.Tensor):
        """Add the changes from ``base`` to ``own`` to the shared weights, then copy the result to both."""
        began = time.monotonic()
        self.staleness.append(self._exchanges_of_others() - self._seen)
        self.weights.add_((own - base).cpu())
        self.exchanges[self.index] += 1
        self.copy_to(own, base)
        self.seconds += time.monotonic() - began

    def copy_to(self, own: torch.Tensor, base: torch.Tensor):
        """Copy the shared weights to both vectors."""
        self._seen = self._exchanges_of_others()
        base.copy_(self.weights)
        own.copy_(base)

    def _exchanges_of_others(self) -> int:
        return int(self.exchanges.sum()) - int(self.exchanges[self.index])

    def finish_batch(self, bound: int, timeout: float):
        """Count a finished batch, then wait while this worker is more than ``bound`` batches ahead of the slowest one.

        Raises:
            Stopped: a worker has reported an error.
            LostPeer: the slowest worker has finished no batch for ``timeout`` seconds.
        """
        self.clocks[self.index] += 1
        began = last_progress = time.monotonic()
        slowest = int(self.slowest())
        while not self.error and self.clock - slowest > bound:
            time.sleep(_PAUSE)
            previous, slowest = slowest, int(self.slowest())
            if slowest > previous:
                last_progress = time.monotonic()
            if time.monotonic() - last_progress > timeout:
                raise LostPeer(f"a worker has made no progress for {timeout:g} s")
        self.waited += time.monotonic() - began
        if self.error:
            raise Stopped

    def slowest(self) -> torch.Tensor:
        """Number of batches that the slowest worker has done; workers that wait themselves do not count."""
        return self.clocks.masked_fill(self.is_waiting.bool(), 1 << 62).min()


def _num_bytes(size: int, workers: int) -> int:
    """The weights, then 3 cells of 8 bytes for each worker, and one cell for all."""
    return -(-4 * size // 8) * 8 + 8 * (3 * workers + 1)


def _allocate(length: int) -> tuple[int, str]:
    """Allocate anonymous shared memory, filled with zeros.

    Returns: its file descriptor, and the path by which this machine's processes can open it. The memory is freed with
        the last of them. Unlike files in /dev/shm, it is not limited by the size of that file system.
    """
    handle = os.memfd_create("lstmp-weights")
    os.posix_fallocate(handle, 0, length)  # fails here if memory is short; otherwise a later write would be killed
    return handle, f"/proc/{os.getpid()}/fd/{handle}"
