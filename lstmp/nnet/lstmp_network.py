"""A deep LSTM with peepholes and projections, for any project in PyTorch: :class:`LstmpNetwork`.

The recognizer's own network, which adds normalization of its features and an output layer over tied states, is
:class:`lstmp.nnet.model.StateNetwork`. Both are stacks of :class:`lstmp.nnet.layers.LstmpLayer`.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.layers import Bidirectional, LstmpLayer, turned

State = tuple[torch.Tensor, torch.Tensor]
_SHUT = 1e4  # σ(10,000) is 1 and σ(-10,000) is 0, in float32 and in float64


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
        r_t = W_rm m_t                                                          fed back, and handed up
        p_t = W_pm m_t                                                          handed up only
        y_t = (r_t, p_t) side by side                                           input of the layer above

    Without a recurrent projection r_t = m_t; without peepholes the terms in w_ic, w_fc, w_oc are absent. Clipping is
    the paper's too (section 3); the gradient of a clipped cell is zero.

    T is the number of frames, N of sequences, I the ``input_size``, C the ``cells``, R the ``recurrent_projection``
    (C if that is 0), P the ``projection``, L the ``num_layers``, and D 2 for a bidirectional network, else 1.

    Args:
        input_size: I.
        cells: C.
        recurrent_projection: R; 0: none, r_t = m_t.
        projection: P; 0: none. It needs a recurrent projection.
        num_layers: L.
        peepholes: whether the gates see the cells.
        cell_clip: bound of the cells; 0: none.
        dropout: in training, the probability with which an output of a layer other than the last is zeroed. What
            recurs is not (Zaremba et al., arXiv 1409.2329).
        bidirectional: a second stack of cells runs from each sequence's end; what both hand up lies side by side.
        batch_first: x and y are [N, T, ...] in place of [T, N, ...]; states are not affected.
        bf16: round the factors of matrix products to bfloat16, with float32 parameters: several times as fast on a
            processor with AMX and on a GPU.
        device, dtype: of the parameters.

    Parameters of layer k, with gates below each other in the order i, f, c, o (``layers.k.ahead`` and
    ``layers.k.back`` in place of ``layers.k`` if bidirectional)::

        layers.k.w_x       [4C, I]       I is D (R + P) above the first layer
        layers.k.w_r       [4C, R]
        layers.k.bias      [4C]
        layers.k.peephole  [3, C]        w_ic, w_fc, w_oc; absent without peepholes
        layers.k.w_rm      [R, C]        absent without recurrent projection
        layers.k.w_pm      [P, C]        absent without projection

    In float32 the recurrence runs in compiled kernels, on processors with AVX-512 or AMX over whole chunks, on GPUs of
    compute capability 8.0 or later by Triton; elsewhere, and in float64, by PyTorch. The first use compiles them, which
    takes some seconds. Gradients of gradients are not to be had. Under ``torch.autocast`` it computes in the
    parameters' dtype.

    Example::

        network = LstmpNetwork(40, 1024, recurrent_projection=512, projection=256, num_layers=2)
        y, state = network(torch.randn(20, 8, 40))      # y [20, 8, 768]

    Raises:
        ValueError: sizes that cannot be.
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
            both = [LstmpLayer(width, cells, recurrent_projection, projection, peepholes, cell_clip, bf16)
                    for _ in range(1 + bidirectional)]
            self.layers.append(Bidirectional(*both) if bidirectional else both[0])
            width = self.layers[-1].outputs
        self.to(device=device, dtype=dtype)
        self.reset_parameters()

    @property
    def output_size(self) -> int:
        """Columns of y: D (R + P)."""
        return self.layers[-1].outputs

    def reset_parameters(self, generator: torch.Generator | None = None):
        """Weights uniform with variance 1/(number of inputs); peepholes 0; the forget gate's bias 1, the others 0.

        Args:
            generator: where the random numbers come from, on the device of the parameters; default: PyTorch's own.
        """
        for layer in self.layers:
            layer.initialize(generator)

    def extra_repr(self) -> str:
        options = {"recurrent_projection": 0, "projection": 0, "num_layers": 1, "peepholes": True, "cell_clip": 50.0,
                   "dropout": 0.0, "bidirectional": False, "batch_first": False, "bf16": False}
        told = [f"{name}={getattr(self, name)}" for name, usual in options.items() if getattr(self, name) != usual]
        return ", ".join([str(self.input_size), str(self.cells), *told])

    def zero_state(self, sequences: int) -> State:
        """The state before the first frame, for so many sequences."""
        layer, parameter = self._directions()[0], next(self.parameters())
        r, c = (parameter.new_zeros(self._count(), sequences, width) for width in layer.carried)
        return r, c

    def forward(self, x, state: State | None = None, lengths=None):
        """Run through some frames of each sequence.

        Args:
            x: [T, N, I], [N, T, I] with ``batch_first``, or a PackedSequence.
            state: (r [L·D, N, R], c [L·D, N, C]) as returned for the frames before; default: zeros. Layer by layer,
                the direction ahead before the other one.
            lengths: integers [N], from 0 to T: the frames of each sequence; what lies beyond in x does not matter.
                Default: T for all. Not with a PackedSequence, which knows its lengths.

        Returns:
            y: as x, with D (R + P) columns; zeros beyond a sequence's length.
            state: after the last frame of each sequence, (r, c) as above. For truncated backpropagation through time
                detach it before the next call: ``state = tuple(s.detach() for s in state)``.

        Raises:
            ValueError: shapes that do not fit.
        """
        if isinstance(x, PackedSequence):
            return self._packed(x, state, lengths)
        if x.dim() != 3 or x.shape[2] != self.input_size or 0 in x.shape:
            order = "N, T" if self.batch_first else "T, N"
            raise ValueError(f"x of shape {list(x.shape)}, not [{order}, {self.input_size}] with frames and sequences")
        x = x.transpose(0, 1) if self.batch_first else x
        r, c = self.zero_state(x.shape[1]) if state is None else self._checked(state, x.shape[1])
        lengths, beyond = self._ends(x, lengths)
        with torch.autocast(x.device.type, enabled=False):
            y, state = self._run(x.to(next(self.parameters()).dtype), r, c, lengths, beyond)
        return y.transpose(0, 1) if self.batch_first else y, state

    def _run(self, x, r_0, c_0, lengths, beyond):
        rs, cs, n = [], [], 0
        if beyond is not None:
            x = x.masked_fill(beyond, 0.0)  # NaN there would come through
        for k, layer in enumerate(self.layers):
            if k:
                x = dropout(x, self.dropout, self.training)
            outputs = []
            for back, one in enumerate([layer.ahead, layer.back] if self.bidirectional else [layer]):
                y, r, c = _layer(one, turned(x, lengths) if back else x, r_0[n], c_0[n], lengths, beyond)
                outputs.append(turned(y, lengths) if back else y)
                rs.append(r)
                cs.append(c)
                n += 1
            x = torch.cat(outputs, 2) if self.bidirectional else outputs[0]
        return x, (torch.stack(rs), torch.stack(cs))

    def _packed(self, x: PackedSequence, state, lengths):
        if lengths is not None:
            raise ValueError("a PackedSequence has lengths of its own")
        padded, lengths = pad_packed_sequence(x, self.batch_first)
        y, state = self(padded, state, lengths)
        side = 0 if self.batch_first else 1
        if x.sorted_indices is not None:  # in the order that x has, which among equal lengths is not a new sort's
            y, lengths = y.index_select(side, x.sorted_indices), lengths[x.sorted_indices.cpu()]
        data = pack_padded_sequence(y, lengths, self.batch_first).data
        return PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices), state

    def _ends(self, x, lengths):
        """int64 [N] lengths, and bool [T, N, 1] of what lies beyond them; of None where nothing does."""
        frames, sequences, _ = x.shape
        if lengths is None:
            return torch.full((sequences,), frames, device=x.device), None
        lengths = torch.as_tensor(lengths)
        if lengths.shape != (sequences,) or lengths.is_floating_point():
            raise ValueError(f"lengths of shape {list(lengths.shape)}, not {sequences} whole numbers")
        if int(lengths.min()) < 0 or int(lengths.max()) > frames:
            raise ValueError(f"lengths from {int(lengths.min())} to {int(lengths.max())} where x has {frames} frames")
        lengths = lengths.to(x.device, torch.int64)
        beyond = torch.arange(frames, device=x.device).unsqueeze(1) >= lengths
        return lengths, beyond.unsqueeze(2) if bool((lengths < frames).any()) else None

    def _checked(self, state: State, sequences: int) -> State:
        shapes = [(self._count(), sequences, width) for width in self._directions()[0].carried]
        if len(state) != 2 or [tuple(s.shape) for s in state] != shapes:
            raise ValueError(f"a state of shapes {[list(s.shape) for s in state]}, not {[list(s) for s in shapes]}")
        return state

    def _directions(self) -> list[LstmpLayer]:
        return [m for m in self.modules() if isinstance(m, LstmpLayer)]

    def _count(self) -> int:
        return self.num_layers * (1 + self.bidirectional)


def _layer(layer: LstmpLayer, x, r, c, lengths, beyond):
    """One layer in one direction: y [T, N, R + P], and r [N, R], c [N, C] after the last frame of each sequence.

    Beyond a sequence's end one more input shuts the input gate and opens the forget gate, so that its cells stay what
    they are to the last bit, and so does the gradient that comes back through them.
    """
    if beyond is None:
        return layer(x, r, c)
    gate = layer.w_x.new_tensor([-_SHUT, _SHUT, 0.0, 0.0]).repeat_interleave(layer.cells).unsqueeze(1)
    y, after = LstmpChunk.apply(torch.cat([x, beyond.to(x.dtype)], 2), r, c, torch.cat([layer.w_x, gate], 1), layer.w_r,
                                layer.bias, layer.peephole, layer.w_rm, layer.w_pm, layer.clip, layer.bf16)
    y, c = y.masked_fill(beyond, 0.0), torch.where(lengths.unsqueeze(1) > 0, after, c)  # c may lie beyond the clip
    place = lengths.view(1, -1, 1).expand(1, -1, layer.rec)
    return y, torch.cat([r.unsqueeze(0), y[:, :, :layer.rec]]).gather(0, place)[0], c
