"""Shows what happens inside an LSTMP network: the gates, cells and projections of each layer in every frame.

The equations of :mod:`lstmp.nnet.cell` are computed here as they are written, one frame after the other. That is slow,
but the values of the gates, which the fast code does not keep, can be looked at. docs/inside_a_network.ipynb does so.
"""

from dataclasses import dataclass

import torch

from lstmp.errors import UserError
from lstmp.features.output_frames import padding
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.layers import LstmpLayer


@dataclass(frozen=True)
class Activations:
    """What a layer computes for T frames, with C cells, recurrent projection R and projection P.

    Attributes:
        input_gate, forget_gate, output_gate: i, f and o, float32 [T, C] from 0 to 1.
        candidate: tanh(W_cx x_t + W_cr r_{t-1} + b_c), what the input gate lets into the cells, [T, C] from -1 to 1.
        cells: c [T, C].
        recurrent: r [T, R].
        projection: p [T, P]; P may be 0.
    """

    input_gate: torch.Tensor
    forget_gate: torch.Tensor
    output_gate: torch.Tensor
    candidate: torch.Tensor
    cells: torch.Tensor
    recurrent: torch.Tensor
    projection: torch.Tensor


@torch.no_grad()
def look_inside(network: AcousticNetwork, feats: torch.Tensor) -> tuple[list[Activations], torch.Tensor]:
    """Compute the activations of each layer, and the log-posteriors of the states, for one utterance.

    With a label delay of d, the network predicts the state of frame t when it reads frame t + d. The last frame is
    repeated d times for the last predictions, so there are d frames more than in ``feats``. With subsampling, T and d
    are numbers of output frames (:mod:`lstmp.features.output_frames`).

    Args:
        network: of LSTMP layers that read from left to right.
        feats: float32 [frames, D], as its training data.

    Returns:
        activations of each layer, from the lowest one, for T + d frames; and float32 [T + d, num_pdfs].

    Raises:
        UserError: the features have another dimension, or the layers are not LSTMP layers.
    """
    network.check(feats)
    layers = list(network.model.layers)
    if not all(isinstance(layer, LstmpLayer) for layer in layers):
        raise UserError("not a network of LSTMP layers that read from left to right", hint="give another network")
    feats = network.input(feats)
    copies = padding(len(feats), network.model.subsampling, network.cfg.output_delay)
    padded = torch.cat([feats, feats[-1:].expand(copies, -1)]).to(network.device)
    inputs: list[torch.Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0][:, 0])) for layer in layers]
    try:
        log_posteriors, _ = network.model(network.model.normalize(padded).unsqueeze(1), network.model.zero_state(1))
    finally:
        for hook in hooks:
            hook.remove()
    return [activations(layer, x) for layer, x in zip(layers, inputs, strict=True)], log_posteriors[:, 0]


@torch.no_grad()
def activations(layer: LstmpLayer, x: torch.Tensor) -> Activations:
    """Compute the equations of a layer for one utterance, frame by frame.

    Args:
        x: [T, I] its input. The state before the first frame is zero.
    """
    r, c, rows = x.new_zeros(layer.rec), x.new_zeros(layer.cells), []
    w_ic, w_fc, w_oc = layer.peephole if layer.peephole is not None else x.new_zeros(3, layer.cells)
    for from_input in x @ layer.w_x.t() + layer.bias:
        to_i, to_f, to_c, to_o = (from_input + layer.w_r @ r).chunk(4)
        i = torch.sigmoid(to_i + w_ic * c)
        f = torch.sigmoid(to_f + w_fc * c)
        candidate = torch.tanh(to_c)
        c = f * c + i * candidate
        if layer.clip is not None:
            c = c.clamp(-layer.clip, layer.clip)
        o = torch.sigmoid(to_o + w_oc * c)
        m = o * torch.tanh(c)
        r = m if layer.w_rm is None else layer.w_rm @ m
        rows.append((i, f, o, candidate, c, r, x.new_zeros(0) if layer.w_pm is None else layer.w_pm @ m))
    return Activations(*(torch.stack(values) for values in zip(*rows, strict=True)))
