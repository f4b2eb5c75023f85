"""A chunk of an LSTMP layer on a GPU: two Triton kernels a frame (gpu_kernels.py), forward and backward.

Forward, a frame is one kernel for recurrent product and gates, and one for the projection. Backward, it is one for
the projection's product and the gates, and one for the product with the recurrent weights: 4C terms for each of few
results, so that the sum is split among several programs. Products of all frames at once are left to cuBLAS. What is
launched so often is worth a CUDA graph: :mod:`lstmp.nnet.kernels.graphed`.

For float32, with factors in float32 (TF32 where ``torch.set_float32_matmul_precision`` allows it) or bfloat16.
``LSTMP_TRITON=0`` leaves it to :mod:`lstmp.nnet.cell`'s PyTorch, as does whatever keeps Triton 3 from working.
"""

import functools
import os

import torch

from lstmp.log import warn

_PARTS = 4  # sums of the product with the recurrent weights, backward


@functools.cache
def kernels():
    """The module of kernels, or None where Triton or a compiler for it is missing; the reason is told once."""
    if os.environ.get("LSTMP_TRITON", "1") == "0":
        return None
    try:
        from lstmp.nnet.kernels import gpu_kernels
        a, out = torch.ones(16, 16, device="cuda"), torch.zeros(16, 16, device="cuda")
        gpu_kernels.product[1, 1, 1](0, 0, 16, a, a, out, 16, 1, 16, 16, 1, gpu_kernels.tl.float32, "ieee", BN=16,
                                     BC=16, BK=16)
        if float(out.sum()) != 16**3:
            raise RuntimeError("it computes something else")
        return gpu_kernels
    except Exception as e:  # no Triton, an old one, no C compiler: all have their own kinds
        warn(f"Triton does not work here, LSTMP layers go on without it, slower: {str(e).strip().splitlines()[0]}")
        return None


def fits(x, c_0) -> bool:
    """Whether the kernels work on input ``x`` [T, N, I] of a layer with cells ``c_0`` [N, C]: float32 on a GPU with
    Triton (compute capability 8.0 or later), and small enough for offsets of 32 bits."""
    if x.dtype != torch.float32 or x.device.type != "cuda" or not x.numel():
        return False
    small = 4 * (len(x) + 1) * c_0.numel() < 1 << 31
    return small and torch.cuda.get_device_capability(x.device) >= (8, 0) and kernels() is not None


def forward(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16: bool):
    """A layer over a chunk; arguments and the first two results as those of :class:`lstmp.nnet.cell.LstmpChunk`.

    Returns:
        y, c_T, and the tensors that :func:`backward` asks for.
    """
    factor = torch.bfloat16 if bf16 else torch.float32
    (frames, streams, _), cells_wide, width = x.shape, c_0.shape[1], r_0.shape[1]
    x, w_x, w_r, w_rm, w_pm = (None if a is None else a.detach().to(factor).contiguous()
                                for a in (x, w_x, w_r, w_rm, w_pm))
    bias, peephole = (None if a is None else a.detach().contiguous() for a in (bias, peephole))
    from_x = torch.mm(x.view(frames * streams, -1), w_x.t())
    gates = r_0.new_empty(frames, streams, 4, cells_wide)
    cells = r_0.new_empty(frames + 1, streams, cells_wide)
    recs = r_0.new_empty(frames + 1, streams, width)
    # without a projection m is r; with one it is no more than a factor
    outs = recs[1:] if w_rm is None else from_x.new_empty(frames, streams, cells_wide)
    cells[0], recs[0] = c_0, r_0
    run, gate_how, rec_how = kernels(), _how("gates_forward", bf16, streams), _how("project", bf16, streams)
    gate_grid, rec_grid = _grid(gate_how, cells_wide, streams), _grid(rec_how, width, streams)
    with torch.cuda.device(x.device):  # where Triton launches
        for t in range(frames):
            run.gates_forward[gate_grid](
                t, streams, from_x, bias, recs, w_r, peephole, clip or 0.0, gates, cells, outs, cells_wide, width,
                peephole is not None, clip is not None, **gate_how)
            if w_rm is not None:
                run.product[rec_grid](t, t + 1, streams, outs, w_rm, recs, 1, cells_wide, cells_wide, width, 1,
                                      **rec_how)
    y = recs[1:]
    if w_pm is not None:
        y = torch.cat([y, torch.matmul(outs, w_pm.t()).to(y.dtype)], 2)
    return y, cells[frames].clone(), (x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, outs)


def backward(saved, clip, grad_y, grad_c, needs_x: bool = True, needs_r0: bool = True):
    """The gradients of all arguments of :func:`forward` but the clip, in their order.

    Args:
        saved: what forward left.
        grad_y, grad_c: gradients of y and c_T.
        needs_x, needs_r0: without them, None stands for the gradients of x and r_0.
    """
    x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, outs = saved
    (frames, streams, _, cells_wide), width, kind = gates.shape, recs.shape[2], gates.dtype
    bf16 = w_x.dtype == torch.bfloat16
    grad_y, dc = grad_y.contiguous(), grad_c.clone(memory_format=torch.contiguous_format)
    from_p = None if w_pm is None else grad_y[:, :, width:].to(w_pm.dtype)
    grad_m = None if from_p is None else torch.matmul(from_p, w_pm)
    d_gates = torch.empty_like(gates, dtype=w_x.dtype)
    grad_r = None if w_rm is None else w_x.new_empty(frames, streams, width)
    partial = recs.new_empty(_PARTS, streams, width)
    run, gate_how, rec_how = kernels(), _how("gates_backward", bf16, streams), _how("recur", bf16, streams)
    gate_grid, rec_grid = _grid(gate_how, cells_wide, streams), (*_grid(rec_how, width, streams), _PARTS)
    with torch.cuda.device(x.device):
        for t in reversed(range(frames)):
            later = t + 1 < frames
            if later:
                run.product[rec_grid](t + 1, 0, streams, d_gates, w_r, partial, width, 1, 4 * cells_wide, width, _PARTS,
                                      **rec_how)
            run.gates_backward[gate_grid](
                t, streams, later, grad_y, grad_m, partial, w_rm, gates, cells, peephole, clip or 0.0, dc, d_gates,
                grad_r, grad_y.shape[2], cells_wide, width, _PARTS, w_rm is not None, w_pm is not None,
                peephole is not None, clip is not None, **gate_how)
        d_bias, d_peephole = _sums(d_gates, cells)
    flat = d_gates.view(frames * streams, 4 * cells_wide)
    d_x = torch.mm(flat, w_x).to(kind).view_as(x) if needs_x else None
    d_r0 = torch.mm(flat[:streams], w_r).to(kind) if needs_r0 else None
    flat_t, m = flat.t(), outs.to(w_x.dtype).reshape(frames * streams, cells_wide)
    d_w_x = torch.mm(flat_t, x.view(frames * streams, -1)).to(kind)
    d_w_r = torch.mm(flat_t, recs[:-1].to(w_r.dtype).view(frames * streams, width)).to(kind)
    d_w_rm = None if grad_r is None else torch.mm(grad_r.view(frames * streams, width).t(), m).to(kind)
    d_w_pm = None if from_p is None else torch.mm(from_p.reshape(frames * streams, -1).t(), m).to(kind)
    return (d_x, d_r0, dc, d_w_x, d_w_r, d_bias, None if peephole is None else d_peephole, d_w_rm, d_w_pm)


def _sums(d_gates, cells):
    """The gradients of the bias, [4C], and of peepholes, [3, C]: sums over all frames and streams, in parts."""
    frames, streams, _, wide = d_gates.shape
    rows, parts = frames * streams, min(32, frames)
    per = -(-rows // (32 * parts)) * 32
    out = cells.new_empty(parts, 7, wide)
    kernels().sums[-(-wide // 32), parts](rows, streams, per, d_gates, cells, out, wide, BN=32, BC=32, num_warps=4)
    total = out.sum(0)
    return total[:4].flatten(), total[4:]


def _how(kernel: str, bf16: bool, streams: int) -> dict:
    """How a kernel multiplies, and the size of its blocks: measured on an H100."""
    tl, precise = kernels().tl, torch.get_float32_matmul_precision() == "highest"
    return {"FACTOR": tl.bfloat16 if bf16 else tl.float32, "PRECISION": "ieee" if precise else "tf32",
            **_blocks(kernel, bf16, streams)}


def _blocks(kernel: str, bf16: bool, streams: int) -> dict:
    terms, many = 128 if bf16 else 64, streams > 128
    if kernel == "gates_forward":
        return {"BN": 32 if streams > 16 else 16, "BC": 16, "BK": terms, "num_warps": 2}
    return {"BN": 32 if many and kernel == "recur" else 16, "BC": 64 if many and kernel == "gates_backward" else 32,
            "BK": terms, "num_warps": 4}


def _grid(how: dict, columns: int, streams: int) -> tuple[int, int]:
    """Programs for all columns and streams."""
    return -(-columns // how["BC"]), -(-streams // how["BN"])
