"""Asynchronous SGD, as in the papers: every worker updates the weights from its own streams without waiting for others.

A worker computes with its own copy of the weights. Every `exchange_every` updates it adds its changes to the weights
that all workers of its machine share in memory (:mod:`lstmp.nnet.distributed.shared_weights`), and copies the result.
With `parameter_servers`, the first worker of each machine then does the same with weights that are distributed over
servers (:mod:`lstmp.nnet.distributed.parameter_server`), processes that do nothing else. The staleness of a gradient,
the age of the weights with which it was computed, is measured and bounded: no worker, and no machine, runs more than
`max_staleness` batches ahead of the slowest.

For the first `warm_start` batches one worker trains alone, on all streams: stale gradients do most harm while the
weights change fast. All workers synchronize when a checkpoint is due and at the end of an epoch; afterwards they have
the same weights, and the same optimizer state, the mean over the workers.
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
    """Choose the ranks of ``count`` servers, spread over the machines: the last processes of each, in turn.

    Args:
        machines: the machine of each rank.

    Raises:
        UserError: a machine would have no worker left.
    """
    ranks_of = {name: [r for r, m in enumerate(machines) if m == name] for name in dict.fromkeys(machines)}
    chosen: list[int] = []
    while len(chosen) < count:
        previous = len(chosen)
        for ranks in ranks_of.values():
            if len(ranks) > 1 and len(chosen) < count:
                chosen.append(ranks.pop())
        if len(chosen) == previous:
            raise UserError(f"{count} parameter servers, but only {len(machines)} processes on {len(ranks_of)} "
                            "machines", hint="each machine also needs a worker: start more processes, or lower "
                            "`parameter_servers` in conf/lstmp.yaml")
    return sorted(chosen)


def machine_names() -> list[str]:
    """The machine of each rank: torchrun's index of it, or else its host name."""
    return distributed.gather(os.environ.get("GROUP_RANK") or socket.gethostname())


class Asynchronous(Team):
    """The workers; this process is one of them.

    Args:
        cfg: configuration.
        machines: the machine of each rank of torch.distributed's default group.
        servers: ranks of the parameter servers, which are not part of the team.
        group: torch.distributed's group of the workers.

    Raises:
        UserError: several machines without a parameter server, or fewer streams than workers.
    """

    uses_graphs = False  # not tested

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
        self._local_workers = [n for n, r in enumerate(workers) if machines[r] == machines[me]]  # on this machine
        self._server_ranks, self._first = servers, workers[0]
        self._warm_start = -(-cfg.warm_start // cfg.accumulate) * cfg.accumulate  # batches, rounded up to whole updates
        self._updates = 0
        self.own: torch.Tensor  # from join() on: this worker's weights as one vector
        self.base: torch.Tensor  # their values at the last exchange
        self._shared: SharedWeights | None = None
        self.servers: Servers | None = None

    def join(self, model: torch.nn.Module):
        """Give all workers, and the servers, the weights of the first worker."""
        if self._shared is None:
            self._set_up(list(model.parameters()))
        dist.broadcast(self.own, self._first, group=self.group)
        if self.rank == self._local_workers[0]:
            self.shared.set(self.own)
        if self.servers and self.leads:
            self.servers.set(self.own.cpu())
        self.gather(None)
        if self.servers:
            self.servers.begin(self.own.cpu())
        self.gather(None)
        self.shared.copy_to(self.own, self.base)

    @property
    def shared(self) -> SharedWeights:
        """The weights of this machine; from :meth:`join` on."""
        assert self._shared is not None
        return self._shared

    def _set_up(self, params: list[torch.nn.Parameter]):
        """Put the worker's weights into one vector, and connect to the weights that this machine's workers share."""
        offsets, total = [], 0
        for p in params:
            offsets.append(total)
            total += -(-p.numel() // _ALIGN) * _ALIGN
        self.own = params[0].new_zeros(total).detach()
        for p, offset in zip(params, offsets, strict=True):
            view = self.own[offset:offset + p.numel()].view_as(p)
            view.copy_(p.data)
            p.data = view
        self.base = self.own.clone()
        first = self._local_workers[0]
        index = self._local_workers.index(self.rank)
        self._shared = SharedWeights(total, len(self._local_workers), index, lambda x: self.gather(x)[first])
        if self._server_ranks and self.rank == first:
            self.servers = Servers(self._server_ranks, total)

    def my_streams(self, streams: int, epoch: int, batch: int) -> slice:
        if self._in_warm_start(epoch, batch):
            return slice(0, streams) if self.leads else slice(streams, streams)
        return slice(streams * self.rank // self.size, streams * (self.rank + 1) // self.size)

    def batches_with_same_streams(self, epoch: int, batch: int) -> int:
        if self._in_warm_start(epoch, batch):
            return self._warm_start - batch
        return super().batches_with_same_streams(epoch, batch)

    def _in_warm_start(self, epoch: int, batch: int) -> bool:
        return epoch == 0 and batch < self._warm_start

    def update(self, optimizer: torch.optim.Optimizer):
        optimizer.step()
        self._updates += 1
        if self._updates % self.cfg.exchange_every == 0:
            self.shared.exchange(self.own, self.base)
            if self.servers:
                self._forward_errors(self.servers.exchange, self.shared.weights, self.shared.clock)
                self.shared.copy_to(self.own, self.base)

    def after_batch(self):
        bound, timeout = self.cfg.max_staleness, 60 * self.cfg.timeout_minutes
        self._forward_errors(self.shared.finish_batch, bound, timeout)
        if self.servers:
            self._forward_errors(self.servers.wait, self.shared.clock, bound, timeout)

    def _forward_errors(self, function, *args):
        """Call a function; if it raises Stopped, report the error to the other processes as well."""
        try:
            function(*args)
        except Stopped:
            self.report_error()
            raise

    def report_error(self):
        self.shared.error.fill_(1)
        if self.servers:
            self.servers.report_error()

    def synchronize(self):
        self.shared.exchange(self.own, self.base)
        self.gather(None)
        self.shared.reset_clock()
        if self._server_ranks:
            for _ in range(2):  # first each machine sends its changes; after all have sent, each receives the total
                if self.servers:
                    self.servers.exchange(self.shared.weights, None)
                    self.shared.weights.copy_(self.servers.base)  # the same bits on every machine
                self.gather(None)
            if self.servers:
                self.servers.reset_clock()
            self.gather(None)
        self.shared.copy_to(self.own, self.base)

    def gather(self, value) -> list:
        with self._shared.waiting() if self._shared else contextlib.nullcontext():
            return distributed.gather(value, self.group)

    def mean(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The mean over the workers that have an optimizer state: after a warm start only one has."""
        shapes = [s for s in self.gather({name: t.shape for name, t in tensors.items()}) if s]
        means = {}
        for name, shape in (shapes[0] if shapes else {}).items():
            total = tensors[name].cpu().clone() if name in tensors else torch.zeros(shape)
            dist.all_reduce(total, group=self.group)
            means[name] = total / len(shapes)
        return means

    def statistics(self) -> dict:
        mine: dict[str, Any] = {"staleness": self.shared.staleness, "wait_seconds": self.shared.waited,
                                "exchange_seconds": self.shared.seconds}
        if self.servers:
            mine |= {"server_staleness": self.servers.staleness, "server_seconds": self.servers.seconds,
                     "server_bytes": self.servers.bytes}
            mine["wait_seconds"] += self.servers.waited
            self.servers.reset_statistics()
        self.shared.reset_statistics()
        everyone = self.gather(mine)
        record = {"processes": self.size}
        for name in ("staleness", "server_staleness"):
            if values := [v for m in everyone for v in m.get(name, ())]:
                record |= {f"{name}_mean": round(sum(values) / len(values), 2), f"{name}_max": max(values)}
        for name in ("wait_seconds", "exchange_seconds", "server_seconds", "server_bytes"):
            if values := [m[name] for m in everyone if name in m]:
                record[name] = round(sum(values), 2)
        self.say(f"{self.size} workers; " + ", ".join(f"{k} {v:,}" for k, v in record.items() if k != "processes"))
        return record

    def close(self):
        super().close()
        if self.servers and self.leads:
            self.servers.end()
