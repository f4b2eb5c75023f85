"""A deep LSTMP network: layers of :mod:`lstmp.nnet.cell`, dropout between them, one score per tied state."""

import math

import torch
from torch import nn

from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.loss import FrameCrossEntropy

State = list[tuple[torch.Tensor, torch.Tensor]]  # per layer: r [N, R], c [N, C]


class LstmpLayer(nn.Module):
    """One layer; see :mod:`lstmp.nnet.cell` for the equations and the shapes of the parameters."""

    def __init__(self, inputs: int, cells: int, recurrent_projection: int, projection: int, peepholes: bool,
                 cell_clip: float):
        super().__init__()
        self.cells, self.rec = cells, recurrent_projection or cells
        self.outputs = self.rec + projection
        self.clip = cell_clip or None
        self.w_x = nn.Parameter(torch.empty(4 * cells, inputs))
        self.w_r = nn.Parameter(torch.empty(4 * cells, self.rec))
        self.bias = nn.Parameter(torch.empty(4 * cells))
        self.peephole = nn.Parameter(torch.empty(3, cells)) if peepholes else None
        self.w_rm = nn.Parameter(torch.empty(recurrent_projection, cells)) if recurrent_projection else None
        self.w_pm = nn.Parameter(torch.empty(projection, cells)) if projection else None

    def initialize(self, generator: torch.Generator):
        """Weights uniform with variance 1/(number of inputs); peepholes 0; the forget gate's bias 1, the others 0.

        The papers do not say how they started; a forget gate that starts open carries gradients over the chunk.
        """
        for weight in (self.w_x, self.w_r, self.w_rm, self.w_pm):
            if weight is not None:
                _uniform(weight, generator)
        with torch.no_grad():
            self.bias.zero_()
            self.bias[self.cells:2 * self.cells] = 1.0
            if self.peephole is not None:
                self.peephole.zero_()

    def forward(self, x, r, c):
        """x [T, N, I], r [N, R], c [N, C] → y [T, N, R + P], r, c after the last frame."""
        y, c = LstmpChunk.apply(x, r, c, self.w_x, self.w_r, self.bias, self.peephole, self.w_rm, self.w_pm,
                                self.clip)
        return y, y[-1, :, :self.rec], c


class LstmpNetwork(nn.Module):
    """Normalization of the input, a stack of layers, and the output layer over the tied states.

    Args:
        cfg: sizes and options.
        inputs: dimension of the features.
        num_pdfs: number of tied states.
    """

    def __init__(self, cfg: LstmpConfig, inputs: int, num_pdfs: int):
        super().__init__()
        self.dropout, self.dropout_mask = cfg.dropout, cfg.dropout_mask
        self.num_pdfs = num_pdfs
        self.register_buffer("feature_mean", torch.zeros(inputs))
        self.register_buffer("feature_std", torch.ones(inputs))
        self.layers, width = nn.ModuleList(), inputs
        for _ in range(cfg.layers):
            layer = LstmpLayer(width, cfg.cells, cfg.recurrent_projection, cfg.projection, cfg.peepholes,
                               cfg.cell_clip)
            self.layers.append(layer)
            width = layer.outputs
        self.w_out = nn.Parameter(torch.empty(num_pdfs, width))
        self.b_out = nn.Parameter(torch.empty(num_pdfs))

    def initialize(self, seed: int):
        """Random weights that depend on the seed alone."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.initialize(generator)
        _uniform(self.w_out, generator)
        with torch.no_grad():
            self.b_out.zero_()

    @property
    def num_params(self) -> int:
        """Number of weights as the papers count them: without biases (and without the input normalization)."""
        return sum(p.numel() for name, p in self.named_parameters() if not name.endswith(("bias", "b_out")))

    def zero_state(self, streams: int) -> State:
        """The state at the start of an utterance."""
        return [(self.w_out.new_zeros(streams, layer.rec), self.w_out.new_zeros(streams, layer.cells))
                for layer in self.layers]

    def normalize(self, x):
        """Features [..., D] → zero mean and unit variance over the training set."""
        return (x - self.feature_mean) / self.feature_std

    def hidden(self, x, state: State, generator: torch.Generator | None = None):
        """The layers, without the output layer.

        Args:
            x: [T, N, D] normalized features.
            state: as returned for the chunk before, or :meth:`zero_state`.
            generator: source of the dropout masks; None means no dropout.

        Dropout is applied to what a layer hands up (r and p), never to the r that recurs (Zaremba et al., arXiv
        1409.2329). A mask is drawn for each stream, and either for each frame or once for the whole chunk.

        Returns: y [T, N, R + P] of the last layer, and the new state.
        """
        new_state = []
        for layer, (r, c) in zip(self.layers, state, strict=True):
            x, r, c = layer(x, r, c)
            new_state.append((r, c))
            if generator is not None and self.dropout > 0:
                shape = x.shape if self.dropout_mask == "frame" else (1, *x.shape[1:])
                keep = 1 - self.dropout
                x = x * x.new_empty(shape).bernoulli_(keep, generator=generator).div_(keep)
        return x, new_state

    def loss(self, x, state: State, targets, frames: int, generator: torch.Generator | None = None):
        """Cross entropy of a chunk: x [T, N, D], targets int64 [T, N] with -1 for none.

        Returns: summed loss / ``frames``, number of correct frames, the new state.
        """
        y, state = self.hidden(x, state, generator)
        loss, correct = FrameCrossEntropy.apply(y.reshape(-1, y.shape[2]), self.w_out, self.b_out,
                                                targets.reshape(-1), frames)
        return loss, correct, state

    def forward(self, x, state: State):
        """x [T, N, D] normalized features → log-posteriors [T, N, num_pdfs], new state."""
        y, state = self.hidden(x, state)
        return torch.log_softmax(torch.matmul(y, self.w_out.t()) + self.b_out, 2), state


def _uniform(weight: torch.Tensor, generator: torch.Generator):
    bound = math.sqrt(3.0 / weight.shape[1])
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=generator)
