"""Calls the fused CPU kernels of fused.cpp: an LSTMP layer over a whole chunk, and the output layer with its loss.

The factors of the matrix products have one of four precisions; sums and everything else are float32:

- `fp32`: float32, on processors with AVX-512, AVX2 or NEON.
- `bf16`: bfloat16, on processors with AMX, AVX512_BF16 (AMD since Zen 4) or ARM's BF16. The activations stored for the
  backward pass are bfloat16 too, and with fewer than 49 streams also the products of a layer's input with the weights
  of the gates.
- `bf16x3`: a float32 factor is rounded to the sum of two bfloat16 numbers, 16 bits of mantissa, and a product of two
  factors is computed as 3 bfloat16 products, on processors with AMX. Replaces `fp32` and `bf16x6` where
  ``torch.set_float32_matmul_precision`` allows it, as in training (:func:`reduced_precision`): 1.5 times as fast.
  Infinity becomes NaN.
- `bf16x6`: a float32 factor is the sum of three bfloat16 numbers, 24 bits of mantissa as in float32, and a product is
  computed as 6 bfloat16 products (three more are below float32's rounding and are left out), on processors with AMX.
  Replaces `fp32` there: as exact for numbers above 1e-31, and faster. Infinity becomes NaN.

All but `bf16` on AMX need 8 or more streams. In all other cases :mod:`lstmp.nnet.cell` and :mod:`lstmp.nnet.loss`
compute with PyTorch, frame by frame. The environment variable ``LSTMP_FUSED`` lists the precisions that may be used;
default: ``bf16 bf16x3 bf16x6 fp32``.
"""

import contextlib
import ctypes
import math
import os
import platform
import threading
from dataclasses import replace

import torch

from lstmp.errors import UserError
from lstmp.native import library
from lstmp.nnet.kernels.gates import address

_READY_BITS = {"bf16": 2, "bf16x3": 4, "bf16x6": 4, "fp32": 1}  # bits of lstmp_fused_ready's result
_STORAGE = {"bf16": (torch.bfloat16, 1), "bf16x3": (torch.int32, 1), "bf16x6": (torch.int16, 3),
            "fp32": (torch.float32, 1)}  # (dtype, numbers of it) that take as many bytes as one factor
_ALL = " ".join(_READY_BITS)
_FLAGS = ("-fno-math-errno",)
MIN_STREAMS = 8  # the kernels compute 16 at a time: with fewer than 8, PyTorch is as fast, unless AMX computes bf16
_reduced_lock = threading.Lock()
_reduced_users: list[str] = []


def kernels(precision: str) -> ctypes.CDLL | None:
    """The compiled kernels for a precision, or None if they or the processor's instructions are not available.

    Raises:
        UserError: LSTMP_FUSED names an unknown precision.
    """
    allowed = os.environ.get("LSTMP_FUSED", _ALL).replace(",", " ").split()
    if unknown := set(allowed) - set(_READY_BITS):
        raise UserError(f"LSTMP_FUSED names `{min(unknown)}`", hint=f"set it to `{_ALL}`, some of these, or nothing")
    if precision not in allowed:
        return None
    compiled = library("nnet/kernels/fused.cpp", *_FLAGS)
    return compiled if compiled is not None and compiled.lstmp_fused_ready() & _READY_BITS[precision] else None


def fits(x, bf16: bool) -> bool:
    """Whether the kernels can compute with ``x``, float32 [.., N, ..] on a CPU, with N streams or rows."""
    if x.dtype != torch.float32 or x.device.type != "cpu" or not x.numel():
        return False
    if x.shape[-2] < MIN_STREAMS and not (bf16 and has_amx()):
        return False
    return kernels(current_precision(bf16)) is not None


def has_amx() -> bool:
    """Whether the kernels use AMX for `bf16`."""
    compiled = kernels("bf16")
    return compiled is not None and bool(compiled.lstmp_fused_ready() & _READY_BITS["bf16x3"])


def has_bf16_products() -> bool:
    """Whether PyTorch multiplies large matrices faster in bfloat16 than in float32 here: with AMX or AVX512_BF16."""
    return kernels("bf16") is not None and platform.machine().lower() in ("x86_64", "amd64")


def current_precision(bf16: bool) -> str:
    """The precision that torch's present settings select: `bf16` if ``bf16``, otherwise one for float32 factors."""
    if bf16:
        return "bf16"
    if torch.get_float32_matmul_precision() != "highest" and kernels("bf16x3"):
        return "bf16x3"
    return "bf16x6" if kernels("bf16x6") else "fp32"


@contextlib.contextmanager
def reduced_precision():
    """Allow reduced-precision float32 products inside this block: TF32 on a GPU, as cuDNN's recurrent networks use it,
    and `bf16x3` on a CPU. The setting applies to all threads and ends with the last of the overlapping blocks."""
    with _reduced_lock:
        _reduced_users.append(torch.get_float32_matmul_precision())
        if _reduced_users[0] == "highest":
            torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        with _reduced_lock:
            original = _reduced_users[0]
            _reduced_users.pop()
            if not _reduced_users:
                torch.set_float32_matmul_precision(original)


def resolve_precision(cfg, device: str):
    """Replace `precision: auto` of an LstmpConfig: by bf16 if it is fast here and the network has it, else by fp32."""
    if cfg.precision != "auto":
        return cfg
    if device == "cpu":
        fast = has_bf16_products() or cfg.kind == "lstmp" and kernels("bf16") is not None
    else:
        fast = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    return replace(cfg, precision="bf16" if fast and cfg.kind != "rnn" else "fp32")


@reduced_precision()
def training_precision(cfg, device: str) -> str:
    """The precision of factors with which a network of an LstmpConfig is trained, wherever the kernels apply."""
    if cfg.precision == "bf16":
        return "bf16"
    if device != "cpu":
        return "tf32"
    return current_precision(False) if cfg.kind == "lstmp" else "fp32"


def forward(x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm, clip, bf16: bool):
    """Run a layer over a chunk; arguments and first two results as those of :class:`lstmp.nnet.cell.LstmpChunk`.

    Returns:
        y, c_T, and a tuple of tensors for :func:`backward`.

    Raises:
        RuntimeError: a tensor's shape does not fit the others' shapes, or its dtype is not float32.
    """
    x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm = tensors = [
        None if a is None else a.detach().contiguous() for a in (x, r_0, c_0, w_x, w_r, bias, peephole, w_rm, w_pm)]
    frames, streams, inputs = x.shape
    cells, recs, others = c_0.shape[1], r_0.shape[1], 0 if w_pm is None else len(w_pm)
    _check_shapes(tensors, [(frames, streams, inputs), (streams, recs), (streams, cells), (4 * cells, inputs),
                            (4 * cells, recs), (4 * cells,), (3, cells), (recs, cells), (others, cells)])
    if w_rm is None and (recs != cells or others):
        raise RuntimeError(f"without a recurrent projection r has {cells} columns, and there is no other projection")
    if not recs:
        raise RuntimeError("a recurrent projection without columns")
    tiles, wide = -(-streams // 16), -(-cells // 32) * 32  # streams and cells come in blocks of 16 and 32
    y = x.new_empty(frames, streams, recs + others)
    c_last = x.new_empty(streams, cells)
    precision = current_precision(bf16)
    dtype, count = _STORAGE[precision]
    gates = x.new_empty(frames * tiles * 16 * 4 * wide, dtype=torch.bfloat16 if bf16 else torch.float32)
    all_cells = x.new_empty((frames + 1) * tiles * 16 * wide)
    m = x.new_empty(0 if w_rm is None else count * frames * tiles * 16 * wide, dtype=dtype)
    _call("forward", precision, _sizes(x, w_x, r_0, w_pm), *tensors, _clip_value(clip), y, c_last, gates, all_cells, m)
    return y, c_last, (x, r_0, w_x, w_r, peephole, w_rm, w_pm, y, gates, all_cells, m)


def backward(saved, clip, grad_y, grad_c, needs_x: bool = True, needs_r0: bool = True):
    """Compute the gradients of all arguments of :func:`forward` except the clip, in their order.

    Args:
        saved: the tuple that forward returned.
        grad_y, grad_c: gradients of y and c_T.
        needs_x, needs_r0: if False, the gradient of x or r_0 is not computed and None is returned for it.
    """
    x, r_0, w_x, w_r, peephole, w_rm, w_pm, y, gates, all_cells, m = saved
    dc = grad_c.clone(memory_format=torch.contiguous_format)
    d_x = torch.empty_like(x) if needs_x else None
    d_r0 = torch.empty_like(r_0) if needs_r0 else None
    d_bias = w_x.new_empty(len(w_x))
    d_w_x, d_w_r, d_peephole, d_w_rm, d_w_pm = (
        None if w is None else torch.empty_like(w) for w in (w_x, w_r, peephole, w_rm, w_pm))
    precision = next(name for name, (dtype, _) in _STORAGE.items() if dtype == m.dtype)  # as in the forward pass
    _call("backward", precision, _sizes(x, w_x, r_0, w_pm), x, r_0, w_x, w_r, peephole, w_rm, w_pm,
          _clip_value(clip), y, gates, all_cells, m, grad_y.contiguous(), dc, d_x, d_r0, d_w_x, d_w_r, d_bias,
          d_peephole, d_w_rm, d_w_pm)
    return d_x, d_r0, dc, d_w_x, d_w_r, d_bias, d_peephole, d_w_rm, d_w_pm


def cross_entropy(y, weight, bias, targets, frames, bf16: bool, with_grads: bool = True):
    """Compute loss and correct frames as :class:`lstmp.nnet.loss.FrameCrossEntropy`, and the gradients of its inputs.

    Returns:
        The loss, the number of correct frames, and the gradients of y, weight and bias (None without ``with_grads``).

    Raises:
        RuntimeError: a tensor's shape does not fit the others' shapes, or its dtype is not float32.
        IndexError: a target is not below the number of states.
    """
    y, weight, bias = tensors = [a.detach().contiguous() for a in (y, weight, bias)]
    _check_shapes(tensors, [(len(y), y.shape[1]), (len(weight), y.shape[1]), (len(weight),)])
    check_targets(targets, *[len(a) for a in (y, weight)])
    grads = [torch.empty_like(a) if with_grads else None for a in tensors]
    loss, hits = ctypes.c_double(), ctypes.c_int64()
    _call("output", current_precision(bf16), *map(ctypes.c_int64, (*y.shape, len(weight))), *tensors,
          targets.contiguous(), ctypes.c_float(1 / frames), *grads, ctypes.byref(loss), ctypes.byref(hits))
    return y.new_tensor(loss.value / frames), torch.tensor(hits.value), grads


def check_targets(targets, rows: int, states: int):
    """Check what a kernel relies on: targets are int64 [rows], and all are below ``states``.

    Raises:
        RuntimeError: another shape or dtype.
        IndexError: a target is not below ``states``.
    """
    if targets.dtype != torch.int64 or targets.shape != (rows,):
        raise RuntimeError(f"targets {targets.dtype} of shape {list(targets.shape)}, not int64 of shape [{rows}]")
    if rows and int(targets.max()) >= states:
        raise IndexError(f"target {int(targets.max())} of {states} states")


def _check_shapes(tensors, shapes):
    for tensor, shape in zip(tensors, shapes, strict=True):
        if tensor is not None and (tensor.shape != shape or tensor.dtype != torch.float32):
            raise RuntimeError(f"{tensor.dtype} of shape {list(tensor.shape)}, not float32 of shape {list(shape)}")


def _call(name: str, precision: str, *args):
    """Call a kernel. Tensors are passed by address; ``args`` keeps them alive until the kernel returns."""
    function = getattr(library("nnet/kernels/fused.cpp", *_FLAGS), f"lstmp_{name}_{precision}")
    function(*(address(a) if a is None or torch.is_tensor(a) else a for a in args))


def _sizes(x, w_x, r_0, w_pm):
    """Frames, streams, inputs, cells, recurrent projections, other projections."""
    return (ctypes.c_int64 * 6)(*x.shape, len(w_x) // 4, r_0.shape[1], 0 if w_pm is None else len(w_pm))


def _clip_value(clip) -> ctypes.c_float:
    return ctypes.c_float(math.inf if clip is None else clip)
