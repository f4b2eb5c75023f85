"""Runs LSTMP layers forward only, with weights packed once: for scoring in decoding, offline and live.

The weights of the recurrence can be shorter than float32:

- `fp32`: float32, the same results as the layer's up to rounding.
- `bf16`: each weight is rounded to bfloat16, 8 bits of mantissa.
- `int8`: each weight is a whole number from -127 to 127 times a factor, one for each output and 32 inputs.

Only weights are rounded: inputs, sums, cells and all element-wise computations are float32. All three need AVX2,
AVX-512 or NEON; without, the layer computes with rounded weights in float32: the same results, more slowly.
On processors with instructions for bfloat16, several streams are scored by :mod:`lstmp.nnet.kernels.fused` instead:
with AMX whatever the weights, as that is faster; elsewhere for `bf16`. For `bf16` it rounds both factors of all
products, so that the scores of an utterance depend, by these roundings, on whether it is scored alone.
"""

import ctypes
import math

import torch

from lstmp.native import library
from lstmp.nnet.kernels.gates import address

WEIGHTS = ("fp32", "bf16", "int8")
_GROUP = 32  # inputs that share a factor of int8
_FLAGS = ("-fno-math-errno", "-fno-trapping-math")


def kernels() -> ctypes.CDLL | None:
    """The compiled kernels, or None if they or the processor's instructions are not available."""
    compiled = library("nnet/kernels/scoring.cpp", *_FLAGS)
    if compiled is None or not compiled.lstmp_scoring_ready():
        return None
    for name in WEIGHTS:
        getattr(compiled, f"lstmp_packed_bytes_{name}").restype = ctypes.c_int64
    return compiled


class PackedLayer:
    """The recurrence of an :class:`lstmp.nnet.layers.LstmpLayer` on a CPU, with its weights packed.

    Args:
        layer: the layer, with float32 parameters; later changes of its parameters have no effect.
        weights: one of ``WEIGHTS``.
    """

    def __init__(self, layer, weights: str):
        self._score, self._layer = _function("score", weights), layer
        self._w_r = _packed(layer.w_r, 4, weights)
        self._w_rm = None if layer.w_rm is None else _packed(layer.w_rm, 1, weights)

    def fits(self, x: torch.Tensor) -> bool:
        """Whether ``x`` is an input that can be computed: float32 on a CPU, and no gradient is asked for."""
        return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_grad_enabled()

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, r: torch.Tensor, c: torch.Tensor):
        """Run the layer over a chunk.

        Args:
            x: float32 [T, N, I], T frames of N streams.
            r: [N, R] and c: [N, C], the state before the first frame.

        Returns:
            y [T, N, R + P], and r and c after the last frame.
        """
        layer, (frames, streams, inputs) = self._layer, x.shape
        from_x = torch.addmm(layer.bias, x.reshape(frames * streams, inputs), layer.w_x.t())
        r, c = r.clone(memory_format=torch.contiguous_format), c.clone(memory_format=torch.contiguous_format)
        y = x.new_empty(frames, streams, layer.rec)
        m = None if layer.w_pm is None else x.new_empty(frames, streams, layer.cells)
        peephole = None if layer.peephole is None else layer.peephole.detach().contiguous()
        sizes = (ctypes.c_int64 * 4)(frames, streams, layer.cells, layer.rec)
        clip = ctypes.c_float(math.inf if layer.clip is None else layer.clip)
        self._score(sizes, address(from_x), address(peephole), address(self._w_r), address(self._w_rm), clip,
                    address(r), address(c), address(y), address(m))
        return (y if m is None else torch.cat([y, torch.matmul(m, layer.w_pm.t())], 2)), r, c


def rounded(w: torch.Tensor, weights: str) -> torch.Tensor:
    """The weights [outputs, inputs] as the packed ones are, in float32: the reference of the kernels."""
    if weights == "fp32":
        return w
    if weights == "bf16":
        return w.bfloat16().float()
    padded = torch.nn.functional.pad(w, (0, -w.shape[1] % _GROUP)).unflatten(1, (-1, _GROUP))
    scale = padded.abs().amax(2, keepdim=True) / 127
    numbers = torch.where(scale > 0, padded / scale, torch.zeros(())).round()
    return (numbers * scale).flatten(1)[:, :w.shape[1]].contiguous()


def _packed(w: torch.Tensor, gates: int, weights: str) -> torch.Tensor:
    w = w.detach().contiguous()
    units, inputs = len(w) // gates, w.shape[1]
    size = _function("packed_bytes", weights)(ctypes.c_int64(gates * -(-units // 16)), ctypes.c_int64(inputs))
    out = torch.empty(size, dtype=torch.uint8)
    _function("pack", weights)(address(w), ctypes.c_int64(gates), ctypes.c_int64(units), ctypes.c_int64(inputs),
                               address(out))
    return out


def _function(name: str, weights: str):
    return getattr(kernels(), f"lstmp_{name}_{weights}")
