"""Weights spread over servers: each holds a part, adds what machines send, and answers with the sum of all so far.

After Dean et al., "Large scale distributed deep networks" (NIPS 2012), by whose means the papers trained; but what
travels is the change that a machine has made to the weights, not a gradient, so that any optimizer will do. Messages
go through torch.distributed, from point to point.
"""

import time
from typing import Any

import torch
import torch.distributed as dist

from lstmp.distributed import LostPeer
from lstmp.nnet.distributed.team import Stopped

_SET, _EXCHANGE, _ASK, _FAULT, _END = range(5)
_HEAD, _BODY = 1, 2  # tags
_PAUSE = 0.01  # seconds between two questions how far the others are
_RESTING = 1 << 62  # the clock of a machine that waits for the others


def parts(size: int, servers: int) -> list[slice]:
    """The part of the vector that each server holds."""
    edges = [size * i // servers for i in range(servers + 1)]
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def serve():
    """Be a server until a machine says that training has ended."""
    weights = change = torch.empty(0)
    head = torch.zeros(3, dtype=torch.int64)  # kind, clock, additions that the machine knew of
    clocks: dict[int, int] = {}
    additions = fault = 0
    while True:
        source: Any = dist.recv(head, tag=_HEAD)  # an int, whatever the types of torch 1.13 say
        kind, clock, known = head.tolist()
        if kind == _END:
            return
        if kind == _FAULT:
            fault = 1
            dist.send(torch.tensor([0, additions, 0, fault]), dst=source, tag=_HEAD)  # so that it is known before _SET
            continue
        if kind == _SET:
            weights, change = torch.empty(clock), torch.empty(clock)  # here it is the size
            dist.recv(weights, src=source, tag=_BODY)
            additions = fault = 0
            clocks.clear()
            continue
        clocks[source] = clock
        stale = additions - known
        if kind == _EXCHANGE:
            dist.recv(change, src=source, tag=_BODY)
            weights += change
            additions += 1
        dist.send(torch.tensor([min(clocks.values()), additions, stale, fault]), dst=source, tag=_HEAD)
        if kind == _EXCHANGE:
            dist.send(weights, dst=source, tag=_BODY)


class Servers:
    """The servers, seen from the one process of a machine that talks to them.

    Args:
        ranks: of the servers.
        size: numbers in the whole vector.

    Attributes:
        staleness: of each exchange, the largest number of additions by others that a server had since the one before.
        seconds, bytes: spent in exchanges, and sent and received by them.
        waited: seconds of waiting for slower machines.
    """

    def __init__(self, ranks: list[int], size: int):
        self.ranks, self.parts = ranks, parts(size, len(ranks))
        self.base = torch.zeros(size)
        self.staleness: list[int] = []
        self.seconds, self.bytes, self.waited = 0.0, 0, 0.0
        self._known, self._slowest = [0] * len(ranks), 0

    def clear(self):
        """Forget what was measured."""
        self.staleness, self.seconds, self.bytes, self.waited = [], 0.0, 0, 0.0

    def set(self, weights: torch.Tensor):
        """Begin anew with these; no machine may be at work, and one only says so."""
        for rank, part in zip(self.ranks, self.parts, strict=True):
            dist.send(torch.tensor([_SET, part.stop - part.start, 0]), dst=rank, tag=_HEAD)
            dist.send(weights[part].contiguous(), dst=rank, tag=_BODY)

    def begin(self, weights: torch.Tensor):
        """The servers have these weights now; every machine must know."""
        self.base.copy_(weights)
        self._known = [0] * len(self.ranks)
        self.restart()

    def restart(self):
        """All machines come from a meeting: none has done a batch since, and the servers know."""
        self._ask(0)
        self._slowest = 0

    def exchange(self, weights: torch.Tensor, clock: int | None):
        """Send what has changed in the machine's ``weights``, and add to them what the others have changed.

        ``clock`` is how many batches are done; None: this machine waits for the others.
        """
        began = time.monotonic()
        now = weights.clone()
        change, fresh = now - self.base, torch.empty_like(now)
        heads = [torch.zeros(4, dtype=torch.int64) for _ in self.ranks]
        pending: list[Any] = []
        for n, (rank, part) in enumerate(zip(self.ranks, self.parts, strict=True)):
            head = torch.tensor([_EXCHANGE, _RESTING if clock is None else clock, self._known[n]])
            pending += [dist.isend(head, rank, tag=_HEAD), dist.isend(change[part], rank, tag=_BODY),
                        dist.irecv(heads[n], rank, tag=_HEAD), dist.irecv(fresh[part], rank, tag=_BODY)]
        for work in pending:
            work.wait()
        weights.add_(fresh - now)  # others of this machine may have added to them meanwhile
        self.base = fresh
        self._known, self._slowest = [int(head[1]) for head in heads], int(heads[0][0])
        self.staleness.append(max(int(head[2]) for head in heads))
        self.seconds += time.monotonic() - began
        self.bytes += 8 * len(now)
        if any(int(head[3]) for head in heads):
            raise Stopped

    def wait(self, clock: int, bound: int, patience: float):
        """Wait while this machine is more than ``bound`` batches ahead of the slowest.

        Raises:
            Stopped: a machine has reported a fault.
            LostPeer: the slowest one has not moved for ``patience`` seconds.
        """
        began = since = time.monotonic()
        while clock - self._slowest > bound:
            slowest, fault = self._ask(clock)
            if fault:
                raise Stopped
            if slowest > self._slowest:
                since = time.monotonic()
            if time.monotonic() - since > patience:
                raise LostPeer(f"a machine has done nothing for {patience:g} s")
            self._slowest = slowest
            if clock - self._slowest > bound:
                time.sleep(_PAUSE)
        self.waited += time.monotonic() - began

    def _ask(self, clock: int) -> tuple[int, int]:
        """Tell the first server this machine's clock; (the slowest machine's, whether there is a fault)."""
        head = torch.zeros(4, dtype=torch.int64)
        dist.send(torch.tensor([_ASK, clock, self._known[0]]), dst=self.ranks[0], tag=_HEAD)
        dist.recv(head, src=self.ranks[0], tag=_HEAD)
        return int(head[0]), int(head[3])

    def report_fault(self):
        """Tell the other machines, at their next exchange, not to go on."""
        self._tell(_FAULT)
        for rank in self.ranks:
            dist.recv(torch.zeros(4, dtype=torch.int64), src=rank, tag=_HEAD)

    def end(self):
        """Training has ended: the servers return."""
        self._tell(_END)

    def _tell(self, kind: int):
        for rank in self.ranks:
            dist.send(torch.tensor([kind, 0, 0]), dst=rank, tag=_HEAD)
