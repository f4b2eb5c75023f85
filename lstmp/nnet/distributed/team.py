"""The interface between the trainer and the processes that train together, and its version for a single process.

An update of the weights is computed from the chunks of N streams. A :class:`Team` says which streams belong to this
process, computes the gradients of their loss, and communicates with the other processes. The class here is a single
process, whose threads share the streams. :mod:`lstmp.nnet.distributed.synchronous` and
:mod:`lstmp.nnet.distributed.asynchronous` are for several processes.
"""

from collections.abc import Callable
from functools import partial

import torch

from lstmp.log import say
from lstmp.nnet.distributed.workers import Workers
from lstmp.nnet.kernels.graphed import loss_and_gradients, loss_and_gradients_for


class Stopped(Exception):
    """Another process of the team has reported an error."""


class Team:
    """A single process.

    Args:
        threads: number of threads that share the streams of a batch; 0: one, and torch's own threads share each
            operation.

    Attributes:
        rank, size: rank of this process and number of processes; the process of rank 0 writes the files.
        workers: the threads.
    """

    rank, size = 0, 1
    shares_gradients = False  # whether updates use the gradients of all processes, so that all see a loss that is NaN
    uses_graphs = True  # whether batches may be computed with CUDA graphs

    def __init__(self, threads: int = 0):
        self.workers = Workers(threads)
        self._model: torch.nn.Module | None = None
        self._function: Callable | None = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def join(self, model: torch.nn.Module):
        """Start or resume training ``model``, with the weights that it has in the process of rank 0."""

    def my_streams(self, streams: int, epoch: int, batch: int) -> slice:
        """This process's part of all ``streams`` in a batch; the parts of all processes follow in order of rank."""
        return slice(0, streams)

    def batches_with_same_streams(self, epoch: int, batch: int) -> int:
        """The number of batches, beginning with ``batch``, for which :meth:`my_streams` returns the same."""
        return 1 << 62

    def gradients(self, model, loss_of: Callable, streams: int, first: bool, last: bool):
        """Compute the gradients of a batch's loss, and add them to ``grad`` of the weights.

        Args:
            loss_of: ``loss_of(function, part, streams)`` calls ``function`` with the arguments of ``model.loss`` for a
                slice of this process's streams, and returns its result; ``part`` selects the random numbers.
            streams: number of this process's streams in the batch, possibly 0.
            first, last: whether the batch is the first or the last of an update; the gradients of all its batches are
                summed.

        Returns: the loss and the number of correct frames, as tensors if a single process computes on a GPU; and the
            new recurrent state of the streams (None without streams).
        """
        params = list(model.parameters())
        if first:
            for p in params:
                p.grad = None
        if not streams:
            return 0.0, 0, None
        if model is not self._model:
            self._model = model
            self._function = loss_and_gradients_for(model) if self.uses_graphs else partial(loss_and_gradients, model)

        def run(job):
            part, part_streams = job
            loss, correct, state, grads = loss_of(self._function, self.rank + part, part_streams)
            if self.size > 1 or loss.device.type == "cpu":  # on a GPU the trainer reads them some batches later
                loss, correct = float(loss), int(correct)
            return loss, correct, state, grads

        results = self.workers.map(run, enumerate(self.workers.split(streams)))
        losses, corrects, states, grads = zip(*results, strict=True)
        for p, *parts in zip(params, *grads, strict=True):
            p.grad = parts[0] if p.grad is None else p.grad.add_(parts[0])
            for part in parts[1:]:
                p.grad.add_(part)
        state = [tuple(torch.cat(parts) for parts in zip(*layer, strict=True))
                 for layer in zip(*states, strict=True)]
        return sum(losses), sum(corrects), state

    def update(self, optimizer: torch.optim.Optimizer):
        """Update the weights from their gradients.

        Raises:
            Stopped: another process has reported an error.
        """
        optimizer.step()

    def after_batch(self):
        """Called by every process after each of its batches.

        Raises:
            Stopped: another process has reported an error.
        """

    def report_error(self):
        """Make the other processes stop."""

    def synchronize(self):
        """Wait for the other processes; afterwards all have the same weights."""

    def gather(self, value) -> list:
        """Collect a small value from each process, in order of rank; all processes get the list."""
        return [value]

    def say(self, message: str):
        """Print a line once, not in every process."""
        if self.leads:
            say(message)

    def sum(self, values: list[float]) -> list[float]:
        """The sum of each number over the processes; all processes get the sums."""
        return [sum(column) for column in zip(*self.gather(values), strict=True)]

    def mean(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The mean of each tensor over the processes, for optimizer states that differ between processes."""
        return tensors

    def statistics(self) -> dict:
        """Measurements of the batches since the last call, for the record of an epoch."""
        return {}

    def close(self):
        """End the threads, and free the CUDA graphs."""
        self._model = self._function = None
        self.workers.close()
