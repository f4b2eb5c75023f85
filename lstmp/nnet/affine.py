"""A dense layer's products, x Wᵀ + b, with forward and backward pass: by the fused CPU kernels where they apply."""

import torch
from torch.autograd import Function

from lstmp.nnet.cell import affine, as_dtype, factor_cast
from lstmp.nnet.kernels import fused


class Affine(Function):
    """``y = Affine.apply(x, weight, bias, bf16)``: x Wᵀ + b.

    Args:
        x: [n, I].
        weight: [O, I].
        bias: [O].
        bf16: the factors of the products are rounded to bfloat16.

    Returns:
        y: [n, O].
    """

    @staticmethod
    def forward(ctx, x, weight, bias, bf16=False):
        ctx.fused, ctx.bf16, ctx.dtype = fused.fits_affine(x, bf16), bf16, x.dtype
        if ctx.fused:
            ctx.save_for_backward(x, weight)
            return fused.affine(x, weight, bias)
        cast = factor_cast(bf16, x.device)
        x, weight = cast(x), cast(weight)
        ctx.save_for_backward(x, weight)
        return affine(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y):
        x, weight = ctx.saved_tensors
        if ctx.fused:
            d_x, d_w = fused.affine_backward(x, weight, grad_y, ctx.needs_input_grad[0])
        else:
            factor = factor_cast(ctx.bf16, grad_y.device)(grad_y)
            d_x = as_dtype(torch.mm(factor, weight), ctx.dtype) if ctx.needs_input_grad[0] else None
            d_w = as_dtype(torch.mm(factor.t(), x), ctx.dtype)
        return d_x, d_w, grad_y.sum(0), None
