"""The gates, cells and projections that look_inside shows agree with what the network computes."""

import pytest
import torch

from lstmp.errors import UserError
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.inside import activations, look_inside
from lstmp.nnet.layers import LstmpLayer
from lstmp.nnet.model import StateNetwork


@pytest.fixture
def network(small_config):
    def make(**changes) -> AcousticNetwork:
        cfg = small_config(**({"cells": 12, "recurrent_projection": 5, "layers": 2, "label_delay": 3} | changes))
        model = StateNetwork(cfg, 7, 11)
        model.initialize(1)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for p in model.parameters():  # peepholes and biases are 0 at first
                p.add_(torch.randn(p.shape, generator=generator), alpha=0.3)
            model.feature_mean.fill_(0.5)
        return AcousticNetwork(cfg, model, torch.randn(11, generator=generator))
    return make


@pytest.mark.parametrize("changes", [
    {}, {"projection": 4}, {"peepholes": False}, {"recurrent_projection": 0}, {"layer_norm": True, "residual": True},
    {"stack": 2}, {"cell_clip": 0.4}, {"subsampling": 4}])
def test_the_values_are_those_of_the_forward_pass(network, changes):
    net = network(**changes)
    feats = torch.randn(30, 7, generator=torch.Generator().manual_seed(3))
    layers, log_posteriors = look_inside(net, feats)
    delay, rows = net.cfg.output_delay, len(net(feats))
    assert len(layers) == 2 and log_posteriors.shape == (rows + delay, 11)
    torch.testing.assert_close((log_posteriors[delay:] - net.log_priors) * net.cfg.score_factor, net(feats))
    x = torch.randn(30, 7, generator=torch.Generator().manual_seed(4))
    layer = LstmpLayer(7, 12, net.cfg.recurrent_projection, net.cfg.projection, net.cfg.peepholes, net.cfg.cell_clip)
    layer.initialize(torch.Generator().manual_seed(5))
    with torch.no_grad():
        if layer.peephole is not None:
            layer.peephole.normal_(generator=torch.Generator().manual_seed(6))
        y, _, c = layer(x[:, None], torch.zeros(1, layer.rec), torch.zeros(1, 12))
    found = activations(layer, x)
    torch.testing.assert_close(torch.cat([found.recurrent, found.projection], 1), y[:, 0])
    torch.testing.assert_close(found.cells[-1], c[0])
    for gate in (found.input_gate, found.forget_gate, found.output_gate):
        assert gate.shape == (30, 12) and 0 < gate.min() and gate.max() < 1
    if not net.cfg.cell_clip < 1:
        torch.testing.assert_close(
            found.cells[1:], found.forget_gate[1:] * found.cells[:-1] + found.input_gate[1:] * found.candidate[1:])


def test_the_layers_are_shown_with_their_own_input(network):
    net = network()
    feats = torch.randn(20, 7)
    (lower, upper), _ = look_inside(net, feats)
    alone = activations(net.model.layers[1], lower.recurrent)
    torch.testing.assert_close(alone.cells, upper.cells)


@pytest.mark.parametrize("changes", [{"kind": "dnn", "recurrent_projection": 0},
                                     {"bidirectional": True, "label_delay": 0, "chunk": 0}])
def test_other_networks_are_one_error(network, changes):
    with pytest.raises(UserError, match="not a network of LSTMP layers"):
        look_inside(network(**changes), torch.randn(5, 7))
    with pytest.raises(UserError, match="shape"):
        look_inside(network(), torch.randn(5, 8))
