"""Output layer and frame cross entropy in one autograd function.

The scores of all frames of a chunk are by far the largest tensor of the training step (1,280 frames × 1,600 states).
Here they are made once, and the gradient softmax - onehot is written where the log-probabilities were.
"""

import torch
from torch.autograd import Function


class FrameCrossEntropy(Function):
    """``loss, correct = FrameCrossEntropy.apply(y, weight, bias, targets, frames)``

    Args:
        y: [n, D] output of the last layer.
        weight: [S, D] and bias: [S] of the output layer, S tied states.
        targets: int64 [n] pdf-ids; -1 for a frame without loss.
        frames: what the summed loss is divided by.

    Returns:
        loss: - sum over the frames with a target of log p(target) / ``frames``, a scalar.
        correct: int64 scalar, how many of them have the target as their most probable state.
    """

    @staticmethod
    def forward(ctx, y, weight, bias, targets, frames):
        valid = targets >= 0
        index = targets.clamp(min=0).unsqueeze(1)
        logits = torch.addmm(bias, y, weight.t())
        log_probs = torch.log_softmax(logits, 1)
        hit = log_probs.gather(1, index).squeeze(1)
        correct = ((log_probs.amax(1) == hit) & valid).sum()
        loss = -(hit * valid).sum() / frames
        grad = log_probs.exp_()
        grad.scatter_add_(1, index, grad.new_full((1, 1), -1.0).expand_as(index))
        grad.mul_((valid / frames).to(grad.dtype).unsqueeze(1))
        ctx.save_for_backward(y, weight, grad)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, _):
        y, weight, grad = ctx.saved_tensors
        return (torch.mm(grad, weight).mul_(grad_loss), torch.mm(grad.t(), y).mul_(grad_loss),
                grad.sum(0).mul_(grad_loss), None, None)
