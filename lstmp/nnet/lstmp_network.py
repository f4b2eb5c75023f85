"""A deep LSTM with peepholes and projections for use in any PyTorch project: :class:`LstmpNetwork`.

The acoustic model of the recognizer, which adds feature normalization and an output layer over tied states, is
:class:`lstmp.nnet.model.StateNetwork`. Both are stacks of :class:`lstmp.nnet.layers.LstmpLayer`.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.layers import Bidirectional, LstmpLayer, reverse_time

State = tuple[torch.Tensor, torch.Tensor]
_SATURATED = 1e4  # σ(10,000) is 1 and σ(-10,000) is 0, in float32 and in float64


class LstmpNetwork(nn.Module):
    r"""Layers of LSTM cells with peepholes, and with a recurrent and a non-recurrent projection (LSTMP).

    H. Sak, A. Senior, F. Beaufays, "Long short-term memory based recurrent neural network architectures for large
    vocabulary speech recognition", 2014 (arXiv 1402.1128), equations 7 to 14. For each frame t, with σ the logistic
    function and ⊙ the element-wise product::

        i_t = σ(W_ix x_t + W_ir r_{t-1} + w_ic ⊙ c_{t-1} + b_i)                 input gate
        f_t = σ(W_fx x_t + W_fr r_{t-1} + w_fc ⊙ c_{t-1} + b_f)                 forget gate
        c_t = f_t ⊙ c_{t-1} + i_t ⊙ tanh(W_cx x_t + W_cr r_{t-1} + b_c)       cells, clipped to ±cell_clip
        o_t = σ(W_ox x_t + W_or r_{t-1} + w_oc ⊙ c_t + b_o)                     output gate
        m_t = o_t ⊙ tanh(c_t)
        r_t = W_rm m_t                                                          recurrent, and part of the output
        p_t = W_pm m_t                                                          part of the output only
        y_t = (r_t, p_t) concatenated                                           input of the layer above

    Without a recurrent projection r_t = m_t; without peepholes the terms in w_ic, w_fc, w_oc are absent. Clipping is
    from the paper as well (section 3); the gradient of a clipped cell is zero.

    T is the number of frames, N the number of sequences, I the ``input_size``, C the ``cells``, R the
    ``recurrent_projection`` (C if that is 0), P the ``projection``, L the ``num_layers``; D is 2 for a bidirectional
    network, else 1.

    Args:
        input_size: I.
        cells: C.
        recurrent_projection: R; 0: no projection, r_t = m_t.
        projection: P; 0: none. Needs a recurrent projection.
        num_layers: L.
        peepholes: whether the gates have peephole connections to the cells.
        cell_clip: bound of the cells; 0: none.
        dropout: in training, the probability with which an output of a layer other than the last is zeroed. Recurrent
            connections have no dropout (Zaremba et al., arXiv 1409.2329).
        bidirectional: each layer has a second set of cells that reads the sequences from their ends; the outputs of
            both directions are concatenated.
        batch_first: x and y are [N, T, ...] instead of [T, N, ...]; states are not affected.
        bf16: round the factors of matrix products to bfloat16, with float32 parameters: several times as fast on a
            processor with AMX and on a GPU.
        device, dtype: device and dtype of the parameters.

    Parameters of layer k, with the gates stacked in the order i, f, c, o (``layers.k.ahead`` and ``layers.k.back``
    instead of ``layers.k`` if bidirectional)::

        layers.k.w_x       [4C, I]       I is D (R + P) above the first layer
        layers.k.w_r       [4C, R]
        layers.k.bias      [4C]
        layers.k.peephole  [3, C]        w_ic, w_fc, w_oc; absent without peepholes
        layers.k.w_rm      [R, C]        absent without recurrent projection
        layers.k.w_pm      [P, C]        absent without projection

    In float32 the recurrence runs in compiled kernels: over whole chunks on processors with AVX2 or NEON, by Triton
    on GPUs of compute capability 8.0 or later. Everywhere else, and in float64, it runs in PyTorch. The first use
    compiles the kernels, which takes some seconds. Second derivatives are not supported. Under ``torch.autocast`` the
    network computes in the parameters' dtype.

    Example::

        network = LstmpNetwork(40, 1024, recurrent_projection=512, projection=256, num_layers=2)
        y, state = network(torch.randn(20, 8, 40))      # y [20, 8, 768]

    Raises:
        ValueError: a size or option is out of range.
    """

    layers: Any  # a ModuleList of LstmpLayer or Bidirectional

    def __init__(self, input_size: int, cells: int, recurrent_projection: int = 0, projection: int = 0,
                 num_layers: int = 1, *, peepholes: bool = True, cell_clip: float = 50.0, dropout: float = 0.0,
                 bidirectional: bool = False, batch_first: bool = False, bf16: bool = False, device=None, dtype=None):
        super().__init__()
        if min(input_size, cells, num_layers) < 1 or min(recurrent_projection, projection) < 0:
            raise ValueError("input_size, cells and num_layers must be 1 or more, projections 0 or more")
        if projection and not recurrent_projection:
            raise ValueError("a projection needs a recurrent_projection")
        if not 0 <= dropout < 1 or not 0 <= cell_clip < float("inf"):
            raise ValueError("dropout must be from 0 to below 1, cell_clip 0 (none) or more")
        self.input_size, self.cells, self.num_layers = input_size, cells, num_layers
        self.recurrent_projection, self.projection = recurrent_projection, projection
        self.peepholes, self.cell_clip, self.dropout = peepholes, cell_clip, dropout
        self.bidirectional, self.batch_first, self.bf16 = bidirectional, batch_first, bf16
        self.layers, width = nn.ModuleList(), input_size
        for _ in range(num_layers):
            directions = [LstmpLayer(width, cells, recurrent_projection, projection, peepholes, cell_clip, bf16)
                          for _ in range(1 + bidirectional)]
            self.layers.append(Bidirectional(*directions) if bidirectional else directions[0])
            width = self.layers[-1].outputs
        self.to(device=device, dtype=dtype)
        self.reset_parameters()

    @property
    def output_size(self) -> int:
        """Number of columns of y: D (R + P)."""
        return self.layers[-1].outputs

    def reset_parameters(self, generator: torch.Generator | None = None):
        """Weights uniform with variance 1/(number of inputs); peepholes 0; the forget gate's bias 1, the others 0.

        Args:
            generator: source of the random numbers, on the device of the parameters; default: PyTorch's global one.
        """
        for layer in self.layers:
            layer.initialize(generator)

    def extra_repr(self) -> str:
        defaults = {"recurrent_projection": 0, "projection": 0, "num_layers": 1, "peepholes": True, "cell_clip": 50.0,
                    "dropout": 0.0, "bidirectional": False, "batch_first": False, "bf16": False}
        changed = [f"{name}={getattr(self, name)}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.cells), *changed])

    def zero_state(self, sequences: int) -> State:
        """The state before the first frame, for a number of sequences."""
        layer, parameter = self._directions()[0], next(self.parameters())
        r, c = (parameter.new_zeros(self._num_directions(), sequences, size) for size in layer.state_sizes)
        return r, c

    def forward(self, x, state: State | None = None, lengths=None):
        """Compute the outputs for some frames of each sequence.

        Args:
            x: [T, N, I], [N, T, I] with ``batch_first``, or a PackedSequence.
            state: (r [L·D, N, R], c [L·D, N, C]) as returned for the previous frames; default: zeros. Ordered by layer,
                and within a layer the forward direction first.
            lengths: integers [N], from 0 to T: the number of frames of each sequence; later frames in x are ignored.
                Default: T for all. Not allowed with a PackedSequence, which has its own lengths.

        Returns:
            y: shaped as x, with D (R + P) columns; zeros beyond a sequence's length.
            state: after the last frame of each sequence, (r, c) as above. For truncated backpropagation through time
                detach it before the next call: ``state = tuple(s.detach() for s in state)``.

        Raises:
            ValueError: a shape does not fit.
        """
        if isinstance(x, PackedSequence):
            return self._packed(x, state, lengths)
        if x.dim() != 3 or x.shape[2] != self.input_size or 0 in x.shape:
            order = "N, T" if self.batch_first else "T, N"
            raise ValueError(f"x of shape {list(x.shape)}, not [{order}, {self.input_size}] with frames and sequences")
        x = x.transpose(0, 1) if self.batch_first else x
        r, c = self.zero_state(x.shape[1]) if state is None else self._check_state(state, x.shape[1])
        lengths, padding = self._lengths_and_padding(x, lengths)
        with torch.autocast(x.device.type, enabled=False):
            y, state = self._run_layers(x.to(next(self.parameters()).dtype), r, c, lengths, padding)
        return y.transpose(0, 1) if self.batch_first else y, state

    def _run_layers(self, x, r_0, c_0, lengths, padding):
        rs, cs, n = [], [], 0
        if padding is not None:
            x = x.masked_fill(padding, 0.0)  # NaN in the padding would be propagated
        for k, layer in enumerate(self.layers):
            if k:
                x = dropout(x, self.dropout, self.training)
            outputs = []
            for is_back, direction in enumerate([layer.ahead, layer.back] if self.bidirectional else [layer]):
                inputs = reverse_time(x, lengths) if is_back else x
                y, r, c = _run_direction(direction, inputs, r_0[n], c_0[n], lengths, padding)
                outputs.append(reverse_time(y, lengths) if is_back else y)
                rs.append(r)
                cs.append(c)
                n += 1
            x = torch.cat(outputs, 2) if self.bidirectional else outputs[0]
        return x, (torch.stack(rs), torch.stack(cs))

    def _packed(self, x: PackedSequence, state, lengths):
        if lengths is not None:
            raise ValueError("lengths were given, but a PackedSequence has its own")
        padded, lengths = pad_packed_sequence(x, self.batch_first)
        y, state = self(padded, state, lengths)
        batch_dim = 0 if self.batch_first else 1
        if x.sorted_indices is not None:  # in x's own order: sorting again could order equal lengths differently
            y, lengths = y.index_select(batch_dim, x.sorted_indices), lengths[x.sorted_indices.cpu()]
        data = pack_padded_sequence(y, lengths, self.batch_first).data
        return PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices), state

    def _lengths_and_padding(self, x, lengths):
        """Lengths, int64 [N], and the mask of the frames beyond them, bool [T, N, 1], or None if there are none."""
        frames, sequences, _ = x.shape
        if lengths is None:
            return torch.full((sequences,), frames, device=x.device), None
        lengths = torch.as_tensor(lengths)
        if lengths.shape != (sequences,) or lengths.is_floating_point():
            raise ValueError(f"lengths of shape {list(lengths.shape)}, not {sequences} whole numbers")
        if int(lengths.min()) < 0 or int(lengths.max()) > frames:
            raise ValueError(f"lengths from {int(lengths.min())} to {int(lengths.max())} where x has {frames} frames")
        lengths = lengths.to(x.device, torch.int64)
        padding = torch.arange(frames, device=x.device).unsqueeze(1) >= lengths
        return lengths, padding.unsqueeze(2) if bool((lengths < frames).any()) else None

    def _check_state(self, state: State, sequences: int) -> State:
        shapes = [(self._num_directions(), sequences, size) for size in self._directions()[0].state_sizes]
        if len(state) != 2 or [tuple(s.shape) for s in state] != shapes:
            raise ValueError(f"a state of shapes {[list(s.shape) for s in state]}, not {[list(s) for s in shapes]}")
        return state

    def _directions(self) -> list[LstmpLayer]:
        return [m for m in self.modules() if isinstance(m, LstmpLayer)]

    def _num_directions(self) -> int:
        return self.num_layers * (1 + self.bidirectional)


def _run_direction(layer: LstmpLayer, x, r, c, lengths, padding):
    """One layer in one direction: y [T, N, R + P], and r [N, R], c [N, C] after the last frame of each sequence.

    In the padding, an additional input closes the input gate and opens the forget gate. The cells, and the gradient
    that passes back through them, then stay bit for bit unchanged.
    """
    if padding is None:
        return layer(x, r, c)
    gate = layer.w_x.new_tensor([-_SATURATED, _SATURATED, 0.0, 0.0]).repeat_interleave(layer.cells).unsqueeze(1)
    y, c_last = LstmpChunk.apply(torch.cat([x, padding.to(x.dtype)], 2), r, c, torch.cat([layer.w_x, gate], 1),
                                 layer.w_r, layer.bias, layer.peephole, layer.w_rm, layer.w_pm, layer.clip, layer.bf16)
    # an empty sequence keeps its c, which may exceed the clip
    y, c = y.masked_fill(padding, 0.0), torch.where(lengths.unsqueeze(1) > 0, c_last, c)
    last = lengths.view(1, -1, 1).expand(1, -1, layer.rec)
    return y, torch.cat([r.unsqueeze(0), y[:, :, :layer.rec]]).gather(0, last)[0], c
