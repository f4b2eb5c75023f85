"""Networks exported as ONNX: onnxruntime computes the same scores as PyTorch."""

import json

import pytest
import torch

from lstmp.errors import UserError
from lstmp.nnet.export_onnx import PlainNetwork, export, largest_difference
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.model import StateNetwork

OPTIONS = [{}, {"projection": 3}, {"recurrent_projection": 0}, {"peepholes": False}, {"cell_clip": 0.0},
           {"cell_clip": 0.1}, {"layer_norm": True, "residual": True}, {"bottleneck": 4, "layers": 3},
           {"subsampling": 3}, {"subsampling": 2, "acoustic_factor": 1.0}]


def some_network(cfg):
    model = StateNetwork(cfg, 6, 9)
    model.initialize(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    model.feature_mean.uniform_(-1, 1), model.feature_std.uniform_(1, 2)
    return AcousticNetwork(cfg, model, torch.randn(9).log_softmax(0))


@pytest.mark.parametrize("options", OPTIONS)
def test_plain_operations_give_the_same_scores(small_config, options):
    network = some_network(small_config(**options))
    plain, x = PlainNetwork(network), torch.randn(11 * network.model.subsampling, 2, 6)
    state = network.model.zero_state(2)
    with torch.no_grad():
        expected, new = network.model(network.model.normalize(x), state)
        scores, *states = plain(x, *plain.of_layers(state))
    expected = (expected - network.log_priors) * network.cfg.score_factor
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    for a, b in zip(states, plain.of_layers(new), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_onnxruntime_gives_the_same_scores(small_config, options, tmp_path):
    pytest.importorskip("onnxruntime")
    network = some_network(small_config(**options))
    export(network, tmp_path / "x.onnx")
    assert largest_difference(network, tmp_path / "x.onnx") < 1e-4
    about = json.loads((tmp_path / "x.onnx.json").read_text())
    assert about["dim"] == 6 and about["pdfs"] == 9 and "c1" in about["states"]
    assert about["label_delay"] == network.cfg.output_delay and about["subsampling"] == network.cfg.subsampling
    with torch.no_grad():
        network.model.w_out[0].add_(0.5)
    assert largest_difference(network, tmp_path / "x.onnx") > 1e-3, "the comparison must be able to fail"


def test_scores_that_are_no_numbers_differ(small_config, tmp_path):
    pytest.importorskip("onnxruntime")
    network = some_network(small_config())
    export(network, tmp_path / "a.onnx")
    network.model.b_out.data[0] = float("nan")
    assert largest_difference(network, tmp_path / "a.onnx") == float("inf")


@pytest.mark.parametrize("options", [{"kind": "rnn", "recurrent_projection": 0}, {"stack": 3},
                                     {"bidirectional": True, "chunk": 0, "label_delay": 0}])
def test_other_network_types_are_refused(small_config, options):
    cfg = small_config(**options)
    with pytest.raises(UserError, match="are exported"):
        PlainNetwork(AcousticNetwork(cfg, StateNetwork(cfg, 6, 9), torch.zeros(9)))
