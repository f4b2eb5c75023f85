"""Runs an LSTMP layer over a chunk on a GPU: two Triton kernels per frame (gpu_kernels.py), forward and backward.

In the forward pass one kernel computes the recurrent product and the gates, and one the projection. In the backward
pass one kernel computes the projection's product and the gates, and one the product with the recurrent weights; each
of its few results is a sum of 4C terms, so the sum is split among several programs. Products over all frames at once
are left to cuBLAS. :mod:`lstmp.nnet.kernels.graphed` saves the time of so many launches with CUDA graphs.

For float32 tensors, with factors in float32 (TF32 if ``torch.set_float32_matmul_precision`` allows it) or bfloat16.
With ``LSTMP_TRITON=0``, or if Triton 3 does not work, :mod:`lstmp.nnet.cell` uses PyTorch instead.
"""

import functools
import os

import torch

from lstmp.log import warn

_PARTS = 4  # parts of each sum in the backward product with the recurrent weights


@functools.cache
def kernels():
    """The module of kernels, or None if Triton or a compiler for it is missing; warns once of the reason."""
    if os.environ.get("LSTMP_TRITON", "1") == "0":
        return None
    try:
        from lstmp.nnet.kernels import gpu_kernels
        a, out = torch.ones(16, 16, device="cuda"), torch.zeros(16, 16, device="cuda")
        gpu_kernels.product[1, 1, 1](0, 0, 16, a, a, out, 16, 1, 16, 16, 1, gpu_kernels.tl.float32, "ieee", BN=16,
                                     BC=16, BK=16)
        if float(out.sum()) != 16**3:
            raise RuntimeError("its results are wrong")
        return gpu_kernels
    except Exception as e:  # no Triton, an old one, no C compiler: each raises its own type
        warn(f"Triton does not work here, LSTMP layers run without it, slower: {str(e).strip().splitlines()[0]}")
        return None


def fits(x, c_0) -> bool:
    """Whether the kernels can compute with input ``x`` [T, N, I] of a layer with cells ``c_0`` [N, C]: float32 on a GPU
    with Triton (compute capability 8.0 or later), and small enough for 32-bit offsets."""
    if x.dtype != torch.float32 or x.device.type != "cuda" or not x.numel():
        return False
    small = 4 * (len(x) + 1) * c_0.numel() < 1 << 31
    return small and torch.cuda.get_device_capability(x.device) >= (8, 0) and kernels() is not None


def forward(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16: bool):
    """Run a layer over a chunk; arguments and first two results as those of :class:`lstmp.nnet.cell.LstmpChunk`.

    Returns:
        y, c_T, and a tuple of tensors for :func:`backward`.
    """
    factor_dtype = torch.bfloat16 if bf16 else torch.float32
    (frames, streams, _), num_cells, num_rec = x.shape, c_0.shape[1], r_0.shape[1]
    x, w_x, w_r, w_rm, w_pm = (None if a is None else a.detach().to(factor_dtype).contiguous()
                                for a in (x, w_x, w_r, w_rm, w_pm))
    bias, peephole = (None if a is None else a.detach().contiguous() for a in (bias, peephole))
    from_x = torch.mm(x.view(frames * streams, -1), w_x.t())
    gates = r_0.new_empty(frames, streams, 4, num_cells)
    cells = r_0.new_empty(frames + 1, streams, num_cells)
    recs = r_0.new_empty(frames + 1, streams, num_rec)
    # without a projection m is r; with one m is only a factor
    outs = recs[1:] if w_rm is None else from_x.new_empty(frames, streams, num_cells)
    cells[0], recs[0] = c_0, r_0
    triton = kernels()
    gate_options, rec_options = _options("gates_forward", bf16, streams), _options("project", bf16, streams)
    gate_grid, rec_grid = _grid(gate_options, num_cells, streams), _grid(rec_options, num_rec, streams)
    with torch.cuda.device(x.device):  # where Triton launches
        for t in range(frames):
            triton.gates_forward[gate_grid](
                t, streams, from_x, bias, recs, w_r, peephole, clip or 0.0, gates, cells, outs, num_cells, num_rec,
                peephole is not None, clip is not None, **gate_options)
            if w_rm is not None:
                triton.product[rec_grid](t, t + 1, streams, outs, w_rm, recs, 1, num_cells, num_cells, num_rec, 1,
                                         **rec_options)
    y = recs[1:]
    if w_pm is not None:
        y = torch.cat([y, torch.matmul(outs, w_pm.t()).to(y.dtype)], 2)
    return y, cells[frames].clone(), (x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, outs)


def backward(saved, clip, grad_y, grad_c, needs_x: bool = True, needs_r0: bool = True):
    """Compute the gradients of all arguments of :func:`forward` except the clip, in their order.

    Args:
        saved: the tuple that forward returned.
        grad_y, grad_c: gradients of y and c_T.
        needs_x, needs_r0: if False, the gradient of x or r_0 is not computed and None is returned for it.
    """
    x, w_x, w_r, peephole, w_rm, w_pm, gates, cells, recs, outs = saved
    (frames, streams, _, num_cells), num_rec, dtype = gates.shape, recs.shape[2], gates.dtype
    bf16 = w_x.dtype == torch.bfloat16
    grad_y, dc = grad_y.contiguous(), grad_c.clone(memory_format=torch.contiguous_format)
    from_p = None if w_pm is None else grad_y[:, :, num_rec:].to(w_pm.dtype)
    grad_m = None if from_p is None else torch.matmul(from_p, w_pm)
    d_gates = torch.empty_like(gates, dtype=w_x.dtype)
    grad_r = None if w_rm is None else w_x.new_empty(frames, streams, num_rec)
    partial = recs.new_empty(_PARTS, streams, num_rec)
    triton = kernels()
    gate_options, rec_options = _options("gates_backward", bf16, streams), _options("recur", bf16, streams)
    gate_grid, rec_grid = _grid(gate_options, num_cells, streams), (*_grid(rec_options, num_rec, streams), _PARTS)
    with torch.cuda.device(x.device):
        for t in reversed(range(frames)):
            later = t + 1 < frames
            if later:
                triton.product[rec_grid](t + 1, 0, streams, d_gates, w_r, partial, num_rec, 1, 4 * num_cells, num_rec,
                                         _PARTS, **rec_options)
            triton.gates_backward[gate_grid](
                t, streams, later, grad_y, grad_m, partial, w_rm, gates, cells, peephole, clip or 0.0, dc, d_gates,
                grad_r, grad_y.shape[2], num_cells, num_rec, _PARTS, w_rm is not None, w_pm is not None,
                peephole is not None, clip is not None, **gate_options)
        d_bias, d_peephole = _sums(d_gates, cells)
    flat = d_gates.view(frames * streams, 4 * num_cells)
    d_x = torch.mm(flat, w_x).to(dtype).view_as(x) if needs_x else None
    d_r0 = torch.mm(flat[:streams], w_r).to(dtype) if needs_r0 else None
    flat_t, m = flat.t(), outs.to(w_x.dtype).reshape(frames * streams, num_cells)
    d_w_x = torch.mm(flat_t, x.view(frames * streams, -1)).to(dtype)
    d_w_r = torch.mm(flat_t, recs[:-1].to(w_r.dtype).view(frames * streams, num_rec)).to(dtype)
    d_w_rm = None if grad_r is None else torch.mm(grad_r.view(frames * streams, num_rec).t(), m).to(dtype)
    d_w_pm = None if from_p is None else torch.mm(from_p.reshape(frames * streams, -1).t(), m).to(dtype)
    return (d_x, d_r0, dc, d_w_x, d_w_r, d_bias, None if peephole is None else d_peephole, d_w_rm, d_w_pm)


def _sums(d_gates, cells):
    """The gradients of the bias, [4C], and of the peepholes, [3, C]: sums over all frames and streams, in parts."""
    frames, streams, _, num_cells = d_gates.shape
    rows, parts = frames * streams, min(32, frames)
    rows_per_part = -(-rows // (32 * parts)) * 32
    out = cells.new_empty(parts, 7, num_cells)
    kernels().sums[-(-num_cells // 32), parts](rows, streams, rows_per_part, d_gates, cells, out, num_cells, BN=32,
                                               BC=32, num_warps=4)
    total = out.sum(0)
    return total[:4].flatten(), total[4:]


def _options(kernel: str, bf16: bool, streams: int) -> dict:
    """Precision and block sizes of a kernel; the block sizes were tuned on an H100."""
    tl, precise = kernels().tl, torch.get_float32_matmul_precision() == "highest"
    return {"FACTOR": tl.bfloat16 if bf16 else tl.float32, "PRECISION": "ieee" if precise else "tf32",
            **_block_sizes(kernel, bf16, streams)}


def _block_sizes(kernel: str, bf16: bool, streams: int) -> dict:
    terms, many = 128 if bf16 else 64, streams > 128
    if kernel == "gates_forward":
        return {"BN": 32 if streams > 16 else 16, "BC": 16, "BK": terms, "num_warps": 2}
    return {"BN": 32 if many and kernel == "recur" else 16, "BC": 64 if many and kernel == "gates_backward" else 32,
            "BK": terms, "num_warps": 4}


def _grid(options: dict, columns: int, streams: int) -> tuple[int, int]:
    """The grid of programs that covers all columns and streams."""
    return -(-columns // options["BC"]), -(-streams // options["BN"])
