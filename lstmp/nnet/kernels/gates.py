"""The element-wise part of :class:`lstmp.nnet.cell.LstmpChunk`, frame by frame, in PyTorch and compiled.

:class:`Gates` is the reference and works on any device; :class:`CompiledGates` does the same for float32 on a CPU in
one pass over memory (kernels.cpp). :func:`gates_for` chooses between them. The tensors belong to a chunk of T frames,
N streams and C cells, with the gates in the order i, f, c, o.
"""

import ctypes
import math

import torch

from lstmp.native import library

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * y * (1 - y), for y = sigmoid(x)
_tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y²), for y = tanh(x)
FLAGS = ("-fno-math-errno", "-fno-trapping-math")  # without these the compiler does not vectorize comparisons


class Gates:
    """The reference in PyTorch, for any device and floating-point dtype.

    Args:
        gates: [T, N, 4, C] inputs of the gates without the peephole terms; replaced frame by frame by the activations.
        cells: [T + 1, N, C]; index 0 holds the cells before the chunk, the rest is filled in.
        tanh_c: [T, N, C], filled in with tanh of the cells.
        outs: [T, N, C], filled in with m of :mod:`lstmp.nnet.cell`.
        peephole: [3, C] or None.
        clip: cells are clipped to [-clip, clip]; or None.
    """

    def __init__(self, gates, cells, tanh_c, outs, peephole, clip):
        self.gates, self.cells, self.tanh_c, self.outs = gates, cells, tanh_c, outs
        self.peephole, self.clip = peephole, clip

    def forward(self, t: int):
        """Compute activations, cells and outputs of frame t from the gates' inputs."""
        gates, cell, new = self.gates[t], self.cells[t], self.cells[t + 1]
        in_forget, cand, out_gate = gates[:, :2], gates[:, 2], gates[:, 3]
        if self.peephole is not None:
            in_forget.addcmul_(cell.unsqueeze(1), self.peephole[:2])
        in_forget.sigmoid_()
        cand.tanh_()
        torch.mul(in_forget[:, 1], cell, out=new).addcmul_(in_forget[:, 0], cand)
        if self.clip is not None:
            new.clamp_(-self.clip, self.clip)
        if self.peephole is not None:
            out_gate.addcmul_(new, self.peephole[2])
        out_gate.sigmoid_()
        torch.tanh(new, out=self.tanh_c[t])
        torch.mul(out_gate, self.tanh_c[t], out=self.outs[t])

    def start_backward(self) -> torch.Tensor:
        """Allocate and return the gradient of the gates' inputs, [T, N, 4, C], which :meth:`backward` fills in.

        Derivatives that do not depend on later frames are computed here for the whole chunk: `d_gates` first holds the
        factors by which dm (for o) or dc (for the other gates) will be multiplied.
        """
        in_gate, forget, cand, out_gate = self.gates.unbind(2)
        self.d_gates = torch.empty_like(self.gates)
        d_i, d_f, d_c, d_o = self.d_gates.unbind(2)
        _sigmoid_backward(cand, in_gate, grad_input=d_i)
        _sigmoid_backward(self.cells[:-1], forget, grad_input=d_f)
        _tanh_backward(in_gate, cand, grad_input=d_c)
        _sigmoid_backward(self.tanh_c, out_gate, grad_input=d_o)
        self.dm_to_dc = torch.empty_like(self.tanh_c)
        _tanh_backward(out_gate, self.tanh_c, grad_input=self.dm_to_dc)
        self.inside = None if self.clip is None else (self.cells[1:].abs() < self.clip).to(self.cells.dtype)
        return self.d_gates

    def backward(self, t: int, dm, dc):
        """Fill ``d_gates[t]`` from the gradient ``dm`` of m_t; turn ``dc``, the gradient of c_t, into that of c_{t-1}.

        Must be called from the last frame to the first.
        """
        d_gates, peephole = self.d_gates[t], self.peephole
        d_gates[:, 3].mul_(dm)
        dc.addcmul_(dm, self.dm_to_dc[t])
        if peephole is not None:
            dc.addcmul_(d_gates[:, 3], peephole[2])
        if self.inside is not None:
            dc.mul_(self.inside[t])
        d_gates[:, :3].mul_(dc.unsqueeze(1))
        dc.mul_(self.gates[t, :, 1])
        if peephole is not None:
            dc.addcmul_(d_gates[:, 0], peephole[0]).addcmul_(d_gates[:, 1], peephole[1])

    def sums(self):
        """The gradients of the bias, [4C], and of the peepholes, [3, C] or None, once all frames are done."""
        d_bias = self.d_gates.flatten(2).sum((0, 1))
        if self.peephole is None:
            return d_bias, None
        d_i, d_f, _, d_o = self.d_gates.unbind(2)
        previous, current = self.cells[:-1], self.cells[1:]
        return d_bias, torch.stack([(d_i * previous).sum((0, 1)), (d_f * previous).sum((0, 1)),
                                    (d_o * current).sum((0, 1))])


class CompiledGates(Gates):
    """The same by kernels.cpp, for contiguous float32 tensors on a CPU."""

    def __init__(self, gates, cells, tanh_c, outs, peephole, clip):
        super().__init__(gates, cells, tanh_c, outs, peephole, clip)
        library = kernels()
        assert library is not None
        self._library = library
        self._sizes = [ctypes.c_int64(n) for n in cells.shape[1:]]
        self._clip = ctypes.c_float(math.inf if clip is None else clip)
        self._peephole = None if peephole is None else peephole.contiguous()

    def forward(self, t: int):
        self._library.lstmp_gates_forward(
            *self._sizes, address(self.gates[t]), address(self.cells[t]), address(self._peephole), self._clip,
            address(self.cells[t + 1]), address(self.tanh_c[t]), address(self.outs[t]))

    def start_backward(self) -> torch.Tensor:
        self.d_gates = torch.empty_like(self.gates)
        self.d_bias = self.gates.new_zeros(self.gates[0, 0].numel())
        self.d_peephole = None if self._peephole is None else torch.zeros_like(self._peephole)
        return self.d_gates

    def backward(self, t: int, dm, dc):
        self._library.lstmp_gates_backward(
            *self._sizes, address(self.gates[t]), address(self.cells[t]), address(self.cells[t + 1]),
            address(self.tanh_c[t]), address(self._peephole), self._clip, address(dm), address(dc),
            address(self.d_gates[t]), address(self.d_bias), address(self.d_peephole))

    def sums(self):
        return self.d_bias, self.d_peephole


def kernels() -> ctypes.CDLL | None:
    """The compiled kernels, or None if they are not available."""
    return library("nnet/kernels/kernels.cpp", *FLAGS)


def compiled(*tensors) -> bool:
    """Whether the kernels can compute with these tensors (None is ignored)."""
    supported = all(x.dtype == torch.float32 and x.device.type == "cpu" for x in tensors if x is not None)
    return supported and kernels() is not None


def gates_for(gates, cells, tanh_c, outs, peephole, clip) -> Gates:
    """:class:`CompiledGates` if the kernels support these contiguous tensors, else :class:`Gates`."""
    gates_class = CompiledGates if compiled(gates, cells, peephole) else Gates
    return gates_class(gates, cells, tanh_c, outs, peephole, clip)


def address(tensor) -> ctypes.c_void_p:
    """The address of a tensor for a kernel, null for None. The tensor must live until the kernel returns."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
