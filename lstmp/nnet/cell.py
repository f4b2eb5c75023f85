"""The LSTMP recurrence over a whole chunk, forward and backward, as one autograd function.

Sak, Senior, Beaufays, "LSTM based RNN architectures for large vocabulary speech recognition" (arXiv 1402.1128), with
σ the logistic function, ⊙ the element-wise product, and r, c the state carried from frame to frame:

    i_t = σ(W_ix x_t + W_ir r_{t-1} + w_ic ⊙ c_{t-1} + b_i)
    f_t = σ(W_fx x_t + W_fr r_{t-1} + w_fc ⊙ c_{t-1} + b_f)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_cx x_t + W_cr r_{t-1} + b_c)        clipped to [-clip, clip]
    o_t = σ(W_ox x_t + W_or r_{t-1} + w_oc ⊙ c_t + b_o)
    m_t = o_t ⊙ tanh(c_t)
    r_t = W_rm m_t        p_t = W_pm m_t        (without projection: r_t = m_t)

Only what depends on r_{t-1} stays in the loop over frames. The products with x of all frames are one GEMM before it,
p of all frames is one GEMM after it, and each weight gradient is one GEMM over all frames. A step of either loop is two
small GEMMs and the element-wise part of :mod:`lstmp.nnet.gates`, compiled where that can be.

The weights of the four gates lie below each other, in the order i, f, c, o.
"""

import torch
from torch.autograd import Function

from lstmp.nnet.gates import gates_for


class LstmpChunk(Function):
    """``y, c_T = LstmpChunk.apply(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip)``

    Args:
        x: [T, N, I] input, T frames of N streams.
        r_0: [N, R] recurrent projection before the first frame (R = C without projection).
        c_0: [N, C] cells before the first frame.
        w_x: [4C, I] and w_r: [4C, R], gates in the order i, f, c, o.
        bias: [4C].
        peephole: [3, C], the diagonals w_ic, w_fc, w_oc; or None for a cell without peepholes.
        w_rm: [R, C] recurrent projection; or None for a plain LSTM.
        w_pm: [P, C] non-recurrent projection; or None.
        clip: cells are clipped to [-clip, clip]; or None. The gradient of a clipped cell is zero.

    Returns:
        y: [T, N, R + P], r and p side by side; the state to carry on is ``y[-1, :, :R]``.
        c_T: [N, C] the cells after the last frame.
    """

    @staticmethod
    def forward(ctx, x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip):
        frames, streams, _ = x.shape
        num_cells, num_rec = c_0.shape[1], r_0.shape[1]
        x = x.contiguous()
        gates = torch.addmm(bias, x.view(frames * streams, -1), w_x.t()).view(frames, streams, 4, num_cells)
        cells = x.new_empty(frames + 1, streams, num_cells)
        recs = x.new_empty(frames + 1, streams, num_rec)
        tanh_c = x.new_empty(frames, streams, num_cells)
        outs = recs[1:] if w_rm is None else x.new_empty(frames, streams, num_cells)
        cells[0], recs[0] = c_0, r_0
        # |c| grows by less than 1 a frame, so that a chunk which starts well inside the bounds needs no clipping.
        if clip is not None and float(c_0.abs().max()) + frames <= clip:
            clip = None

        step = gates_for(gates, cells, tanh_c, outs, peephole, clip)
        w_r_t, w_rm_t = w_r.t(), None if w_rm is None else w_rm.t()
        flat = gates.view(frames, streams, 4 * num_cells)
        for t in range(frames):
            flat[t].addmm_(recs[t], w_r_t)
            step.forward(t)
            if w_rm is not None:
                torch.mm(outs[t], w_rm_t, out=recs[t + 1])

        y = recs[1:]
        if w_pm is not None:
            y = torch.cat([y, torch.matmul(outs, w_pm.t())], dim=2)
        ctx.save_for_backward(x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, tanh_c, outs)
        ctx.clip = clip
        return y, cells[frames].clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_y, grad_c):
        x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, tanh_c, outs = ctx.saved_tensors
        frames, streams, _, num_cells = gates.shape
        num_rec = recs.shape[2]
        step = gates_for(gates, cells, tanh_c, outs, peephole, ctx.clip)
        d_gates = step.start_backward()

        grad_r = grad_y[:, :, :num_rec].clone(memory_format=torch.contiguous_format)
        grad_m = None if w_pm is None else torch.matmul(grad_y[:, :, num_rec:], w_pm)
        dc = grad_c.clone(memory_format=torch.contiguous_format)
        dm = torch.empty_like(dc)
        flat = d_gates.view(frames, streams, 4 * num_cells)
        for t in reversed(range(frames)):
            if t + 1 < frames:
                grad_r[t].addmm_(flat[t + 1], w_r)
            if w_rm is None:
                dm = grad_r[t]
            elif grad_m is None:
                torch.mm(grad_r[t], w_rm, out=dm)
            else:
                dm = grad_m[t].addmm_(grad_r[t], w_rm)
            step.backward(t, dm, dc)

        d_flat = d_gates.view(frames * streams, 4 * num_cells)
        d_flat_t, m = d_flat.t(), outs.reshape(frames * streams, num_cells)
        d_x = torch.mm(d_flat, w_x).view_as(x) if ctx.needs_input_grad[0] else None
        d_r0 = torch.mm(flat[0], w_r) if ctx.needs_input_grad[1] else None
        d_w_x = torch.mm(d_flat_t, x.view(frames * streams, -1))
        d_w_r = torch.mm(d_flat_t, recs[:-1].view(frames * streams, num_rec))
        d_bias, d_peephole = step.sums()
        d_w_rm = d_w_pm = None
        if w_rm is not None:
            d_w_rm = torch.mm(grad_r.view(frames * streams, num_rec).t(), m)
        if w_pm is not None:
            d_w_pm = torch.mm(grad_y[:, :, num_rec:].reshape(frames * streams, -1).t(), m)
        return d_x, d_r0, dc, d_w_x, d_w_r, d_bias, d_peephole, d_w_rm, d_w_pm, None
