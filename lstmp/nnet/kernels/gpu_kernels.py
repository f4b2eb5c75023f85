"""The Triton kernels of :mod:`lstmp.nnet.kernels.gpu`: one frame of all streams of an LSTMP layer, both directions.

A program computes a block of BN streams by BC cells or columns, and adds BK terms of a product at a time. The tensors
are those of :mod:`lstmp.nnet.kernels.gpu`, contiguous; T, N, C, R are the numbers of frames, streams, cells and
recurrent projections. The factors of products are read as FACTOR, tl.float32 or tl.bfloat16; float32 factors are
multiplied with PRECISION "ieee" or "tf32". All sums are float32.
"""

import triton
import triton.language as tl


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit(do_not_specialize=["t", "N"])
def gates_forward(t, N, from_x, bias, recs, w_r, peephole, clip, gates, cells, outs, C: tl.constexpr, R: tl.constexpr,
                  PEEPHOLES: tl.constexpr, CLIPS: tl.constexpr, FACTOR: tl.constexpr, PRECISION: tl.constexpr,
                  BN: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr):
    """Frame t, forward. In: `from_x` [T, N, 4, C], which is W_x x; recs [T + 1, N, R]; cells [T + 1, N, C] up to index
    t. Out: gates [T, N, 4, C], cells[t + 1], outs [T, N, C]."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    some_c, some_n = (c < C)[None, :], (n < N)[:, None]
    here, row = some_n & some_c, t * N + n
    at = row[:, None] * C + c[None, :]  # offsets in [T, N, C]
    gate = row[:, None] * 4 * C + c[None, :]  # offsets of gate i in [T, N, 4, C]; the other gates follow at distance C
    i = tl.load(from_x + gate, here, 0).to(tl.float32) + tl.load(bias + c, c < C, 0)[None, :]
    f = tl.load(from_x + gate + C, here, 0).to(tl.float32) + tl.load(bias + C + c, c < C, 0)[None, :]
    g = tl.load(from_x + gate + 2 * C, here, 0).to(tl.float32) + tl.load(bias + 2 * C + c, c < C, 0)[None, :]
    o = tl.load(from_x + gate + 3 * C, here, 0).to(tl.float32) + tl.load(bias + 3 * C + c, c < C, 0)[None, :]
    for first in range(0, R, BK):
        k = first + tl.arange(0, BK)
        r = tl.load(recs + row[:, None] * R + k[None, :], some_n & (k < R)[None, :], 0).to(FACTOR)
        w, fits = w_r + c[None, :] * R + k[:, None], some_c & (k < R)[:, None]
        i = tl.dot(r, tl.load(w, fits, 0), i, input_precision=PRECISION)
        f = tl.dot(r, tl.load(w + C * R, fits, 0), f, input_precision=PRECISION)
        g = tl.dot(r, tl.load(w + 2 * C * R, fits, 0), g, input_precision=PRECISION)
        o = tl.dot(r, tl.load(w + 3 * C * R, fits, 0), o, input_precision=PRECISION)
    prev = tl.load(cells + at, here, 0)
    if PEEPHOLES:
        i += tl.load(peephole + c, c < C, 0)[None, :] * prev
        f += tl.load(peephole + C + c, c < C, 0)[None, :] * prev
    i, f, g = tl.sigmoid(i), tl.sigmoid(f), _tanh(g)
    cell = f * prev + i * g
    if CLIPS:  # written so that NaN is propagated
        cell = tl.where(cell > clip, clip, tl.where(cell < -clip, -clip, cell))
    if PEEPHOLES:
        o += tl.load(peephole + 2 * C + c, c < C, 0)[None, :] * cell
    o = tl.sigmoid(o)
    tl.store(gates + gate, i, here)
    tl.store(gates + gate + C, f, here)
    tl.store(gates + gate + 2 * C, g, here)
    tl.store(gates + gate + 3 * C, o, here)
    tl.store(cells + N * C + at, cell, here)
    tl.store(outs + at, (o * _tanh(cell)).to(outs.dtype.element_ty), here)


@triton.jit(do_not_specialize=["t", "N"])
def gates_backward(t, N, later, grad_y, grad_m, partial, w_rm, gates, cells, peephole, clip, dc, d_gates, grad_r, width,
                   C: tl.constexpr, R: tl.constexpr, PARTS: tl.constexpr, PROJECTS: tl.constexpr, OTHERS: tl.constexpr,
                   PEEPHOLES: tl.constexpr, CLIPS: tl.constexpr, FACTOR: tl.constexpr, PRECISION: tl.constexpr,
                   BN: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr):
    """Frame t, backward. Out: d_gates [T, N, 4, C], the gradient of the gates' inputs. In and out: dc [N, C], before
    the call the gradient of cells[t + 1], afterwards that of cells[t].

    The gradient of recs[t + 1] is the first R of the `width` columns of grad_y[t], plus the PARTS sums of partial
    [PARTS, N, R] if there is a `later` frame; it is written to grad_r [T, N, R]. `grad_m` [T, N, C] is the gradient of
    m through the other projection, if there is one (OTHERS)."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    some_c, some_n = (c < C)[None, :], (n < N)[:, None]
    here, row = some_n & some_c, t * N + n
    at = row[:, None] * C + c[None, :]
    gate = row[:, None] * 4 * C + c[None, :]
    dm = tl.zeros([BN, BC], tl.float32)
    if PROJECTS:
        for first in range(0, R, BK):
            k = first + tl.arange(0, BK)
            fits = some_n & (k < R)[None, :]
            dr = tl.load(grad_y + row[:, None] * width + k[None, :], fits, 0)
            if later:
                for p in tl.static_range(PARTS):
                    dr += tl.load(partial + (p * N + n)[:, None] * R + k[None, :], fits, 0)
            if tl.program_id(0) == 0:
                tl.store(grad_r + row[:, None] * R + k[None, :], dr.to(grad_r.dtype.element_ty), fits)
            w = tl.load(w_rm + k[:, None] * C + c[None, :], (k < R)[:, None] & some_c, 0)
            dm = tl.dot(dr.to(FACTOR), w, dm, input_precision=PRECISION)
    else:
        dm += tl.load(grad_y + row[:, None] * width + c[None, :], here, 0)
        if later:
            for p in tl.static_range(PARTS):
                dm += tl.load(partial + (p * N + n)[:, None] * C + c[None, :], here, 0)
    if OTHERS:
        dm += tl.load(grad_m + at, here, 0).to(tl.float32)
    i, f = tl.load(gates + gate, here, 0), tl.load(gates + gate + C, here, 0)
    g, o = tl.load(gates + gate + 2 * C, here, 0), tl.load(gates + gate + 3 * C, here, 0)
    prev, cell = tl.load(cells + at, here, 0), tl.load(cells + N * C + at, here, 0)
    own = n[:, None] * C + c[None, :]  # in [N, C]
    grad, tanh_cell = tl.load(dc + own, here, 0), _tanh(cell)
    d_o = dm * tanh_cell * o * (1 - o)
    grad += dm * o * (1 - tanh_cell * tanh_cell)
    if PEEPHOLES:
        grad += d_o * tl.load(peephole + 2 * C + c, c < C, 0)[None, :]
    if CLIPS:  # a clipped cell passes no gradient
        grad = tl.where((cell >= clip) | (cell <= -clip), 0.0, grad)
    d_i, d_f, d_g = grad * g * i * (1 - i), grad * prev * f * (1 - f), grad * i * (1 - g * g)
    grad *= f
    if PEEPHOLES:
        grad += d_i * tl.load(peephole + c, c < C, 0)[None, :] + d_f * tl.load(peephole + C + c, c < C, 0)[None, :]
    dtype = d_gates.dtype.element_ty
    tl.store(d_gates + gate, d_i.to(dtype), here)
    tl.store(d_gates + gate + C, d_f.to(dtype), here)
    tl.store(d_gates + gate + 2 * C, d_g.to(dtype), here)
    tl.store(d_gates + gate + 3 * C, d_o.to(dtype), here)
    tl.store(dc + own, grad, here)


@triton.jit(do_not_specialize=["t_in", "t_out", "N"])
def product(t_in, t_out, N, a, w, out, w_row, w_col, K: tl.constexpr, J: tl.constexpr, PARTS: tl.constexpr,
            FACTOR: tl.constexpr, PRECISION: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr, BK: tl.constexpr):
    """out[t_out] = a[t_in] w, for a [.., N, K]; w [K, J] with strides `w_row` and `w_col`; out [.., N, J], float32. The
    K terms are summed in PARTS separate parts, which are written to out[t_out], out[t_out + 1] …"""
    j = tl.program_id(0) * BC + tl.arange(0, BC)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    part = tl.program_id(2)
    some_n, some_j = (n < N)[:, None], (j < J)[None, :]
    per: tl.constexpr = (K + PARTS * BK - 1) // (PARTS * BK) * BK
    total = tl.zeros([BN, BC], tl.float32)
    for first in range(0, per, BK):
        k = part * per + first + tl.arange(0, BK)
        x = tl.load(a + (t_in * N + n)[:, None] * K + k[None, :], some_n & (k < K)[None, :], 0).to(FACTOR)
        y = tl.load(w + k[:, None] * w_row + j[None, :] * w_col, (k < K)[:, None] & some_j, 0)
        total = tl.dot(x, y, total, input_precision=PRECISION)
    tl.store(out + ((t_out + part) * N + n)[:, None] * J + j[None, :], total, some_n & some_j)


@triton.jit(do_not_specialize=["rows", "N", "per"])
def sums(rows, N, per, d_gates, cells, out, C: tl.constexpr, BN: tl.constexpr, BC: tl.constexpr):
    """Sum over the `rows` of d_gates [T · N, 4, C], `per` rows in each part. Out: out [.., 7, C], float32: for each
    part the sums of the four gates and the gradients of the peepholes i, f, o."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    part = tl.program_id(1)
    s_i, s_f, s_g = tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32)
    s_o, p_i, p_f = tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32), tl.zeros([BC], tl.float32)
    p_o = tl.zeros([BC], tl.float32)
    for first in range(0, per, BN):
        n = part * per + first + tl.arange(0, BN)
        here = (n < rows)[:, None] & (c < C)[None, :]
        gate, at = d_gates + n[:, None] * 4 * C + c[None, :], cells + n[:, None] * C + c[None, :]
        d_i, d_f = tl.load(gate, here, 0).to(tl.float32), tl.load(gate + C, here, 0).to(tl.float32)
        d_g, d_o = tl.load(gate + 2 * C, here, 0).to(tl.float32), tl.load(gate + 3 * C, here, 0).to(tl.float32)
        previous, current = tl.load(at, here, 0), tl.load(at + N * C, here, 0)
        s_i += tl.sum(d_i, 0)
        s_f += tl.sum(d_f, 0)
        s_g += tl.sum(d_g, 0)
        s_o += tl.sum(d_o, 0)
        p_i += tl.sum(d_i * previous, 0)
        p_f += tl.sum(d_f * previous, 0)
        p_o += tl.sum(d_o * current, 0)
    to = out + part * 7 * C + c
    tl.store(to, s_i, c < C)
    tl.store(to + C, s_f, c < C)
    tl.store(to + 2 * C, s_g, c < C)
    tl.store(to + 3 * C, s_o, c < C)
    tl.store(to + 4 * C, p_i, c < C)
    tl.store(to + 5 * C, p_f, c < C)
    tl.store(to + 6 * C, p_o, c < C)
