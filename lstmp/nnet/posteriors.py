"""Values of a criterion over sequences: posteriors of states, a loss with its gradient, and its cross entropy."""

from dataclasses import dataclass

import torch
from torch.autograd import Function


@dataclass(frozen=True)
class Posteriors:
    """Posteriors of pdfs in a batch [T, N, P], those that are not 0.

    Attributes:
        frame, sequence, pdf: int64 [n]; the same three may occur several times.
        value: [n].
    """

    frame: torch.Tensor
    sequence: torch.Tensor
    pdf: torch.Tensor
    value: torch.Tensor

    def add_to(self, x: torch.Tensor, factor: float):
        """Add the posteriors times ``factor`` to ``x`` [T, N, P] in place."""
        x.index_put_((self.frame, self.sequence, self.pdf), self.value.to(x.dtype) * factor, accumulate=True)

    def without(self, sequences: torch.Tensor) -> "Posteriors":
        """Those of the sequences for which the bool [N] is False."""
        kept = ~sequences[self.sequence]
        return Posteriors(*(x[kept] for x in (self.frame, self.sequence, self.pdf, self.value)))


@dataclass(frozen=True)
class Result:
    """The criterion of a batch.

    Attributes:
        loss: scalar with a gradient by the scores: − objective / divisor.
        objective: summed over the sequences, without regularization. LF-MMI: log numerator − log denominator, at most
            0.
        frames: number of frames of these sequences.
        left_out: the sequences (index in the batch) that have targets, but no finite objective or gradient: the
            scores are not finite, or too low for any path. They are not in the sums and have no gradient.
        posteriors: of the numerators, the targets of the cross entropy.
        outside: number of frames whose aligned state is not in the lattice; 0 without lattices.
    """

    loss: torch.Tensor
    objective: float
    frames: int
    left_out: list[int]
    posteriors: Posteriors
    outside: int = 0


class WithGradient(Function):
    """A value whose gradient has been computed with it: ``WithGradient.apply(scores, value, gradient)``."""

    @staticmethod
    def forward(ctx, scores, value, gradient):
        ctx.save_for_backward(gradient)
        return value.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss):
        return ctx.saved_tensors[0] * grad_loss, None, None


def with_cross_entropy(result: Result, scores: torch.Tensor, weight: float, divisor: float) -> torch.Tensor:
    """The loss with cross-entropy regularization, for LF-MMI by a second output layer (Povey et al. 2016).

    Args:
        result: the criterion of the first output layer.
        scores: [T, N, P] outputs before a softmax.
        weight: of the cross entropy, usually 0.1.
        divisor: the number by which its sum over the frames is divided.

    Returns:
        result.loss + weight · the cross entropy with the posteriors of the numerators as targets; a scalar.
    """
    p = result.posteriors
    log_probs = torch.log_softmax(scores, 2)[p.frame, p.sequence, p.pdf]
    return result.loss - weight * (p.value.to(log_probs.dtype) * log_probs).sum() / divisor
