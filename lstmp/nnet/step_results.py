"""The losses of the last batches, which the trainer reads some batches later.

A number that is computed on a GPU is known on the CPU only when the GPU has done all the work before it. Waiting for it
in every batch would leave the GPU idle while the CPU prepares the next one. So the numbers of some batches are read
together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

Number = float | torch.Tensor


class Diverged(Exception):
    """Loss or gradient is NaN or infinite in the batch of these utterances."""

    def __init__(self, problem: str, epoch: int, batch: int, utts: list[str]):
        super().__init__(problem, epoch, batch, utts)
        self.problem, self.epoch, self.batch, self.utts = problem, epoch, batch, utts


@dataclass(frozen=True)
class StepResult:
    """What a batch has given.

    Attributes:
        epoch, batch: its numbers, from 0.
        names: returns the ids of its utterances.
        loss: the loss, summed over the frames and divided by ``divisor``.
        summed: the number to add to the sum of losses, if it is not the summed loss.
        frames: number of frames with a target.
        correct: number of correct frames.
        norm: of the gradients; None if the weights were not updated.
        divisor: see ``loss``.
        checks_loss: whether a loss that is not finite counts; not if all processes see the gradients' norm.
    """

    epoch: int
    batch: int
    names: Callable[[], list[str]]
    loss: Number
    summed: Number | None
    frames: int
    correct: Number
    norm: Number | None
    divisor: int
    checks_loss: bool


class StepResults:
    """The results that have not been read yet.

    Args:
        every: number of batches whose results are read together.
    """

    def __init__(self, every: int = 1):
        self.every, self._waiting = every, list[StepResult]()

    def add(self, result: StepResult, sums: dict) -> None:
        """Add a result; if there are enough, :meth:`read` them."""
        self._waiting.append(result)
        if len(self._waiting) >= self.every:
            self.read(sums)

    def read(self, sums: dict) -> None:
        """Add the losses, frames and correct frames of the waiting results to ``sums``.

        Raises:
            Diverged: one of them is not finite; the first one is named, and nothing of it and the later ones is added.
        """
        waiting, self._waiting = self._waiting, []
        numbers = _on_cpu([(r.loss, r.correct, 0.0 if r.norm is None else r.norm) for r in waiting])
        for r, (loss, correct, norm) in zip(waiting, numbers, strict=True):
            if not math.isfinite(loss) and r.checks_loss:
                raise Diverged(f"the loss is {loss}", r.epoch, r.batch, r.names())
            if not math.isfinite(norm):
                problem = f"the gradient's norm is {norm}" if math.isfinite(loss) else f"the loss is {loss}"
                raise Diverged(problem, r.epoch, r.batch, r.names())
            sums["loss"] += loss * r.divisor if r.summed is None else float(r.summed)
            sums["frames"] += r.frames
            sums["correct"] += int(correct)

    def forget(self) -> None:
        """Forget what was not read: training returns to a checkpoint from before it."""
        self._waiting = []


def _on_cpu(rows: list[tuple[Number, ...]]) -> list[tuple[float, ...]]:
    """The numbers, with one transfer for all that are on a GPU."""
    flat = [x for row in rows for x in row]
    tensors = [x.detach().double().reshape(()) for x in flat if isinstance(x, torch.Tensor)]
    values = iter(torch.stack(tensors).tolist() if tensors else [])
    numbers = iter([next(values) if isinstance(x, torch.Tensor) else float(x) for x in flat])
    return [tuple(next(numbers) for _ in row) for row in rows]
