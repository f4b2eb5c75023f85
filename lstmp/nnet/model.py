"""A deep network of :mod:`lstmp.nnet.layers`: dropout between the layers, one score per tied state."""

from typing import Any

import torch
from torch import nn

from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.layers import Bidirectional, DenseLayer, FrameStack, LstmpLayer, RnnLayer, uniform
from lstmp.nnet.loss import FrameCrossEntropy

State = list[tuple[torch.Tensor, torch.Tensor]]  # per layer: r [N, R], c [N, C]


class StateNetwork(nn.Module):
    """Normalization of the input, a stack of layers, and the output layer over the tied states.

    Args:
        cfg: sizes and options.
        inputs: dimension of the features.
        num_pdfs: number of tied states.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    layers: Any  # a ModuleList of those of lstmp.nnet.layers

    def __init__(self, cfg: LstmpConfig, inputs: int, num_pdfs: int):
        super().__init__()
        self.dropout, self.dropout_mask = cfg.dropout, cfg.dropout_mask
        self.num_pdfs = num_pdfs
        self.register_buffer("feature_mean", torch.zeros(inputs))
        self.register_buffer("feature_std", torch.ones(inputs))
        self.residual, self.bidirectional, self.bf16 = cfg.residual, cfg.bidirectional, cfg.precision == "bf16"
        self.stack = FrameStack(inputs, cfg.stack) if cfg.stack > 1 else None
        self.layers, self.norms, width = nn.ModuleList(), nn.ModuleList(), self.stack.outputs if self.stack else inputs
        for _ in range(cfg.layers):
            layer = _layer(cfg, width)
            self.layers.append(Bidirectional(layer, _layer(cfg, width)) if cfg.bidirectional else layer)
            width = self.layers[-1].outputs
            if cfg.layer_norm:
                self.norms.append(nn.LayerNorm(width))
        self.w_low = nn.Parameter(torch.empty(cfg.bottleneck, width)) if cfg.bottleneck else None
        width = cfg.bottleneck or width
        self.w_out = nn.Parameter(torch.empty(num_pdfs, width))
        self.b_out = nn.Parameter(torch.empty(num_pdfs))

    def initialize(self, seed: int):
        """Random weights that depend on the seed alone."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.layers:
            layer.initialize(generator)
        for weight in (self.w_low, self.w_out):
            if weight is not None:
                uniform(weight, generator)
        with torch.no_grad():
            self.b_out.zero_()

    @property
    def num_params(self) -> int:
        """Number of weights as the papers count them: without biases and without what normalizes."""
        return sum(p.numel() for name, p in self.named_parameters()
                   if not name.endswith(("bias", "b_out")) and not name.startswith("norms"))

    def zero_state(self, streams: int) -> State:
        """The state at the start of an utterance."""
        widths = [layer.carried for layer in self._all()]
        return [(self.w_out.new_zeros(streams, r), self.w_out.new_zeros(streams, c)) for r, c in widths]

    def _all(self) -> list[Any]:  # modules of lstmp.nnet.layers
        return [*([self.stack] if self.stack else []), *self.layers]

    def normalize(self, x):
        """Features [..., D] → zero mean and unit variance over the training set."""
        return (x - self.feature_mean) / self.feature_std

    def hidden(self, x, state: State, generator: torch.Generator | None = None, lengths=None):
        """The layers, without the output layer.

        Args:
            x: [T, N, D] normalized features.
            state: as returned for the chunk before, or :meth:`zero_state`.
            generator: source of the dropout masks; None means no dropout.
            lengths: int64 [N], frames of each stream in x; a bidirectional network must have it.

        A layer's output is normalized (`layer_norm`, Ba et al., arXiv 1607.06450), its input is added where the widths
        agree (`residual`), and some of it is dropped: of what goes up (r and p), never of the r that recurs (Zaremba et
        al., arXiv 1409.2329). A dropout mask is drawn for each stream, for each frame or once for the whole chunk.

        Returns: y [T, N, O] of the last layer, and the new state.
        """
        new_state, norms = [], iter(self.norms)
        for layer, (r, c) in zip(self._all(), state, strict=True):
            y, r, c = layer(x, r, c, lengths)
            new_state.append((r, c))
            if layer is self.stack:
                x = y
                continue
            if self.norms:
                y = next(norms)(y)
            if self.residual and y.shape == x.shape:
                y = y + x
            x = y if generator is None else self._dropped(y, generator)
        return x if self.w_low is None else torch.matmul(x, self.w_low.t()), new_state

    def _dropped(self, x, generator: torch.Generator):
        if self.dropout == 0:
            return x
        shape = x.shape if self.dropout_mask == "frame" else (1, *x.shape[1:])
        keep = 1 - self.dropout
        return x * x.new_empty(shape).bernoulli_(keep, generator=generator).div_(keep)

    def loss(self, x, state: State, targets, frames: int, generator: torch.Generator | None = None, lengths=None):
        """Cross entropy of a chunk: x [T, N, D], targets int64 [T, N] with -1 for none.

        Returns: summed loss / ``frames``, number of correct frames, the new state.
        """
        y, state = self.hidden(x, state, generator, lengths)
        loss, correct = FrameCrossEntropy.apply(y.reshape(-1, y.shape[2]), self.w_out, self.b_out,
                                                targets.reshape(-1), frames, self.bf16, torch.is_grad_enabled())
        return loss, correct, state

    def forward(self, x, state: State, lengths=None):
        """x [T, N, D] normalized features → log-posteriors [T, N, num_pdfs], new state."""
        y, state = self.hidden(x, state, None, lengths)
        return torch.log_softmax(torch.matmul(y, self.w_out.t()) + self.b_out, 2), state


def _layer(cfg: LstmpConfig, inputs: int) -> LstmpLayer | DenseLayer:
    """A layer of the kind that the configuration asks for."""
    if cfg.kind == "dnn":
        return DenseLayer(inputs, cfg.cells, cfg.activation, cfg.precision == "bf16")
    if cfg.kind == "rnn":
        return RnnLayer(inputs, cfg.cells, cfg.activation, cfg.cell_clip)
    return LstmpLayer(inputs, cfg.cells, cfg.recurrent_projection, cfg.projection, cfg.peepholes, cfg.cell_clip,
                      cfg.precision == "bf16")
