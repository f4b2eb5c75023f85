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
p of all frames is one GEMM after it, and each weight gradient is one GEMM over all frames. The element-wise
derivatives that do not depend on later frames are taken for the whole chunk at once as well, so that a step of the
backward loop is two small GEMMs and a handful of multiplications.

The weights of the four gates lie below each other, in the order i, f, c, o.
"""

import torch
from torch.autograd import Function

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * y * (1 - y), for y = sigmoid(x)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y²), for y = tanh(x)


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

        w_r_t, w_rm_t = w_r.t(), None if w_rm is None else w_rm.t()
        if peephole is not None:
            peep_if, peep_o = peephole[:2], peephole[2]
        flat = gates.view(frames, streams, 4 * num_cells).unbind(0)
        in_forget, cand, out_gate = gates[:, :, :2].unbind(0), gates[:, :, 2].unbind(0), gates[:, :, 3].unbind(0)
        in_gate, forget = gates[:, :, 0].unbind(0), gates[:, :, 1].unbind(0)
        cell, rec, tanh, out = cells.unbind(0), recs.unbind(0), tanh_c.unbind(0), outs.unbind(0)
        for t in range(frames):
            flat[t].addmm_(rec[t], w_r_t)
            if peephole is not None:
                in_forget[t].addcmul_(cell[t].unsqueeze(1), peep_if)
            in_forget[t].sigmoid_()
            cand[t].tanh_()
            new = torch.mul(forget[t], cell[t], out=cell[t + 1]).addcmul_(in_gate[t], cand[t])
            if clip is not None:
                new.clamp_(-clip, clip)
            if peephole is not None:
                out_gate[t].addcmul_(new, peep_o)
            out_gate[t].sigmoid_()
            torch.tanh(new, out=tanh[t])
            torch.mul(out_gate[t], tanh[t], out=out[t])
            if w_rm is not None:
                torch.mm(out[t], w_rm_t, out=rec[t + 1])

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
        in_gate, forget, cand, out_gate = gates.unbind(2)

        # Element-wise derivatives of the whole chunk. d_gates first holds the factor that dm (for o) or dc (for the
        # others) is to be multiplied with; the loop turns it into the gradient of the gates' inputs, in place.
        d_gates = torch.empty_like(gates)
        d_i, d_f, d_c, d_o = d_gates.unbind(2)
        _sigmoid_backward(cand, in_gate, grad_input=d_i)
        _sigmoid_backward(cells[:-1], forget, grad_input=d_f)
        _tanh_backward(in_gate, cand, grad_input=d_c)
        _sigmoid_backward(tanh_c, out_gate, grad_input=d_o)
        dm_to_dc = torch.empty_like(tanh_c)
        _tanh_backward(out_gate, tanh_c, grad_input=dm_to_dc)
        inside = None if ctx.clip is None else (cells[1:].abs() < ctx.clip).to(cells.dtype)

        grad_r = grad_y[:, :, :num_rec].clone(memory_format=torch.contiguous_format)
        grad_m = None if w_pm is None else torch.matmul(grad_y[:, :, num_rec:], w_pm)
        dc = grad_c.clone(memory_format=torch.contiguous_format)
        dm = torch.empty_like(dc)
        flat = d_gates.view(frames, streams, 4 * num_cells).unbind(0)
        d_in, d_forget, d_out, d_ifc = d_i.unbind(0), d_f.unbind(0), d_o.unbind(0), d_gates[:, :, :3].unbind(0)
        dr, to_dc, forget_t = grad_r.unbind(0), dm_to_dc.unbind(0), forget.unbind(0)
        if peephole is not None:
            peep_i, peep_f, peep_o = peephole.unbind(0)
        for t in reversed(range(frames)):
            if t + 1 < frames:
                dr[t].addmm_(flat[t + 1], w_r)
            if w_rm is None:
                dm = dr[t]
            elif grad_m is None:
                torch.mm(dr[t], w_rm, out=dm)
            else:
                dm = grad_m[t].addmm_(dr[t], w_rm)
            d_out[t].mul_(dm)
            dc.addcmul_(dm, to_dc[t])
            if peephole is not None:
                dc.addcmul_(d_out[t], peep_o)
            if inside is not None:
                dc.mul_(inside[t])
            d_ifc[t].mul_(dc.unsqueeze(1))
            dc.mul_(forget_t[t])
            if peephole is not None:
                dc.addcmul_(d_in[t], peep_i).addcmul_(d_forget[t], peep_f)

        d_flat = d_gates.view(frames * streams, 4 * num_cells)
        d_flat_t, m = d_flat.t(), outs.reshape(frames * streams, num_cells)
        d_x = torch.mm(d_flat, w_x).view_as(x) if ctx.needs_input_grad[0] else None
        d_r0 = torch.mm(flat[0], w_r) if ctx.needs_input_grad[1] else None
        d_w_x = torch.mm(d_flat_t, x.view(frames * streams, -1))
        d_w_r = torch.mm(d_flat_t, recs[:-1].view(frames * streams, num_rec))
        d_peephole = d_w_rm = d_w_pm = None
        if peephole is not None:
            d_peephole = torch.stack([(d_i * cells[:-1]).sum((0, 1)), (d_f * cells[:-1]).sum((0, 1)),
                                      (d_o * cells[1:]).sum((0, 1))])
        if w_rm is not None:
            d_w_rm = torch.mm(grad_r.view(frames * streams, num_rec).t(), m)
        if w_pm is not None:
            d_w_pm = torch.mm(grad_y[:, :, num_rec:].reshape(frames * streams, -1).t(), m)
        return d_x, d_r0, dc, d_w_x, d_w_r, d_flat.sum(0), d_peephole, d_w_rm, d_w_pm, None
