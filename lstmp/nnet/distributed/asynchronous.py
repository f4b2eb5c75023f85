"""Asynchronous SGD, as the papers trained: every worker updates the weights by its own streams, and waits for nobody.

A worker computes on a copy of the weights. Every `exchange_every` updates it adds what it has changed to the weights
that all workers of its machine share in memory (:mod:`lstmp.nnet.distributed.shared_weights`) and takes these as its own. With
`parameter_servers` the first worker of each machine then does the same with weights that are spread over servers
(:mod:`lstmp.nnet.distributed.parameter_server`); these are processes that do nothing else. How old the weights are by which a
gradient was computed, its staleness, is measured, and bounded: no worker, and no machine, runs more than
`max_staleness` batches ahead of the slowest.

For `warm_start` batches at the beginning one worker trains alone, on all streams: gradients by old weights do most harm
while the weights change fast. All workers come together when a checkpoint is due and at the end of an epoch; then they
have the same weights, and the means of their optimizers' moments.
"""

import contextlib
import os
import socket
from typing import Any

import torch
import torch.distributed as dist

from lstmp import distributed
from lstmp.errors import UserError
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.distributed.parameter_server import Servers
from lstmp.nnet.distributed.shared_weights import SharedWeights
from lstmp.nnet.distributed.team import Stopped, Team

_ALIGN = 16  # numbers: every weight begins at a multiple of 64 bytes


def choose_servers(machines: list[str], count: int) -> list[int]:
    """Ranks of ``count`` servers, spread over the machines: the last processes of each, the first machine first.

    Args:
        machines: of each rank, which machine it is on.

    Raises:
        UserError: a machine would have no worker left.
    """
    of = {name: [r for r, m in enumerate(machines) if m == name] for name in dict.fromkeys(machines)}
    chosen: list[int] = []
    while len(chosen) < count:
        before = len(chosen)
        for ranks in of.values():
            if len(ranks) > 1 and len(chosen) < count:
                chosen.append(ranks.pop())
        if len(chosen) == before:
            raise UserError(f"{count} parameter servers, but only {len(machines)} processes on {len(of)} machines",
                            hint="each machine must have a worker besides: start more processes, or lower "
                            "`parameter_servers` in conf/lstmp.yaml")
    return sorted(chosen)


def machine_names() -> list[str]:
    """Of each rank, which machine it is on: as torchrun counts them, else by the machine's name."""
    return distributed.gather(os.environ.get("GROUP_RANK") or socket.gethostname())


class Asynchronous(Team):
    """The workers, of which this process is one; see the module.

    Args:
        cfg: configuration.
        machines: of each rank of the default group, which machine it is on.
        servers: ranks that are servers; they are no part of the team.
        group: of torch.distributed, the workers alone.
    """

    uses_graphs = False  # not tried

    def __init__(self, cfg: LstmpConfig, machines: list[str], servers: list[int], group):
        super().__init__()
        me, workers = distributed.rank(), [r for r in range(len(machines)) if r not in servers]
        if len({machines[r] for r in workers}) > 1 and not servers:
            raise UserError("asynchronous training on several machines without a parameter server",
                            hint="set `parameter_servers` in conf/lstmp.yaml to 1 or more")
        if cfg.streams < len(workers):
            raise UserError(f"{len(workers)} workers for {cfg.streams} streams",
                            hint="raise `streams` in conf/lstmp.yaml, or start fewer processes")
        self.cfg, self.group, self.rank, self.size = cfg, group, workers.index(me), len(workers)
        self._mates = [n for n, r in enumerate(workers) if machines[r] == machines[me]]  # the workers of this machine
        self._server_ranks, self._first = servers, workers[0]
        self._warm = -(-cfg.warm_start // cfg.accumulate) * cfg.accumulate  # whole updates
        self._updates = 0
        self.own: torch.Tensor  # from join() on: this worker's weights as one vector
        self.base: torch.Tensor  # what they were at the last exchange
        self._shared: SharedWeights | None = None
        self.servers: Servers | None = None

    def join(self, model: torch.nn.Module):
        """All take the weights of the first worker."""
        if self._shared is None:
            self._set_up(list(model.parameters()))
        dist.broadcast(self.own, self._first, group=self.group)
        if self.rank == self._mates[0]:
            self.shared.set(self.own)
        if self.servers and self.leads:
            self.servers.set(self.own.cpu())
        self.gather(None)
        if self.servers:
            self.servers.begin(self.own.cpu())
        self.gather(None)
        self.shared.take(self.own, self.base)

    @property
    def shared(self) -> SharedWeights:
        """The weights of this machine; from :meth:`join` on."""
        assert self._shared is not None
        return self._shared

    def _set_up(self, params: list[torch.nn.Parameter]):
        """Make the worker's weights one vector, and find the others' on this machine."""
        begins, total = [], 0
        for p in params:
            begins.append(total)
            total += -(-p.numel() // _ALIGN) * _ALIGN
        self.own = params[0].new_zeros(total).detach()
        for p, at in zip(params, begins, strict=True):
            view = self.own[at:at + p.numel()].view_as(p)
            view.copy_(p.data)
            p.data = view
        self.base = self.own.clone()
        first = self._mates[0]
        index = self._mates.index(self.rank)
        self._shared = SharedWeights(total, len(self._mates), index, lambda x: self.gather(x)[first])
        if self._server_ranks and self.rank == first:
            self.servers = Servers(self._server_ranks, total)

    def columns(self, slots: int, epoch: int, batch: int) -> slice:
        if self._is_warming(epoch, batch):
            return slice(0, slots) if self.leads else slice(slots, slots)
        return slice(slots * self.rank // self.size, slots * (self.rank + 1) // self.size)

    def stretch(self, epoch: int, batch: int) -> int:
        return self._warm - batch if self._is_warming(epoch, batch) else super().stretch(epoch, batch)

    def _is_warming(self, epoch: int, batch: int) -> bool:
        return epoch == 0 and batch < self._warm

    def update(self, optimizer: torch.optim.Optimizer):
        optimizer.step()
        self._updates += 1
        if self._updates % self.cfg.exchange_every == 0:
            self.shared.exchange(self.own, self.base)
            if self.servers:
                self._heed(self.servers.exchange, self.shared.weights, self.shared.clock)
                self.shared.take(self.own, self.base)

    def after_batch(self):
        bound, patience = self.cfg.max_staleness, 60 * self.cfg.timeout_minutes
        self._heed(self.shared.tick, bound, patience)
        if self.servers:
            self._heed(self.servers.wait, self.shared.clock, bound, patience)

    def _heed(self, function, *args):
        """Call the function; a fault that it hears of is handed on."""
        try:
            function(*args)
        except Stopped:
            self.report_fault()
            raise

    def report_fault(self):
        self.shared.fault.fill_(1)
        if self.servers:
            self.servers.report_fault()

    def meet(self):
        self.shared.exchange(self.own, self.base)
        self.gather(None)
        self.shared.rest()
        if self._server_ranks:
            for _ in range(2):  # each machine sends what it has; then, all having sent, each gets the sum of all
                if self.servers:
                    self.servers.exchange(self.shared.weights, None)
                    self.shared.weights.copy_(self.servers.base)  # the same bits on every machine
                self.gather(None)
            if self.servers:
                self.servers.restart()
            self.gather(None)
        self.shared.take(self.own, self.base)

    def gather(self, value) -> list:
        with self._shared.resting() if self._shared else contextlib.nullcontext():
            return distributed.gather(value, self.group)

    def mean(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Of those workers that have any: after a warm start only one has moments."""
        shapes = [found for found in self.gather({name: t.shape for name, t in tensors.items()}) if found]
        means = {}
        for name, shape in (shapes[0] if shapes else {}).items():
            total = tensors[name].cpu().clone() if name in tensors else torch.zeros(shape)
            dist.all_reduce(total, group=self.group)
            means[name] = total / len(shapes)
        return means

    def account(self) -> dict:
        mine: dict[str, Any] = {"staleness": self.shared.staleness, "wait_seconds": self.shared.waited,
                                "exchange_seconds": self.shared.seconds}
        if self.servers:
            mine |= {"server_staleness": self.servers.staleness, "server_seconds": self.servers.seconds,
                     "server_bytes": self.servers.bytes}
            mine["wait_seconds"] += self.servers.waited
            self.servers.clear()
        self.shared.clear()
        everyone = self.gather(mine)
        found = {"processes": self.size}
        for name in ("staleness", "server_staleness"):
            if values := [v for m in everyone for v in m.get(name, ())]:
                found |= {f"{name}_mean": round(sum(values) / len(values), 2), f"{name}_max": max(values)}
        for name in ("wait_seconds", "exchange_seconds", "server_seconds", "server_bytes"):
            if values := [m[name] for m in everyone if name in m]:
                found[name] = round(sum(values), 2)
        self.say(f"{self.size} workers; " + ", ".join(f"{k} {v:,}" for k, v in found.items() if k != "processes"))
        return found

    def close(self):
        super().close()
        if self.servers and self.leads:
            self.servers.end()
