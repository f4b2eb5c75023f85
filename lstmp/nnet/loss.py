"""The output layer and the frame cross entropy in one autograd function.

The scores of all frames of a chunk are by far the largest tensor of the training step (1,280 frames × 1,600 states).
Here they are computed once, and the gradient softmax - onehot overwrites the log-probabilities.
"""

import ctypes

import torch
from torch.autograd import Function

from lstmp.nnet.cell import affine, as_dtype, factor_cast
from lstmp.nnet.kernels import fused
from lstmp.nnet.kernels.gates import address, compiled, kernels


class FrameCrossEntropy(Function):
    """Cross entropy: ``loss, correct = FrameCrossEntropy.apply(y, weight, bias, targets, frames, bf16, with_grads)``.

    Args:
        y: [n, D] output of the last layer.
        weight: [S, D] and bias: [S] of the output layer, S tied states.
        targets: int64 [n] pdf-ids; -1 for a frame without loss.
        frames: the number by which the summed loss is divided.
        bf16: the factors of matrix products are rounded to bfloat16.
        with_grads: False if no gradient is needed; its computation may then be skipped.

    Returns:
        loss: the sum of -log p(target) over the frames with a target, divided by ``frames``; a scalar.
        correct: int64 scalar, the number of these frames whose most probable state is the target.
    """

    @staticmethod
    def forward(ctx, y, weight, bias, targets, frames, bf16=False, with_grads=True):
        ctx.fused = fused.fits(y, bf16)
        if ctx.fused:  # computes the gradients at the same time
            loss, correct, grads = fused.cross_entropy(y, weight, bias, targets, frames, bf16, with_grads)
            if with_grads:
                ctx.save_for_backward(*grads)
            ctx.mark_non_differentiable(correct)
            return loss, correct
        ctx.dtype, ctx.bf16, cast = y.dtype, bf16, factor_cast(bf16, y.device)
        y, weight = cast(y), cast(weight)
        logits = affine(y, weight, bias)
        loss, correct, grad = (_compiled if compiled(logits) else _in_torch)(logits, targets, frames)
        ctx.save_for_backward(y, weight, grad)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss, _):
        if ctx.fused:
            return *(g * grad_loss for g in ctx.saved_tensors), None, None, None, None
        y, weight, grad = ctx.saved_tensors
        factor = factor_cast(ctx.bf16, grad.device)(grad)
        return (as_dtype(torch.mm(factor, weight), ctx.dtype).mul_(grad_loss),
                as_dtype(torch.mm(factor.t(), y), ctx.dtype).mul_(grad_loss), grad.sum(0).mul_(grad_loss), None, None,
                None, None)


def _in_torch(logits, targets, frames):
    """Loss, number of correct frames, and gradient of ``logits``, for any device and floating-point dtype."""
    valid = targets >= 0
    index = targets.clamp(min=0).unsqueeze(1)
    log_probs = torch.log_softmax(logits, 1)
    of_target = log_probs.gather(1, index).squeeze(1)
    correct = ((log_probs.amax(1) == of_target) & valid).sum()
    loss = -(of_target * valid).sum() / frames
    grad = log_probs.exp_()
    grad.scatter_add_(1, index, grad.new_full((1, 1), -1.0).expand_as(index))
    grad.mul_((valid / frames).to(grad.dtype).unsqueeze(1))
    return loss, correct, grad


def _compiled(logits, targets, frames):
    """The same by kernels.cpp, for float32 on a CPU; the gradient overwrites ``logits``."""
    targets, rows = targets.contiguous(), len(logits)
    fused.check_targets(targets, rows, logits.shape[1])
    loss, correct = ctypes.c_double(), ctypes.c_int64()
    library = kernels()
    assert library is not None
    library.lstmp_cross_entropy(
        ctypes.c_int64(rows), ctypes.c_int64(logits.shape[1]), address(logits),
        address(targets), ctypes.c_float(1 / frames), ctypes.byref(loss), ctypes.byref(correct))
    return logits.new_tensor(loss.value / frames), torch.tensor(correct.value), logits
