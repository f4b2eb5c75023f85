"""The LSTMP recurrence over a whole chunk as one autograd function, with forward and backward pass.

Sak, Senior, Beaufays, "LSTM based RNN architectures for large vocabulary speech recognition" (arXiv 1402.1128), with
σ the logistic function, ⊙ the element-wise product, and r, c the state carried from frame to frame:

    i_t = σ(W_ix x_t + W_ir r_{t-1} + w_ic ⊙ c_{t-1} + b_i)
    f_t = σ(W_fx x_t + W_fr r_{t-1} + w_fc ⊙ c_{t-1} + b_f)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_cx x_t + W_cr r_{t-1} + b_c)        clipped to [-clip, clip]
    o_t = σ(W_ox x_t + W_or r_{t-1} + w_oc ⊙ c_t + b_o)
    m_t = o_t ⊙ tanh(c_t)
    r_t = W_rm m_t        p_t = W_pm m_t        (without projection: r_t = m_t)

Only computations that depend on r_{t-1} are inside the loop over frames. The products with x are one GEMM over all
frames before the loop, p is one GEMM after it, and each weight gradient is one GEMM over all frames. A step of the
forward or backward loop is two small GEMMs and the element-wise part of :mod:`lstmp.nnet.kernels.gates`, compiled if
possible. On most processors :mod:`lstmp.nnet.kernels.fused` does all of this instead; on a GPU,
:mod:`lstmp.nnet.kernels.gpu`.

The weights of the four gates are stacked along the first dimension in the order i, f, c, o.
"""

import torch
from torch.autograd import Function

from lstmp.nnet.kernels import fused, gpu
from lstmp.nnet.kernels.gates import gates_for


class LstmpChunk(Function):
    """``y, c_T = LstmpChunk.apply(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16)``

    Args:
        x: [T, N, I] input, T frames of N streams (parallel sequences of a batch).
        r_0: [N, R] recurrent projection before the first frame (R = C without projection).
        c_0: [N, C] cells before the first frame.
        w_x: [4C, I] and w_r: [4C, R], gates in the order i, f, c, o.
        bias: [4C].
        peephole: [3, C], the diagonals w_ic, w_fc, w_oc; or None for a cell without peepholes.
        w_rm: [R, C] recurrent projection; or None for a plain LSTM.
        w_pm: [P, C] non-recurrent projection; or None.
        clip: cells are clipped to [-clip, clip]; or None. The gradient of a clipped cell is zero.
        bf16: the factors of matrix products are rounded to bfloat16; cells and element-wise computations are not.

    Returns:
        y: [T, N, R + P], r and p concatenated; the recurrent state for the next chunk is ``y[-1, :, :R]``.
        c_T: [N, C] the cells after the last frame.
    """

    @staticmethod
    def forward(ctx, x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16=False):
        ctx.clip, ctx.kernels = clip, None  # the module that computes the whole chunk, if there is one
        if w_pm is None or w_rm is not None:
            ctx.kernels = fused if fused.fits(x, bf16) else gpu if gpu.fits(x, c_0) else None
        if ctx.kernels:
            y, c_last, saved = ctx.kernels.forward(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16)
            ctx.save_for_backward(*saved)
            return y, c_last
        frames, streams, _ = x.shape
        num_cells, num_rec = c_0.shape[1], r_0.shape[1]
        x, dtype, cast = x.contiguous(), x.dtype, factor_cast(bf16, x.device)
        w_x, w_r, w_rm, w_pm = (None if w is None else cast(w) for w in (w_x, w_r, w_rm, w_pm))
        gates = affine(cast(x.view(frames * streams, -1)), w_x, bias).view(frames, streams, 4, num_cells)
        cells = x.new_empty(frames + 1, streams, num_cells)
        recs = x.new_empty(frames + 1, streams, num_rec)
        tanh_c = x.new_empty(frames, streams, num_cells)
        outs = recs[1:] if w_rm is None else x.new_empty(frames, streams, num_cells)
        cells[0], recs[0] = c_0, r_0
        # |c| grows by less than 1 per frame, so a chunk that starts well inside the bounds needs no clipping. On a GPU
        # this check would force a synchronization, which a CUDA graph does not allow.
        if clip is not None and x.device.type == "cpu" and float(c_0.abs().max()) + frames <= clip:
            clip = None

        step = gates_for(gates, cells, tanh_c, outs, peephole, clip)
        w_r_t, w_rm_t = w_r.t(), None if w_rm is None else w_rm.t()
        flat = gates.view(frames, streams, 4 * num_cells)
        for t in range(frames):
            add_product(flat[t], cast(recs[t]), w_r_t)
            step.forward(t)
            if w_rm is not None:
                product(cast(outs[t]), w_rm_t, recs[t + 1])

        y = recs[1:]
        if w_pm is not None:
            y = torch.cat([y, as_dtype(torch.matmul(cast(outs), w_pm.t()), dtype)], dim=2)
        ctx.save_for_backward(x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, tanh_c, outs)
        ctx.clip, ctx.bf16 = clip, bf16
        return y, cells[frames].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y, grad_c):
        if ctx.kernels:
            grads = ctx.kernels.backward(ctx.saved_tensors, ctx.clip, grad_y, grad_c, *ctx.needs_input_grad[:2])
            return *grads, None, None
        x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, tanh_c, outs = ctx.saved_tensors
        frames, streams, _, num_cells = gates.shape
        num_rec, dtype, cast = recs.shape[2], x.dtype, factor_cast(ctx.bf16, x.device)
        step = gates_for(gates, cells, tanh_c, outs, peephole, ctx.clip)
        d_gates = step.start_backward()

        grad_r = grad_y[:, :, :num_rec].clone(memory_format=torch.contiguous_format)
        grad_m = None if w_pm is None else as_dtype(torch.matmul(cast(grad_y[:, :, num_rec:]), w_pm), dtype)
        dc = grad_c.clone(memory_format=torch.contiguous_format)
        dm = torch.empty_like(dc)
        flat = d_gates.view(frames, streams, 4 * num_cells)
        for t in reversed(range(frames)):
            if t + 1 < frames:
                add_product(grad_r[t], cast(flat[t + 1]), w_r)
            if w_rm is None:
                dm = grad_r[t]
            elif grad_m is None:
                product(cast(grad_r[t]), w_rm, dm)
            else:
                dm = add_product(grad_m[t], cast(grad_r[t]), w_rm)
            step.backward(t, dm, dc)

        d_flat, m = cast(d_gates.view(frames * streams, 4 * num_cells)), cast(outs.reshape(frames * streams, num_cells))
        d_flat_t = d_flat.t()
        d_x = as_dtype(torch.mm(d_flat, w_x), dtype).view_as(x) if ctx.needs_input_grad[0] else None
        d_r0 = as_dtype(torch.mm(d_flat[:streams], w_r), dtype) if ctx.needs_input_grad[1] else None
        d_w_x = as_dtype(torch.mm(d_flat_t, cast(x.view(frames * streams, -1))), dtype)
        d_w_r = as_dtype(torch.mm(d_flat_t, cast(recs[:-1].view(frames * streams, num_rec))), dtype)
        d_bias, d_peephole = step.sums()
        d_w_rm = d_w_pm = None
        if w_rm is not None:
            d_w_rm = as_dtype(torch.mm(cast(grad_r.view(frames * streams, num_rec)).t(), m), dtype)
        if w_pm is not None:
            d_w_pm = as_dtype(torch.mm(cast(grad_y[:, :, num_rec:].reshape(frames * streams, -1)).t(), m), dtype)
        return d_x, d_r0, dc, d_w_x, d_w_r, d_bias, d_peephole, d_w_rm, d_w_pm, None, None


def factor_cast(bf16: bool, device: torch.device, large: bool = False):
    """Return the function that converts a tensor to a factor of a matrix product.

    PyTorch rounds a product of bfloat16 tensors to bfloat16 as well. Where such products are fast (on a GPU, on a CPU
    with AMX, and ``large`` ones on a CPU with AVX512_BF16), the function returns bfloat16. Elsewhere it returns rounded
    numbers as float32: their product in float32 is faster there, and more exact.
    """
    if not bf16:
        return lambda tensor: tensor
    if device.type != "cpu" or (fused.has_bf16_products() if large else fused.has_amx()):
        return torch.Tensor.bfloat16
    return lambda tensor: tensor.bfloat16().to(tensor.dtype)


def as_dtype(result, dtype: torch.dtype):
    """Convert a product to ``dtype``, in which everything except products is computed."""
    return result if result.dtype == dtype else result.to(dtype)


def affine(a, weight, bias):
    """a weightᵀ + bias in the bias's dtype; a and weight may be bfloat16."""
    if a.dtype == bias.dtype:
        return torch.addmm(bias, a, weight.t())
    return torch.mm(a, weight.t()).to(bias.dtype).add_(bias)


def product(a, b, out):
    """``out`` = a b in the dtype of ``out``; a and b may be bfloat16."""
    return torch.mm(a, b, out=out) if a.dtype == out.dtype else out.copy_(torch.mm(a, b))


def add_product(out, a, b):
    """``out`` += a b in the dtype of ``out``; a and b may be bfloat16."""
    return out.addmm_(a, b) if a.dtype == out.dtype else out.add_(torch.mm(a, b))
