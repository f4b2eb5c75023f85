"""The acoustic model: layers of :mod:`lstmp.nnet.layers` with dropout, and an output layer over the tied states."""

from typing import Any

import torch
from torch import nn

from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.convolution import Convolutions
from lstmp.nnet.layers import Bidirectional, DenseLayer, FrameStack, LstmpLayer, RnnLayer, uniform
from lstmp.nnet.loss import FrameCrossEntropy

RecurrentState = list[tuple[torch.Tensor, torch.Tensor]]  # r [N, R] and c [N, C] of each layer, N streams


class StateNetwork(nn.Module):
    """Predicts the tied state of each frame: hidden layers, and a softmax output layer over the pdf-ids.

    Features must be normalized before (:meth:`normalize`), as training does once for the whole training set. With
    ``cfg.subsampling`` S, the output has a frame for each group of S frames of the input, see
    :mod:`lstmp.features.output_frames`; without it, S is 1.

    Args:
        cfg: sizes and options.
        inputs: dimension D of the features.
        num_pdfs: number of tied states.
        second_output: whether there is a second output layer, which only the training by LF-MMI uses.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor
    lda: torch.Tensor  # only with `lda_dim`: [lda_dim, width of the stacked frames]
    layers: Any  # a ModuleList of modules of lstmp.nnet.layers

    def __init__(self, cfg: LstmpConfig, inputs: int, num_pdfs: int, second_output: bool = False):
        super().__init__()
        self.dropout, self.dropout_mask = cfg.dropout, cfg.dropout_mask
        self.num_pdfs = num_pdfs
        self.register_buffer("feature_mean", torch.zeros(inputs))
        self.register_buffer("feature_std", torch.ones(inputs))
        self.cmvn_buffers = ("cmvn_mean", "cmvn_variance") if cfg.feature.online_cmvn else ()
        for name in self.cmvn_buffers:  # of the training data before online CMVN, without i-vectors
            self.register_buffer(name, torch.ones(inputs - cfg.ivector_dim))
        self.residual, self.bidirectional, self.bf16 = cfg.residual, cfg.bidirectional, cfg.precision == "bf16"
        self.subsampling, self.softmax = cfg.subsampling, cfg.criterion != "lfmmi"
        self.convolutions = _convolutions(cfg, inputs) if cfg.conv_maps else None
        width = self.convolutions.outputs if self.convolutions else inputs
        stacks = cfg.stack > 1 or cfg.subsampling > 1
        self.stack = FrameStack(width, cfg.stack, cfg.subsampling, cfg.ivector_dim) if stacks else None
        self.layers, self.norms, width = nn.ModuleList(), nn.ModuleList(), self.stack.outputs if self.stack else width
        self.has_lda = cfg.lda_dim > 0
        if self.has_lda:
            self.register_buffer("lda", torch.zeros(cfg.lda_dim, width))
            width = cfg.lda_dim
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
        self.w_second = nn.Parameter(torch.empty(num_pdfs, width)) if second_output else None
        self.b_second = nn.Parameter(torch.empty(num_pdfs)) if second_output else None

    def initialize(self, seed: int):
        """Set random weights that depend only on the seed."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self._all_layers():
            layer.initialize(generator)
        for weight in (self.w_low, self.w_out, self.w_second):
            if weight is not None:
                uniform(weight, generator)
        with torch.no_grad():
            for bias in (self.b_out, self.b_second):
                if bias is not None:
                    bias.zero_()

    def pack(self, weights: str):
        """Prepare for scoring on a CPU: see :meth:`lstmp.nnet.layers.LstmpLayer.pack`."""
        for module in self.modules():
            if isinstance(module, LstmpLayer):
                module.pack(weights)

    @property
    def num_params(self) -> int:
        """Number of weights as the papers count them: without biases, layer normalization and second output layer."""
        return sum(p.numel() for name, p in self.named_parameters()
                   if not name.endswith(("bias", "b_out", "_second")) and not name.startswith("norms"))

    def zero_state(self, streams: int) -> RecurrentState:
        """The recurrent state at the start of an utterance: zeros."""
        sizes = [layer.state_sizes for layer in self._all_layers()]
        return [(self.w_out.new_zeros(streams, r), self.w_out.new_zeros(streams, c)) for r, c in sizes]

    def _all_layers(self) -> list[Any]:
        """All modules that have a recurrent state, in the order of the states."""
        return [*(layer for layer in (self.convolutions, self.stack) if layer is not None), *self.layers]

    def normalize(self, x):
        """Normalize features [..., D] to zero mean and unit variance over the training set."""
        return (x - self.feature_mean) / self.feature_std

    def below_lda(self, x, state: RecurrentState, lengths=None):
        """Convolutions and the stack of frames, if there are any; returns their output and their new states.

        The arguments are those of :meth:`hidden`.
        """
        new_state = []
        for layer, (r, c) in zip(self._all_layers()[:-len(self.layers)], state, strict=False):
            x, r, c = layer(x, r, c, lengths)
            new_state.append((r, c))
        return x, new_state

    def hidden(self, x, state: RecurrentState, generator: torch.Generator | None = None, lengths=None):
        """Apply all layers except the output layer.

        Each layer's output is normalized (`layer_norm`, Ba et al., arXiv 1607.06450). Then the layer's input is added
        if the sizes agree (`residual`). Dropout is applied to the input of the next layer (r and p), never to the
        recurrent r (Zaremba et al., arXiv 1409.2329). Dropout masks are drawn separately for each stream, and either
        for each frame or once for the whole chunk.

        Args:
            x: [S T, N, D] normalized features, whole groups of S frames.
            state: as returned for the previous chunk, or :meth:`zero_state`.
            generator: source of the dropout masks; None means no dropout.
            lengths: int64 [N], output frames of each stream, at most T; required by a bidirectional network.

        Returns:
            The input of the output layer, [T, N, O], where O is `bottleneck` or the size of the last layer's output;
            and the new state.
        """
        x, new_state = self.below_lda(x, state, lengths)
        if self.has_lda:
            x = torch.matmul(x, self.lda.t())
        norms = iter(self.norms)
        for layer, (r, c) in zip(self.layers, state[len(new_state):], strict=True):
            y, r, c = layer(x, r, c, lengths)
            new_state.append((r, c))
            if self.norms:
                y = next(norms)(y)
            if self.residual and y.shape == x.shape:
                y = y + x
            x = y if generator is None else self._apply_dropout(y, generator)
        return x if self.w_low is None else torch.matmul(x, self.w_low.t()), new_state

    def _apply_dropout(self, x, generator: torch.Generator):
        """Inverted dropout, as in PyTorch: what is kept is divided by the probability of keeping it."""
        if self.dropout == 0:
            return x
        shape = x.shape if self.dropout_mask == "frame" else (1, *x.shape[1:])
        keep = 1 - self.dropout
        return x * x.new_empty(shape).bernoulli_(keep, generator=generator).div_(keep)

    def loss(self, x, state: RecurrentState, targets, frames: int, generator: torch.Generator | None = None,
             lengths=None):
        """Compute the cross entropy of a chunk, or its loss by a criterion over sequences.

        Args:
            x, state, generator, lengths: as for :meth:`hidden`.
            targets: int64 [T, N] pdf-ids, -1 for frames without a target; or for
                another criterion a :class:`lstmp.nnet.criterion.Targets`.
            frames: the number that the summed loss is divided by, so that parts of a batch add up to its mean.

        Returns:
            The loss, the number of frames with a target that is also the most probable state, and the new state.
        """
        y, state = self.hidden(x, state, generator, lengths)
        if not torch.is_tensor(targets):
            return *targets.loss(self, y, frames), state
        loss, correct = FrameCrossEntropy.apply(y.reshape(-1, y.shape[2]), self.w_out, self.b_out,
                                                targets.reshape(-1), frames, self.bf16, torch.is_grad_enabled())
        return loss, correct, state

    def forward(self, x, state: RecurrentState, lengths=None):
        """Map normalized features x [S T, N, D] to log-posteriors [T, N, num_pdfs]; also returns the new state.

        The outputs of a network trained by LF-MMI are not normalized.
        """
        y, state = self.hidden(x, state, None, lengths)
        return self.normalized_scores(self.scores(y)), state

    def scores(self, y):
        """The output layer without its softmax: [T, N, O] → [T, N, num_pdfs]."""
        return torch.matmul(y, self.w_out.t()) + self.b_out

    def second_scores(self, y):
        """The second output layer without its softmax: [T, N, O] → [T, N, num_pdfs]."""
        assert self.w_second is not None
        return torch.matmul(y, self.w_second.t()) + self.b_second

    def normalized_scores(self, scores):
        """Log-posteriors from the scores [T, N, num_pdfs]; of a network trained by LF-MMI the scores themselves."""
        return torch.log_softmax(scores, 2) if self.softmax else scores


def _convolutions(cfg: LstmpConfig, inputs: int) -> Convolutions:
    return Convolutions(inputs, cfg.feature.deltas + 1, cfg.conv_maps, cfg.conv_time, cfg.conv_freq, cfg.conv_pool,
                        cfg.conv_projection, cfg.precision == "bf16")


def _layer(cfg: LstmpConfig, inputs: int) -> LstmpLayer | DenseLayer:
    """Make a hidden layer of the type ``cfg.kind``."""
    if cfg.kind == "dnn":
        return DenseLayer(inputs, cfg.cells, cfg.activation, cfg.precision == "bf16")
    if cfg.kind == "rnn":
        return RnnLayer(inputs, cfg.cells, cfg.activation, cfg.cell_clip)
    return LstmpLayer(inputs, cfg.cells, cfg.recurrent_projection, cfg.projection, cfg.peepholes, cfg.cell_clip,
                      cfg.precision == "bf16")
