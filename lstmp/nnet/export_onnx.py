"""Write a network as ONNX, so that other programs can compute its scores.

    steps/export_onnx.sh --model exp/mini_librispeech/lstmp --out lstmp.onnx

Inputs: ``features`` [S T, N, D] of N streams, unnormalized as in the data dir (the normalization is part of the
network), and for each layer the state ``r0`` [N, R], ``c0`` [N, C], ``r1`` …, zeros at the start. Outputs: ``scores``
[T, N, P], log posterior minus log prior of each tied state, or the output of a network trained by LF-MMI, times
``score_factor``; and the new states ``r0_next`` …, to be passed in with the following frames. T and N are
arbitrary. S is the network's ``subsampling``, 1 for most networks. Row t of the scores belongs to the S frames of the
features from S (t - ``label_delay``) on; with ``repeat_scores`` a decoder takes it S times. ``<out>.json`` contains the
sizes, with this delay in rows. If onnxruntime is installed, the file's scores are compared with PyTorch's.
"""

import argparse
import inspect
import json
import warnings
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lstmp import config, files
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.model import RecurrentState

OPSET = 14
_TOLERANCE = 1e-3  # largest difference allowed between two scores


@torch.jit.script
def _steps(gates, w_r, peephole, w_rm, r, c, clip: float, project: bool):
    """The recurrence of :mod:`lstmp.nnet.cell`: gates [T, N, 4 C] from the input → m [T, N, C], the last r and c."""
    outputs = []
    cells = c.size(1)
    for t in range(gates.size(0)):
        a = gates[t] + torch.matmul(r, w_r.t())
        i = torch.sigmoid(a[:, :cells] + c * peephole[0])
        f = torch.sigmoid(a[:, cells:2 * cells] + c * peephole[1])
        c = torch.clamp(f * c + i * torch.tanh(a[:, 2 * cells:3 * cells]), -clip, clip)
        m = torch.sigmoid(a[:, 3 * cells:] + c * peephole[2]) * torch.tanh(c)
        r = torch.matmul(m, w_rm.t()) if project else m
        outputs.append(m)
    return torch.stack(outputs), r, c


class PlainNetwork(nn.Module):
    """The network built from operations that ONNX has.

    Raises:
        UserError: it is not a unidirectional LSTM or LSTMP.
    """

    def __init__(self, network: AcousticNetwork):
        super().__init__()
        cfg = network.cfg
        if cfg.kind != "lstmp" or cfg.bidirectional:
            raise UserError(f"a {'bidirectional network' if cfg.bidirectional else f'network of kind {cfg.kind}'}",
                            hint="unidirectional LSTM and LSTMP networks are exported")
        self.model = network.model
        if network.front:
            what = "online fMLLR" if network.adapter else \
                f"cmvn {cfg.feature.cmvn}{' and i-vectors' if cfg.ivector_dim else ''}"
            raise UserError(f"a network with {what}",
                            hint="networks without online CMVN, i-vectors and online fMLLR are exported")
        below = {"stacked frames": cfg.stack > 1, "convolutions": cfg.conv_maps, "LDA of its input": cfg.lda_dim}
        if found := [name for name, has in below.items() if has]:
            raise UserError(f"a network with {' and '.join(found)}",
                            hint="networks with stack 1, without convolutions and without lda_dim are exported")
        self.factor = cfg.score_factor
        self.log_priors: torch.Tensor
        self.register_buffer("log_priors", network.log_priors)

    def of_layers(self, state: RecurrentState) -> list[torch.Tensor]:
        """The tensors of a state of the network, in the order of :attr:`names`."""
        return [s for pair in state[-len(self.model.layers):] for s in pair]

    @property
    def names(self) -> list[str]:
        """Names of the states: r0, c0, r1, …"""
        return [f"{letter}{n}" for n in range(len(self.model.layers)) for letter in "rc"]

    def forward(self, x, *states):
        x, out = self.model.normalize(x), []
        if self.model.subsampling > 1:  # the frames of a group side by side
            x = x.reshape(-1, self.model.subsampling, x.shape[1], x.shape[2]).transpose(1, 2).flatten(2)
        for n, layer in enumerate(self.model.layers):
            none = layer.w_x.new_zeros(0)
            gates = torch.matmul(x, layer.w_x.t()) + layer.bias
            peephole = layer.w_x.new_zeros(3, layer.cells) if layer.peephole is None else layer.peephole
            m, r, c = _steps(gates, layer.w_r, peephole, none if layer.w_rm is None else layer.w_rm, states[2 * n],
                             states[2 * n + 1], layer.clip or 1e30, layer.w_rm is not None)
            y = m if layer.w_rm is None else torch.matmul(m, layer.w_rm.t())
            if layer.w_pm is not None:
                y = torch.cat([y, torch.matmul(m, layer.w_pm.t())], 2)
            if self.model.norms:
                y = self.model.norms[n](y)
            x = y + x if self.model.residual and layer.outputs == layer.w_x.shape[1] else y
            out += [r, c]
        if self.model.w_low is not None:
            x = torch.matmul(x, self.model.w_low.t())
        scores = self.model.normalized_scores(self.model.scores(x)) - self.log_priors
        return (scores if self.factor == 1 else scores * self.factor, *out)


def export(network: AcousticNetwork, out) -> None:
    """Write ``out`` and ``<out>.json``."""
    plain, out = PlainNetwork(network).eval(), Path(out)
    names = plain.names
    states = plain.of_layers(network.model.zero_state(2))
    axes = {"features": {0: "T" if network.model.subsampling == 1 else "ST", 1: "N"}, "scores": {0: "T", 1: "N"}}
    axes |= {name: {0: "N"} for name in (*names, *(f"{n}_next" for n in names))}
    # since torch 2.9 the default exporter does not support a loop over an arbitrary number of frames
    scripted: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    example = torch.randn(5 * network.model.subsampling, 2, network.dim)
    with files.replacing(out) as tmp, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns that it treats sizes as constants, which these sizes are
        torch.onnx.export(plain, (example, *states), str(tmp), opset_version=OPSET,
                          input_names=["features", *names], output_names=["scores", *(f"{n}_next" for n in names)],
                          dynamic_axes=axes, **scripted)
    about = {"feature": config.to_dict(network.feature), "dim": network.dim, "pdfs": network.num_pdfs,
             "label_delay": network.cfg.output_delay, "frame_shift": network.frame_shift,
             "subsampling": network.model.subsampling, "repeat_scores": network.cfg.repeat_scores,
             "score_factor": network.cfg.score_factor,
             "states": {name: state.shape[1] for name, state in zip(names, states, strict=True)}}
    config.write_text(out.with_name(out.name + ".json"), json.dumps(about, indent=1) + "\n")


def largest_difference(network: AcousticNetwork, path) -> float:
    """The largest difference between the scores of PyTorch and onnxruntime, on random features in chunks of any length.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()][1:]
    model, generator, largest = network.model, torch.Generator().manual_seed(1), 0.0
    for streams in (1, 3):
        state = model.zero_state(streams)
        onnx_state = {n: s.numpy() for n, s in zip(names, PlainNetwork(network).of_layers(state), strict=True)}
        for frames in (1, 7, 40):
            noise = torch.randn(frames * network.model.subsampling, streams, network.dim, generator=generator)
            x = model.feature_mean + 2 * model.feature_std * noise
            with torch.no_grad():
                log_posteriors, state = model(model.normalize(x), state)
            scores, *new_states = session.run(None, {"features": x.numpy(), **onnx_state})
            onnx_state = dict(zip(names, new_states, strict=True))
            difference = network.scores_of(log_posteriors) - torch.from_numpy(scores)
            largest = max(largest, float(difference.abs().nan_to_num(nan=inf).max()))
    return largest


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/export_onnx.sh", description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True, help="folder of a trained network, or network/ of an exported model")
    p.add_argument("--out", type=Path, required=True, help="file to write, such as lstmp.onnx")
    a = p.parse_args(argv)
    network = AcousticNetwork.load(a.model)
    export(network, a.out)
    try:
        difference = largest_difference(network, a.out)
    except ImportError:
        warn("onnxruntime is not installed, so the file was not tested: `pip install onnxruntime`")
    else:
        if difference > _TOLERANCE:
            raise UserError(f"its scores differ from PyTorch's by up to {difference:g}", file=a.out,
                            hint="this is a bug in lstmp; please report it")
        say(f"scores equal PyTorch's within {difference:.1e}")
    say(f"{a.out}: {a.out.stat().st_size / 2**20:.1f} MB, opset {OPSET}")


if __name__ == "__main__":
    main()
