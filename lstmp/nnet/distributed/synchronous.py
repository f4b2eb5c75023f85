"""Synchronous training: every update uses the streams of all processes, through DistributedDataParallel.

Each process always has the same part of the N streams, so the recurrent state stays in its process and no utterance is
used twice. DistributedDataParallel adds the gradients of all processes while the backward pass is still computing the
lower layers; then every process makes the same update. Weights and loss are those of a single process with the same N
streams, except for the order in which numbers are added (and for dropout and noise, whose random numbers each process
draws for its own streams).
"""

import contextlib
import math
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lstmp import distributed
from lstmp.errors import UserError
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.distributed.team import Team


class Synchronous(Team):
    """All processes of torch.distributed's default group.

    Args:
        cfg: configuration.
        device: device of the network; on a GPU the gradients are added by NCCL.

    Raises:
        UserError: there are fewer streams than processes.
    """

    shares_gradients = True

    def __init__(self, cfg: LstmpConfig, device: str):
        super().__init__()
        self.rank, self.size = distributed.rank(), distributed.world_size()
        if cfg.streams < self.size:
            raise UserError(f"{self.size} processes for {cfg.streams} streams",
                            hint="raise `streams` in conf/lstmp.yaml, or start fewer processes")
        self.bf16 = cfg.gradient_precision == "bf16"
        self.group = dist.new_group(backend="nccl") if device.startswith("cuda") else None
        self.parallel: Any  # a DistributedDataParallel, from join() on

    def join(self, model: nn.Module):
        """Give all processes the weights of rank 0, by making a new DistributedDataParallel."""
        for p in model.parameters():
            p.grad = None
        self.parallel = DistributedDataParallel(  # type: ignore[call-arg]  # torch 1.13's types lack the last one
            _Loss(model), process_group=self.group, broadcast_buffers=False, gradient_as_bucket_view=True)
        if self.bf16:
            self.parallel.register_comm_hook(self.group, _mean_in_bf16)

    def my_streams(self, streams: int, epoch: int, batch: int) -> slice:
        return slice(streams * self.rank // self.size, streams * (self.rank + 1) // self.size)

    def gradients(self, model, loss_of, streams: int, first: bool, last: bool):
        if first:
            for p in model.parameters():
                p.grad = None
        with contextlib.nullcontext() if last else self.parallel.no_sync():
            if streams:
                loss, correct, state = loss_of(self.parallel, self.rank, slice(None))
            else:
                (loss, correct, state), state = self.parallel(), None
            # DistributedDataParallel computes the mean over the processes, but the sum is needed, hence the factor. NaN
            # instead of infinity makes sure that all processes notice.
            (loss * (self.size if math.isfinite(float(loss)) else math.nan)).backward()
        return float(loss), int(correct), state and [tuple(t.detach() for t in layer) for layer in state]

    def gather(self, value) -> list:
        return distributed.gather(value)

    def statistics(self) -> dict:
        return {"processes": self.size}


class _Loss(nn.Module):
    """The network as a module that maps a chunk to its loss, for DistributedDataParallel to wrap."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model  # a StateNetwork

    def forward(self, x=None, *args):
        if x is None:  # all streams of this process have ended, but the other processes wait for its gradient
            return sum(0 * p.sum() for p in self.model.parameters()), 0, None
        return self.model.loss(x, *args)


def _mean_in_bf16(group, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Communication hook that sends gradients as bfloat16: each process averages one part in float32.

    This halves the bytes, and each number is rounded twice, however many processes there are. (torch has a similar
    hook, but gloo cannot add bfloat16 yet, and the hook would round every partial sum.)
    """
    flat, size = bucket.buffer(), dist.get_world_size(group)
    part = -(-len(flat) // size)
    sent = torch.zeros(size * part, dtype=torch.bfloat16, device=flat.device)
    sent[:len(flat)] = flat
    received = torch.empty_like(sent)
    dist.all_to_all_single(received.view(torch.uint8), sent.view(torch.uint8), group=group)
    mean = received.view(size, part).float().mean(0).bfloat16()
    all_parts = [torch.empty_like(mean).view(torch.uint8) for _ in range(size)]
    dist.all_gather(all_parts, mean.view(torch.uint8), group=group)
    flat.copy_(torch.cat(all_parts).view(torch.bfloat16)[:len(flat)])
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    done.set_result(flat)
    return done
