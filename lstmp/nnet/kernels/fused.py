"""A chunk of an LSTMP layer, and the output layer with its loss, in one call each: fused.cpp, on a CPU.

The factors of the matrix products are of one of four kinds; sums and everything else are float32:

- `fp32`: float32, on processors with AVX-512.
- `bf16x6`: float32 as the sum of three bfloat16 numbers, 24 bits of mantissa as well, so that a product of two is six
  (the three least, below float32's rounding, are left out), on processors with AMX, in the place of `fp32`: as exact
  for numbers above 1e-31, and quicker. Infinity becomes NaN.
- `bf16x3`: sums of two bfloat16 numbers, 16 bits of mantissa, and a product is three. In the place of both where
  ``torch.set_float32_matmul_precision`` allows it, as in training (:func:`quick_products`): half as fast again.
  Infinity becomes NaN.
- `bf16`: bfloat16, on processors with AMX. So are the activations kept for the way back and, with fewer than 49
  streams, what the gates get from a layer's input.

All but the last want 8 streams or more. Elsewhere :mod:`lstmp.nnet.cell` and :mod:`lstmp.nnet.loss` do it with PyTorch,
frame by frame. ``LSTMP_FUSED`` says what may be used: where it is not set, ``bf16 bf16x3 bf16x6 fp32``.
"""

import contextlib
import ctypes
import math
import os
import threading
from dataclasses import replace

import torch

from lstmp.errors import UserError
from lstmp.native import library
from lstmp.nnet.kernels.gates import address

_BITS = {"bf16": 2, "bf16x3": 2, "bf16x6": 2, "fp32": 1}  # of lstmp_fused_ready
_NUMBERS = {"bf16": (torch.bfloat16, 1), "bf16x3": (torch.int32, 1), "bf16x6": (torch.int16, 3),
            "fp32": (torch.float32, 1)}  # what is as large as a factor
_ALL = " ".join(_BITS)
_FLAGS = ("-fno-math-errno",)
_FEW_STREAMS = 8  # 16 are computed at a time: with fewer than these PyTorch is as fast in float32
_quick = threading.Lock()
_users: list = []


def kernels(kind: str) -> ctypes.CDLL | None:
    """The compiled kernels for a kind of factors, or None where they or the processor's part are not to be had.

    Raises:
        UserError: LSTMP_FUSED names something else.
    """
    allowed = os.environ.get("LSTMP_FUSED", _ALL).replace(",", " ").split()
    if unknown := set(allowed) - set(_BITS):
        raise UserError(f"LSTMP_FUSED names `{min(unknown)}`", hint=f"set it to `{_ALL}`, some of these, or nothing")
    if kind not in allowed:
        return None
    found = library("nnet/kernels/fused.cpp", *_FLAGS)
    return found if found is not None and found.lstmp_fused_ready() & _BITS[kind] else None


def fits(x, bf16: bool) -> bool:
    """Whether the kernels work on ``x``, [.., N, ..] with N streams or rows: float32 on a CPU."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or not x.numel():
        return False
    return (bf16 or x.shape[-2] >= _FEW_STREAMS) and kernels(kind_of(bf16)) is not None


def kind_of(bf16: bool) -> str:
    """The kind of factors that is used now."""
    if bf16:
        return "bf16"
    if torch.get_float32_matmul_precision() != "highest" and kernels("bf16x3"):
        return "bf16x3"
    return "bf16x6" if kernels("bf16x6") else "fp32"


@contextlib.contextmanager
def quick_products():
    """Let the factors of float32 products have some bits less meanwhile, where that is quicker: TF32 on a GPU, as
    cuDNN's recurrent networks have it, `bf16x3` on a CPU. It holds for all threads, until the last that asked for it
    is done."""
    with _quick:
        _users.append(torch.get_float32_matmul_precision())
        if _users[0] == "highest":
            torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        with _quick:
            before = _users[0]
            _users.pop()
            if not _users:
                torch.set_float32_matmul_precision(before)


def settled(cfg, device: str):
    """An LstmpConfig whose `precision` is not `auto`: bf16 where that is quick and the network can have it."""
    if cfg.precision != "auto":
        return cfg
    if device == "cpu":
        quick = kernels("bf16") is not None
    else:
        quick = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    return replace(cfg, precision="bf16" if quick and cfg.kind != "rnn" else "fp32")


@quick_products()
def factors_of(cfg, device: str) -> str:
    """The kind of factors that a network of an LstmpConfig has in training, where all is as the kernels want it."""
    if cfg.precision == "bf16":
        return "bf16"
    if device != "cpu":
        return "tf32"
    return kind_of(False) if cfg.kind == "lstmp" else "fp32"


def forward(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16: bool):
    """A layer over a chunk; arguments and the first two results as those of :class:`lstmp.nnet.cell.LstmpChunk`.

    Returns:
        y, c_T, and the tensors that :func:`backward` asks for.

    Raises:
        RuntimeError: a tensor's shape does not fit the others', or it is of another kind of number.
    """
    x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm = given = [
        None if a is None else a.detach().contiguous() for a in (x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm)]
    frames, streams, inputs = x.shape
    cells, recs, others = c_0.shape[1], r_0.shape[1], 0 if w_pm is None else len(w_pm)
    _insist(given, [(frames, streams, inputs), (streams, recs), (streams, cells), (4 * cells, inputs),
                    (4 * cells, recs), (4 * cells,), (3, cells), (recs, cells), (others, cells)])
    if w_rm is None and (recs != cells or others):
        raise RuntimeError(f"without a recurrent projection r has {cells} columns, and there is no other projection")
    if not recs:
        raise RuntimeError("a recurrent projection without columns")
    tiles, wide = -(-streams // 16), -(-cells // 32) * 32  # streams and cells come in blocks of 16 and 32
    y = x.new_empty(frames, streams, recs + others)
    c_last = x.new_empty(streams, cells)
    kind = kind_of(bf16)
    number, count = _NUMBERS[kind]
    gates = x.new_empty(frames * tiles * 16 * 4 * wide, dtype=torch.bfloat16 if bf16 else torch.float32)
    kept = x.new_empty((frames + 1) * tiles * 16 * wide)
    m = x.new_empty(0 if w_rm is None else count * frames * tiles * 16 * wide, dtype=number)
    _call("forward", kind, _sizes(x, w_x, r_0, w_pm), *given, _bound(clip), y, c_last, gates, kept, m)
    return y, c_last, (x, r_0, w_x, w_r, peephole, w_rm, w_pm, y, gates, kept, m)


def backward(saved, clip, grad_y, grad_c, needs_x: bool = True, needs_r0: bool = True):
    """The gradients of all arguments of :func:`forward` but the clip, in their order.

    Args:
        saved: what forward left.
        grad_y, grad_c: gradients of y and c_T.
        needs_x, needs_r0: without them, None stands for the gradients of x and r_0.
    """
    x, r_0, w_x, w_r, peephole, w_rm, w_pm, y, gates, kept, m = saved
    dc = grad_c.clone(memory_format=torch.contiguous_format)
    d_x = torch.empty_like(x) if needs_x else None
    d_r0 = torch.empty_like(r_0) if needs_r0 else None
    d_bias = w_x.new_empty(len(w_x))
    d_w_x, d_w_r, d_peephole, d_w_rm, d_w_pm = (
        None if w is None else torch.empty_like(w) for w in (w_x, w_r, peephole, w_rm, w_pm))
    kind = next(kind for kind, (number, _) in _NUMBERS.items() if number == m.dtype)
    _call("backward", kind, _sizes(x, w_x, r_0, w_pm), x, r_0, w_x, w_r, peephole, w_rm, w_pm,
          _bound(clip), y, gates, kept, m, grad_y.contiguous(), dc, d_x, d_r0, d_w_x, d_w_r, d_bias, d_peephole, d_w_rm,
          d_w_pm)
    return d_x, d_r0, dc, d_w_x, d_w_r, d_bias, d_peephole, d_w_rm, d_w_pm


def cross_entropy(y, weight, bias, targets, frames, bf16: bool, with_grads: bool = True):
    """Loss and correct frames as :class:`lstmp.nnet.loss.FrameCrossEntropy`, and the gradients of y, weight and bias.

    Raises:
        RuntimeError: a tensor's shape does not fit the others', or it is of another kind of number.
        IndexError: a target that is no state.
    """
    y, weight, bias = given = [a.detach().contiguous() for a in (y, weight, bias)]
    _insist(given, [(len(y), y.shape[1]), (len(weight), y.shape[1]), (len(weight),)])
    check_targets(targets, *[len(a) for a in (y, weight)])
    grads = [torch.empty_like(a) if with_grads else None for a in given]
    loss, hits = ctypes.c_double(), ctypes.c_int64()
    _call("output", kind_of(bf16), *map(ctypes.c_int64, (*y.shape, len(weight))), *given, targets.contiguous(),
          ctypes.c_float(1 / frames), *grads, ctypes.byref(loss), ctypes.byref(hits))
    return y.new_tensor(loss.value / frames), torch.tensor(hits.value), grads


def check_targets(targets, rows: int, states: int):
    """What a kernel relies on: int64 [rows], below ``states``.

    Raises:
        RuntimeError: another shape or kind.
        IndexError: a target that is no state.
    """
    if targets.dtype != torch.int64 or targets.shape != (rows,):
        raise RuntimeError(f"targets {targets.dtype} of shape {list(targets.shape)}, not int64 of shape [{rows}]")
    if rows and int(targets.max()) >= states:
        raise IndexError(f"target {int(targets.max())} of {states} states")


def _insist(tensors, shapes):
    for tensor, shape in zip(tensors, shapes, strict=True):
        if tensor is not None and (tensor.shape != shape or tensor.dtype != torch.float32):
            raise RuntimeError(f"{tensor.dtype} of shape {list(tensor.shape)} where float32 of {list(shape)} belongs")


def _call(name: str, kind: str, *args):
    """Call a kernel; tensors go by their addresses, and live until it returns."""
    function = getattr(library("nnet/kernels/fused.cpp", *_FLAGS), f"lstmp_{name}_{kind}")
    function(*(address(a) if a is None or torch.is_tensor(a) else a for a in args))


def _sizes(x, w_x, r_0, w_pm):
    """Frames, streams, inputs, cells, recurrent projections, others."""
    return (ctypes.c_int64 * 6)(*x.shape, len(w_x) // 4, r_0.shape[1], 0 if w_pm is None else len(w_pm))


def _bound(clip) -> ctypes.c_float:
    return ctypes.c_float(math.inf if clip is None else clip)
