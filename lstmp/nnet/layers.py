"""Layers of the network: LSTMP, dense, simple recurrent, frame stacking, bidirectional; all with one interface.

A layer maps (x [T, N, I], r, c, lengths) to (y [T, N, O], r', c'). The states r and c, [N, ·], are carried from chunk
to chunk and are zero at the start of an utterance; a layer without memory has states with no columns. ``lengths``,
int64 [N], is the number of frames of each stream in x, for layers that must know where a stream ends. Only the frame
stack, which is the first layer if there is one, may make fewer frames than it gets.
"""

import math

import torch
from torch import nn

from lstmp.nnet.cell import LstmpChunk, as_dtype, factor_cast
from lstmp.nnet.kernels import fused, scoring

ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


class LstmpLayer(nn.Module):
    """Peephole LSTM with projections; see :mod:`lstmp.nnet.cell` for the equations and the shapes of the parameters."""

    def __init__(self, inputs: int, cells: int, recurrent_projection: int, projection: int, peepholes: bool,
                 cell_clip: float, bf16: bool = False):
        super().__init__()
        self.bf16 = bf16
        self.cells, self.rec = cells, recurrent_projection or cells
        self.outputs, self.state_sizes = self.rec + projection, (self.rec, cells)
        self.clip = cell_clip or None
        self.w_x = nn.Parameter(torch.empty(4 * cells, inputs))
        self.w_r = nn.Parameter(torch.empty(4 * cells, self.rec))
        self.bias = nn.Parameter(torch.empty(4 * cells))
        self.peephole = nn.Parameter(torch.empty(3, cells)) if peepholes else None
        self.w_rm = nn.Parameter(torch.empty(recurrent_projection, cells)) if recurrent_projection else None
        self.w_pm = nn.Parameter(torch.empty(projection, cells)) if projection else None
        self.packed: scoring.PackedLayer | None = None
        self._fused_scores = False  # whether the fused kernels score several streams faster than `packed`

    def pack(self, weights: str):
        """Prepare for scoring on a CPU with the recurrent weights as `fp32`, `bf16` or `int8`
        (:mod:`lstmp.nnet.kernels.scoring`). The layer cannot be trained any more.

        Where there are fused kernels for bfloat16, those compute several streams; for `bf16` they round both factors of
        all products.
        """
        with torch.no_grad():
            for w in (self.w_r, self.w_rm):
                if w is not None:
                    w.copy_(scoring.rounded(w, weights))
        if scoring.kernels() is not None:
            self.packed = scoring.PackedLayer(self, weights)
        self.bf16 = weights == "bf16" and fused.kernels("bf16") is not None
        self._fused_scores = self.bf16 or fused.has_amx()

    def __getstate__(self):
        return self.__dict__ | {"packed": None}  # a copy computes with the same weights, not packed

    def initialize(self, generator: torch.Generator):
        """Weights uniform with variance 1/(number of inputs); peepholes 0; the forget gate's bias 1, the others 0.

        The papers do not give their initialization; a forget gate that starts open carries gradients over the chunk.
        """
        for weight in (self.w_x, self.w_r, self.w_rm, self.w_pm):
            if weight is not None:
                uniform(weight, generator)
        with torch.no_grad():
            self.bias.zero_()
            self.bias[self.cells:2 * self.cells] = 1.0
            if self.peephole is not None:
                self.peephole.zero_()

    def forward(self, x, r, c, lengths=None):
        if self.packed is not None and self.packed.fits(x) and not (
                self._fused_scores and x.shape[1] >= fused.MIN_STREAMS):
            return self.packed(x, r, c)
        y, c = LstmpChunk.apply(x, r, c, self.w_x, self.w_r, self.bias, self.peephole, self.w_rm, self.w_pm,
                                self.clip, self.bf16)
        return y, y[-1, :, :self.rec], c


class DenseLayer(nn.Module):
    """y_t = act(W_x x_t + b): a layer of the feed-forward baseline, without memory."""

    def __init__(self, inputs: int, units: int, activation: str, bf16: bool = False):
        super().__init__()
        self.outputs, self.state_sizes, self.activation, self.bf16 = units, (0, 0), activation, bf16
        self.w_x = nn.Parameter(torch.empty(units, inputs))
        self.bias = nn.Parameter(torch.empty(units))

    def initialize(self, generator: torch.Generator):
        """Weights uniform with variance 1/(number of inputs), twice that for relu, which zeroes half of its inputs."""
        uniform(self.w_x, generator, 2.0 if self.activation == "relu" else 1.0)
        nn.init.zeros_(self.bias)

    def forward(self, x, r, c, lengths=None):
        cast = factor_cast(self.bf16, x.device, large=True)
        product = as_dtype(torch.matmul(cast(x), cast(self.w_x).t()), x.dtype)
        return ACTIVATIONS[self.activation](product + self.bias), r, c


class RnnLayer(DenseLayer):
    """y_t = act(W_x x_t + W_r y_{t-1} + b), clipped to [-clip, clip]: a layer of the simple recurrent baseline."""

    def __init__(self, inputs: int, units: int, activation: str, clip: float):
        super().__init__(inputs, units, activation)
        self.state_sizes, self.clip = (units, 0), clip or None
        self.w_r = nn.Parameter(torch.empty(units, units))

    def initialize(self, generator: torch.Generator):
        """Like :class:`DenseLayer`; the recurrent weights have variance 1/units."""
        super().initialize(generator)
        uniform(self.w_r, generator)

    def forward(self, x, r, c, lengths=None):
        act, w_r_t, outputs = ACTIVATIONS[self.activation], self.w_r.t(), []
        for from_x in (torch.matmul(x, self.w_x.t()) + self.bias).unbind(0):
            r = act(torch.addmm(from_x, r, w_r_t))
            if self.clip is not None:
                r = r.clamp(-self.clip, self.clip)
            outputs.append(r)
        return torch.stack(outputs), r, c


class FrameStack(nn.Module):
    """Concatenates the frames that a step of the network reads, oldest first: each frame with the frames before it.

    In the feed-forward baseline with a label delay of R, the last R frames are those after the frame whose state is
    predicted: the papers' context of 10 frames before and 5 after is ``frames`` 16 with delay 5. With subsampling, a
    step reads a group of frames instead of one, and ``frames - 1`` frames before the group. The frames before an
    utterance are zeros, the mean of the features.

    Args:
        inputs: D, the dimension of the features.
        frames: `stack`.
        subsampling: S, the frames in a group: x is [S T, N, D], y is [T, N, (S + frames - 1) (D - K) + K].
        ivectors: K, the last dimensions of the features, of which only those of the newest frame are taken.
    """

    def __init__(self, inputs: int, frames: int, subsampling: int = 1, ivectors: int = 0):
        super().__init__()
        self.frames, self.subsampling, self.ivectors = frames, subsampling, ivectors
        stacked = inputs - ivectors
        self.outputs, self.state_sizes = (subsampling + frames - 1) * stacked + ivectors, ((frames - 1) * stacked, 0)

    def initialize(self, generator: torch.Generator):
        """Do nothing: it has no weights."""

    def forward(self, x, r, c, lengths=None):
        group, newest = self.subsampling, [x[self.subsampling - 1::self.subsampling, :, x.shape[2] - self.ivectors:]]
        x = x[:, :, :x.shape[2] - self.ivectors]
        frames, streams, dim = x.shape
        previous = r.view(streams, self.frames - 1, dim).transpose(0, 1)
        x = torch.cat([previous, x])
        parts = [x[k:k + frames:group] for k in range(group + self.frames - 1)]
        stacked = torch.cat(parts + newest * bool(self.ivectors), 2)
        return stacked, x[frames:].transpose(0, 1).reshape(streams, self.state_sizes[0]), c


class Bidirectional(nn.Module):
    """A forward and a backward layer over whole utterances; their outputs are concatenated.

    Args:
        ahead: the layer that reads each utterance from its start.
        back: the layer that reads each utterance from its end.
    """

    def __init__(self, ahead: LstmpLayer | DenseLayer, back: LstmpLayer | DenseLayer):
        super().__init__()
        self.ahead, self.back = ahead, back
        self.outputs = ahead.outputs + back.outputs
        self.state_sizes = tuple(a + b for a, b in zip(ahead.state_sizes, back.state_sizes, strict=True))

    def initialize(self, generator: torch.Generator):
        """Initialize both layers."""
        self.ahead.initialize(generator)
        self.back.initialize(generator)

    def forward(self, x, r, c, lengths=None):
        if lengths is None:
            raise ValueError("a bidirectional layer must know where the streams end")
        (r_a, c_a), (r_b, c_b) = zip(r.split(self._split_sizes(0), 1), c.split(self._split_sizes(1), 1), strict=True)
        ahead, r_a, c_a = self.ahead(x, r_a, c_a, lengths)
        back, r_b, c_b = self.back(reverse_time(x, lengths), r_b, c_b, lengths)
        return torch.cat([ahead, reverse_time(back, lengths)], 2), torch.cat([r_a, r_b], 1), torch.cat([c_a, c_b], 1)

    def _split_sizes(self, index: int) -> list[int]:
        """Sizes of both layers' r (``index`` 0) or c (1)."""
        return [self.ahead.state_sizes[index], self.back.state_sizes[index]]


def reverse_time(x, lengths):
    """x [T, N, D] with the first ``lengths[n]`` frames of stream n reversed; later frames are unchanged."""
    time = torch.arange(len(x), device=x.device).unsqueeze(1)
    lengths = lengths.to(x.device)
    index = torch.where(time < lengths, lengths - 1 - time, time)
    return x.gather(0, index.unsqueeze(2).expand(x.shape))


def uniform(weight: torch.Tensor, generator: torch.Generator, gain: float = 1.0):
    """Fill a weight [O, I] with uniform random numbers of variance gain / I."""
    bound = math.sqrt(3.0 * gain / weight.shape[1])
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)
