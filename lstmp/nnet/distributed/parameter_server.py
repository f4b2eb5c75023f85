"""Parameter servers: each holds a part of the weights, adds the changes that machines send, and returns the result.

After Dean et al., "Large scale distributed deep networks" (NIPS 2012), the software with which the papers' networks
were trained. Here the messages contain a machine's changes of the weights instead of gradients, so that any optimizer
can be used. They are point-to-point messages of torch.distributed.
"""

import time
from typing import Any

import torch
import torch.distributed as dist

from lstmp.distributed import LostPeer
from lstmp.nnet.distributed.team import Stopped

_SET, _EXCHANGE, _ASK, _ERROR, _END = range(5)  # types of messages
_HEAD, _BODY = 1, 2  # tags
_PAUSE = 0.01  # seconds between two questions about the other machines' progress
_WAITING = 1 << 62  # the clock of a machine that waits for the others


def parts(size: int, servers: int) -> list[slice]:
    """The part of the vector that each server holds."""
    edges = [size * i // servers for i in range(servers + 1)]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def serve():
    """Run a server until a machine says that training has ended."""
    weights = change = torch.empty(0)
    head = torch.zeros(3, dtype=torch.int64)  # type of message, clock, additions that the machine knows of
    clocks: dict[int, int] = {}
    additions = error = 0
    while True:
        source: Any = dist.recv(head, tag=_HEAD)  # an int, whatever the types of torch 1.13 say
        message, clock, known = head.tolist()
        if message == _END:
            return
        if message == _ERROR:
            error = 1
            # the answer makes sure that the error is known before a _SET clears it
            dist.send(torch.tensor([0, additions, 0, error]), dst=source, tag=_HEAD)
            continue
        if message == _SET:
            weights, change = torch.empty(clock), torch.empty(clock)  # in this message, clock is the size
            dist.recv(weights, src=source, tag=_BODY)
            additions = error = 0
            clocks.clear()
            continue
        clocks[source] = clock
        stale = additions - known
        if message == _EXCHANGE:
            dist.recv(change, src=source, tag=_BODY)
            weights += change
            additions += 1
        dist.send(torch.tensor([min(clocks.values()), additions, stale, error]), dst=source, tag=_HEAD)
        if message == _EXCHANGE:
            dist.send(weights, dst=source, tag=_BODY)


class Servers:
    """The client side of the servers, for the one process of each machine that communicates with them.

    Args:
        ranks: ranks of the servers.
        size: length of the whole vector of weights.

    Attributes:
        base: float32 [size], the weights as the servers last sent them.
        staleness: for each exchange, the largest number of additions by others at a server since the previous exchange.
        seconds: time spent in exchanges.
        bytes: sent and received in exchanges.
        waited: seconds spent waiting for slower machines.
    """

    def __init__(self, ranks: list[int], size: int):
        self.ranks, self.parts = ranks, parts(size, len(ranks))
        self.base = torch.zeros(size)
        self.staleness: list[int] = []
        self.seconds, self.bytes, self.waited = 0.0, 0, 0.0
        self._known, self._slowest = [0] * len(ranks), 0

    def reset_statistics(self):
        """Reset the measurements."""
        self.staleness, self.seconds, self.bytes, self.waited = [], 0.0, 0, 0.0

    def set(self, weights: torch.Tensor):
        """Set the servers' weights. Only one machine calls this, while no machine is training."""
        for rank, part in zip(self.ranks, self.parts, strict=True):
            dist.send(torch.tensor([_SET, part.stop - part.start, 0]), dst=rank, tag=_HEAD)
            dist.send(weights[part].contiguous(), dst=rank, tag=_BODY)

    def begin(self, weights: torch.Tensor):
        """Start from the servers' weights after :meth:`set`; called by every machine."""
        self.base.copy_(weights)
        self._known = [0] * len(self.ranks)
        self.reset_clock()

    def reset_clock(self):
        """Tell the servers that this machine has trained no batch since all machines synchronized."""
        self._ask(0)
        self._slowest = 0

    def exchange(self, weights: torch.Tensor, clock: int | None):
        """Send the changes of this machine's ``weights``, and add the changes of the other machines to them.

        Args:
            clock: number of batches done; None: this machine waits for the others.

        Raises:
            Stopped: a machine has reported an error.
        """
        began = time.monotonic()
        current = weights.clone()
        change, received = current - self.base, torch.empty_like(current)
        heads = [torch.zeros(4, dtype=torch.int64) for _ in self.ranks]
        pending: list[Any] = []
        for n, (rank, part) in enumerate(zip(self.ranks, self.parts, strict=True)):
            head = torch.tensor([_EXCHANGE, _WAITING if clock is None else clock, self._known[n]])
            pending += [dist.isend(head, rank, tag=_HEAD), dist.isend(change[part], rank, tag=_BODY),
                        dist.irecv(heads[n], rank, tag=_HEAD), dist.irecv(received[part], rank, tag=_BODY)]
        for work in pending:
            work.wait()
        weights.add_(received - current)  # not copied: this machine's workers may have added to them in the meantime
        self.base = received
        self._known, self._slowest = [int(head[1]) for head in heads], int(heads[0][0])
        self.staleness.append(max(int(head[2]) for head in heads))
        self.seconds += time.monotonic() - began
        self.bytes += 8 * len(current)
        if any(int(head[3]) for head in heads):
            raise Stopped

    def wait(self, clock: int, bound: int, timeout: float):
        """Wait while this machine is more than ``bound`` batches ahead of the slowest machine.

        Raises:
            Stopped: a machine has reported an error.
            LostPeer: the slowest machine has finished no batch for ``timeout`` seconds.
        """
        began = last_progress = time.monotonic()
        while clock - self._slowest > bound:
            slowest, error = self._ask(clock)
            if error:
                raise Stopped
            if slowest > self._slowest:
                last_progress = time.monotonic()
            if time.monotonic() - last_progress > timeout:
                raise LostPeer(f"a machine has made no progress for {timeout:g} s")
            self._slowest = slowest
            if clock - self._slowest > bound:
                time.sleep(_PAUSE)
        self.waited += time.monotonic() - began

    def _ask(self, clock: int) -> tuple[int, int]:
        """Send this machine's clock to the first server; returns (clock of the slowest machine, 1 after an error)."""
        head = torch.zeros(4, dtype=torch.int64)
        dist.send(torch.tensor([_ASK, clock, self._known[0]]), dst=self.ranks[0], tag=_HEAD)
        dist.recv(head, src=self.ranks[0], tag=_HEAD)
        return int(head[0]), int(head[3])

    def report_error(self):
        """Make the other machines stop at their next exchange."""
        self._send_all(_ERROR)
        for rank in self.ranks:
            dist.recv(torch.zeros(4, dtype=torch.int64), src=rank, tag=_HEAD)

    def end(self):
        """End the servers, because training has ended."""
        self._send_all(_END)

    def _send_all(self, message: int):
        for rank in self.ranks:
            dist.send(torch.tensor([message, 0, 0]), dst=rank, tag=_HEAD)
