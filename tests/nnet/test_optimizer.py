"""Updates of the weights: Adam in one pass agrees with torch's; clipping."""

from dataclasses import replace

import pytest
import torch

from lstmp.features.load import FeatureConfig
from lstmp.nnet.kernels import gates
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.optimizer import Adam, clip_gradients, make_optimizer, moments, set_moments


def weights(seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(*s, generator=g).requires_grad_() for s in ((3, 50), (17,), (40, 33))]


def gradients(of, seed):
    g = torch.Generator().manual_seed(seed)
    for p in of:
        p.grad = 10.0 ** (seed % 5 - 3) * torch.randn(p.shape, generator=g).to(p.dtype)


@pytest.mark.skipif(gates.kernels() is None, reason="no C++ compiler, or LSTMP_NATIVE=0")
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_agrees_with_torch(decay, monkeypatch):
    mine, theirs = weights(), weights()
    one = Adam(mine, lr=0.01, betas=(0.9, 0.999), weight_decay=decay)
    other = torch.optim.AdamW(theirs, lr=0.01, betas=(0.9, 0.999), weight_decay=decay)
    used = []
    monkeypatch.setattr(Adam, "_update", lambda self, *a, do=Adam._update: used.append(1) or do(self, *a))
    for seed in range(12):
        for group in (*one.param_groups, *other.param_groups):
            group["lr"] = 0.01 / (seed + 1)
        gradients(mine, seed), gradients(theirs, seed)
        one.step(), other.step()
    assert len(used) == 12 * len(mine)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
        assert one.state[a].keys() == other.state[b].keys()
        for key in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(one.state[a][key], other.state[b][key], rtol=1e-5, atol=1e-6)


def test_adam_without_the_kernel_is_that_of_torch():
    mine, theirs = ([w.detach().double().requires_grad_() for w in weights()] for _ in range(2))
    one, other = Adam(mine, lr=0.01), torch.optim.AdamW(theirs, lr=0.01)
    for seed in range(3):
        gradients(mine, seed), gradients(theirs, seed)
        one.step(), other.step()
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)


def test_matrices_and_convolutions_decay(small_config):
    cfg = small_config(feature=FeatureConfig("fbank", "none", 0), conv_maps=[3], layer_norm=True, weight_decay=0.1)
    model = StateNetwork(cfg, 12, 5)
    decaying, others = (g["params"] for g in make_optimizer(cfg, model).param_groups)
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(decaying) + len(others) == len(names)
    assert "convolutions.convolutions.0.weight" in {names[id(p)] for p in decaying}
    assert {names[id(p)].rpartition(".")[2] for p in decaying} == {"weight", "w_low", "w_x", "w_r", "w_rm", "w_out"}
    assert {p.dim() for p in others} == {1, 2} and {"peephole"} == {
        names[id(p)].rpartition(".")[2] for p in others if p.dim() == 2}


def test_weights_without_gradient_are_not_changed():
    mine = weights()
    before = [w.detach().clone() for w in mine]
    gradients(mine[:2], 3)
    Adam(mine, lr=0.1).step()
    assert [torch.equal(a.detach(), b) for a, b in zip(mine, before, strict=True)] == [False, False, True]


def test_moments_are_restored_from_a_checkpoint(small_config):
    model = StateNetwork(small_config(), 5, 7)
    model.initialize(1)
    one = make_optimizer(small_config(), model)
    gradients(model.parameters(), 1)
    one.step()
    other = make_optimizer(small_config(), model)
    set_moments(other, model, moments(one, model))
    for p in model.parameters():
        for key, value in one.state[p].items():
            assert torch.equal(value, other.state[p][key])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_gives_a_norm_that_is_not(small_config, bad):
    model = StateNetwork(replace(small_config(), projection=0), 5, 7)
    model.initialize(1)
    gradients(model.parameters(), 2)
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert clip_gradients(model, 0.0, 0.0) == pytest.approx(float(norm), rel=1e-5)
    next(model.parameters()).grad.view(-1)[3] = bad
    assert not torch.isfinite(torch.tensor(clip_gradients(model, 1.0, 0.0)))


def test_clipping(small_config):
    model = StateNetwork(small_config(), 5, 7)
    model.initialize(1)
    gradients(model.parameters(), 4)  # of magnitude 10
    clip_gradients(model, 1.0, 0.0)
    assert max(float(p.grad.abs().max()) for p in model.parameters()) == 1.0
    before = [p.grad.clone() for p in model.parameters()]
    norm = clip_gradients(model, 1.0, 0.5)
    for p, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.grad, old * 0.5 / norm)
