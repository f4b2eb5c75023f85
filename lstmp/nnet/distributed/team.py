"""Who trains: one process alone, or a team of them.

An update of the weights is made from the chunks of N streams. A :class:`Team` says which streams are this process's,
turns their loss into gradients, and exchanges what the others must know. This one has a single process, whose threads
share the streams; :mod:`lstmp.nnet.distributed.synchronous` and :mod:`lstmp.nnet.distributed.asynchronous` have several.
"""

from collections.abc import Callable
from functools import partial

import torch

from lstmp.log import say
from lstmp.nnet.distributed.workers import Workers
from lstmp.nnet.kernels.graphed import derive, function_for


class Stopped(Exception):
    """Another process of the team has reported a fault."""


class Team:
    """One process.

    Args:
        threads: how many share the streams of a batch; 0: one, whose operations are shared among torch's own.

    Attributes:
        rank, size: which of how many processes this one is; that of rank 0 writes the files.
        workers: the threads.
    """

    rank, size = 0, 1
    shares_gradients = False  # whether an update is made from the gradients of all, so that all see every fault
    uses_graphs = True  # of CUDA, for its batches

    def __init__(self, threads: int = 0):
        self.workers = Workers(threads)
        self._model: torch.nn.Module | None = None
        self._derive: Callable | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def join(self, model: torch.nn.Module):
        """Begin to train ``model``, from the weights that it has in the process of rank 0."""

    def columns(self, slots: int, epoch: int, batch: int) -> slice:
        """Which of the plan's slots are this process's at a batch; those of all processes in order are all slots."""
        return slice(0, slots)

    def stretch(self, epoch: int, batch: int) -> int:
        """The largest number of batches that :meth:`columns` says the same for, from ``batch`` on."""
        return 1 << 62

    def gradients(self, model, loss_of: Callable, streams: int, first: bool, last: bool):
        """Gradients of an update's loss by the weights, in their ``grad``.

        Args:
            loss_of: (function, part, columns) → what the function returns for these streams of the batch, when called
                with the arguments of ``model.loss``; ``part`` tells the parts apart, for their random numbers.
            streams: how many streams of the batch are this process's, maybe none.
            first, last: whether it is the update's first and last batch; gradients of its batches are added up.

        Returns: the loss, the number of correct frames, the streams' new state (None if there are no streams).
        """
        params = list(model.parameters())
        if first:
            for p in params:
                p.grad = None
        if not streams:
            return 0.0, 0, None
        if model is not self._model:
            self._model, self._derive = model, function_for(model) if self.uses_graphs else partial(derive, model)

        def run(share):
            part, columns = share
            loss, correct, state, grads = loss_of(self._derive, self.rank + part, columns)
            return float(loss), int(correct), state, grads

        results = self.workers.map(run, enumerate(self.workers.shares(streams)))
        losses, corrects, states, grads = zip(*results, strict=True)
        for p, *parts in zip(params, *grads, strict=True):
            p.grad = parts[0] if p.grad is None else p.grad.add_(parts[0])
            for part in parts[1:]:
                p.grad.add_(part)
        state = [tuple(torch.cat(parts) for parts in zip(*layer, strict=True))
                 for layer in zip(*states, strict=True)]
        return sum(losses), sum(corrects), state

    def update(self, optimizer: torch.optim.Optimizer):
        """Change the weights by their gradients.

        Raises:
            Stopped: another process has reported a fault.
        """
        optimizer.step()

    def after_batch(self):
        """Every process calls this after each of its batches.

        Raises:
            Stopped: another process has reported a fault.
        """

    def report_fault(self):
        """Tell the others not to go on."""

    def meet(self):
        """Wait for the others; then all have the same weights."""

    def gather(self, value) -> list:
        """A small value from each process, in order of rank, on all of them."""
        return [value]

    def say(self, message: str):
        """Print a line, once for the team."""
        if self.leads:
            say(message)

    def sum(self, values: list[float]) -> list[float]:
        """The sums of the processes' numbers, on all of them."""
        return [sum(column) for column in zip(*self.gather(values), strict=True)]

    def mean(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The mean over the processes, which remember different things."""
        return tensors

    def account(self) -> dict:
        """What the team has to say of the batches since the last call, for the log of an epoch."""
        return {}

    def close(self):
        """End the threads, and let go of what a GPU keeps for batches."""
        self._model = self._derive = None
        self.workers.close()
