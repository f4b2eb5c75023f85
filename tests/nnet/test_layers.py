"""Each type of layer: its equations, its gradients, and networks that are trained, stored and read again."""

import pytest
import torch

from lstmp.errors import UserError
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.layers import ACTIVATIONS, Bidirectional, DenseLayer, FrameStack, LstmpLayer, RnnLayer, reverse_time
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.train import train

DNN = {"kind": "dnn", "recurrent_projection": 0, "stack": 4}
RNN = {"kind": "rnn", "recurrent_projection": 0, "activation": "tanh"}
BIDIRECTIONAL = {"bidirectional": True, "chunk": 0, "label_delay": 0}
NETWORKS = {"dnn": DNN, "relu": DNN | {"activation": "relu"}, "low rank": DNN | {"bottleneck": 4}, "rnn": RNN,
         "normalized": {"layer_norm": True}, "residual": {"residual": True, "layers": 3},
         "all": {"layer_norm": True, "residual": True, "projection": 2, "bottleneck": 3, "stack": 2},
         "bf16": {"precision": "bf16", "projection": 2}, "dnn, bf16": DNN | {"precision": "bf16"},
         "whole": {"chunk": 0}, "low frame rate": {"subsampling": 3, "chunk": 3},
         "dnn, low frame rate": DNN | {"subsampling": 2},
         "bidirectional, low frame rate": BIDIRECTIONAL | {"subsampling": 3},
         "bidirectional": BIDIRECTIONAL, "bidirectional rnn": RNN | BIDIRECTIONAL,
         "bidirectional, normalized": BIDIRECTIONAL | {"layer_norm": True, "residual": True}}


def ready(layer, seed=0):
    layer.double().initialize(torch.Generator().manual_seed(seed))
    return layer


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def start(layer, streams):
    return [torch.zeros(streams, n, dtype=torch.float64) for n in layer.state_sizes]


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("clip", [0.0, 0.2])
def test_rnn_equals_its_equation(activation, clip):
    layer, x = ready(RnnLayer(5, 7, activation, clip)), random(6, 3, 5)
    h, wanted = random(3, 7, seed=1), []
    y, r, c = layer(x, h, torch.zeros(3, 0))
    for x_t in x:
        h = ACTIVATIONS[activation](x_t @ layer.w_x.T + h @ layer.w_r.T + layer.bias)
        h = h.clamp(-clip, clip) if clip else h
        wanted.append(h)
    torch.testing.assert_close(y, torch.stack(wanted))
    torch.testing.assert_close(r, wanted[-1])
    assert c.shape == (3, 0)


def test_dense_layer_has_no_memory():
    layer, x = ready(DenseLayer(5, 7, "relu")), random(6, 3, 5)
    y, _, _ = layer(x, *start(layer, 3))
    torch.testing.assert_close(y, (x @ layer.w_x.T + layer.bias).clamp(min=0))
    assert (y == 0).any() and (y > 0).any()


def test_stack_contains_the_previous_frames_oldest_first():
    layer, x = FrameStack(2, 4), random(9, 3, 2)
    y, _, _ = layer(x, *start(layer, 3))
    padded = torch.cat([torch.zeros(3, 3, 2, dtype=torch.float64), x])
    for t in range(9):
        assert torch.equal(y[t], torch.cat([padded[t + k] for k in range(4)], 1))


@pytest.mark.parametrize("stack", [1, 4])
@pytest.mark.parametrize("chunks", [[5], [1, 3, 1]])
def test_stack_of_groups_contains_the_group_and_the_frames_before_it(stack, chunks):
    layer, x, found = FrameStack(2, stack, 3), random(15, 4, 2), []
    r, c = start(layer, 4)
    for chunk in x.split([3 * n for n in chunks]):
        y, r, c = layer(chunk, r, c)
        found.append(y)
    y = torch.cat(found)
    assert y.shape == (5, 4, layer.outputs) and r.shape[1] == 2 * (stack - 1)
    padded = torch.cat([torch.zeros(stack - 1, 4, 2, dtype=torch.float64), x])
    for t in range(5):
        assert torch.equal(y[t], torch.cat([padded[3 * t + k] for k in range(3 + stack - 1)], 1))


def test_the_backward_layer_reads_each_stream_from_its_end():
    lengths = torch.tensor([6, 2, 1])
    layer = ready(Bidirectional(*(LstmpLayer(4, 5, 3, 2, True, 50.0) for _ in range(2))))
    x = random(6, 3, 4)
    y, _, _ = layer(x, *start(layer, 3), lengths)
    for n, length in enumerate(lengths.tolist()):
        own = x[:length, n:n + 1]
        ahead, _, _ = layer.ahead(own, *start(layer.ahead, 1))
        back, _, _ = layer.back(own.flip(0), *start(layer.back, 1))
        torch.testing.assert_close(y[:length, n:n + 1], torch.cat([ahead, back.flip(0)], 2))
    assert torch.equal(reverse_time(reverse_time(x, lengths), lengths), x)
    with pytest.raises(ValueError, match="where the streams end"):
        layer(x, *start(layer, 3))


@pytest.mark.parametrize("name", [n for n in NETWORKS if "bf16" not in n and n != "bidirectional, low frame rate"])
def test_gradients(small_config, name):
    cfg = small_config(**({"cells": 4, "recurrent_projection": 2} | NETWORKS[name]))
    model = StateNetwork(cfg, 3, 4).double()
    model.initialize(1)
    x, targets = random(5 * cfg.subsampling, 2, 3), torch.tensor([[0, 1], [2, -1], [3, 3], [1, 0], [2, -1]])
    names, params = zip(*model.named_parameters(), strict=True)

    def loss(*values):
        return torch.nn.utils.stateless.functional_call(
            Loss(model), {f"model.{n}": v for n, v in zip(names, values, strict=True)},
            (x, model.zero_state(2), targets, 5, None, torch.tensor([5, 3])))

    if NETWORKS[name].get("activation") != "relu":  # relu has no derivative at 0, where gradcheck may evaluate it
        assert torch.autograd.gradcheck(loss, params)
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss(*params), params))


class Loss(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *args):
        return self.model.loss(*args)[0]


@pytest.mark.parametrize("name", [n for n in NETWORKS if "bidirectional" not in n and "bf16" not in n])
def test_chunks_with_carried_state_equal_the_whole(small_config, name):
    model = StateNetwork(small_config(**NETWORKS[name]), 6, 9).double()
    model.initialize(3)
    x = random(50 * model.subsampling, 3, 6)
    whole, last = model(x, model.zero_state(3))
    state, parts = model.zero_state(3), []
    for chunk in x.split(20 * model.subsampling):
        part, state = model(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    for a, b in zip(sum(state, ()), sum(last, ()), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_stored_and_read_again(toy, small_config, name):
    cfg = small_config(**({"epochs": 40, "lr_initial": 0.02, "cells": 32, "recurrent_projection": 12,
                           "average_last": 1} | NETWORKS[name]))
    train(cfg, toy.data, toy.ali, toy.valid, toy.path / "net", threads=2)
    network = AcousticNetwork.load(toy.path / "net")
    names = list(toy.feats)[:-2]
    scores = network.batch([torch.from_numpy(toy.feats[u]) for u in names])
    for one, utt in zip(scores, names, strict=True):
        torch.testing.assert_close(network(torch.from_numpy(toy.feats[utt])), one, rtol=1e-3, atol=1e-3)
    group = network.subsampling  # of 1 or more frames, with the state of the middle one
    states = [toy.pdfs[u][[min(group * t + group // 2, len(toy.pdfs[u]) - 1) for t in range(len(s))]]
              for s, u in zip(scores, names, strict=True)]
    right = sum(int(((s / group + network.log_priors).argmax(1) == torch.from_numpy(pdfs)).sum())
                for s, pdfs in zip(scores, states, strict=True))
    assert right / sum(map(len, scores)) > 0.95


def test_parameter_count_of_the_feed_forward_baseline(small_config):
    cfg = small_config(kind="dnn", recurrent_projection=0, stack=16, layers=3, cells=50, bottleneck=8, layer_norm=True)
    assert StateNetwork(cfg, 40, 90).num_params == 16 * 40 * 50 + 2 * 50 * 50 + 50 * 8 + 8 * 90


@pytest.mark.parametrize(("change", "word"), [
    ({"kind": "gru"}, "kind"), ({"kind": "rnn"}, "recurrent_projection"), ({"activation": "elu"}, "activation"),
    (BIDIRECTIONAL | {"label_delay": 5}, "label_delay"), ({"stack": 0}, "stack"),
    (DNN | BIDIRECTIONAL, "bidirectional"), ({"bottleneck": -1}, "bottleneck"),
    (RNN | {"precision": "bf16"}, "precision"),
    ({"precision": "fp16"}, "precision"), ({"chunk": -1}, "chunk")])
def test_configuration_out_of_range(small_config, change, word):
    with pytest.raises(UserError, match=f"`{word}`"):
        small_config(**change)
