"""On a GPU: the Triton kernels agree with float64, CUDA graphs with plain execution, and training works end to end."""

import json

import numpy as np
import pytest
import torch
from helpers.lstmp_chunk import make, off
from helpers.toy_data import assert_same, interrupted, run, weights

from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.kernels import gpu, graphed
from lstmp.nnet.model import StateNetwork

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
NEAR = {"ieee": 1e-5, "tf32": 4e-3, "bf16": 1e-2}  # largest relative difference from float64


@pytest.fixture(autouse=True)
def restore_precision_of_products():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def results(args, clip, precision):
    """Outputs and gradients: `fp64` on the CPU; `ieee`, `tf32` or `bf16` on the GPU."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    place = {"device": "cuda", "dtype": torch.float32}
    if precision == "fp64":
        place = {"device": "cpu", "dtype": torch.float64}
    args = [None if a is None else a.detach().to(**place).requires_grad_() for a in args]
    out = LstmpChunk.apply(*args, clip, precision == "bf16")
    weight = [torch.cos(torch.arange(o.numel(), dtype=torch.float64)).view(o.shape).to(**place) for o in out]
    grads = torch.autograd.grad(out, [a for a in args if a is not None], weight)
    return [t.cpu() for t in (*out, *grads)]


SHAPES = [  # frames, streams, inputs, cells, recurrent projection, other projection, peepholes
    (1, 1, 1, 1, 1, 0, True), (3, 5, 4, 7, 5, 3, True), (4, 17, 6, 20, 0, 0, True), (3, 3, 6, 18, 0, 0, False),
    (2, 33, 6, 40, 17, 0, False), (5, 70, 6, 20, 17, 9, True), (2, 3, 6, 70, 140, 9, True),
    (20, 64, 40, 320, 128, 0, True), (20, 129, 40, 512, 256, 0, True), (37, 133, 40, 129, 64, 33, True)]


@pytest.mark.parametrize("precision", NEAR)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clip", [None, 50.0, 0.3])
def test_any_shape_is_close_to_float64(precision, shape, clip):
    if precision != "ieee" and clip == 0.3:
        pytest.skip("rounding decides which cells are clipped")
    args = make(*shape, 1, scale=0.3 if shape[3] < 100 else 0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu, "kernels", lambda: None)
        plain = results(args, clip, precision)
    assert gpu.kernels() is not None
    for got, by_torch, wanted in zip(results(args, clip, precision), plain, results(args, clip, "fp64"), strict=True):
        assert got.shape == wanted.shape and off(got, wanted) < NEAR[precision] + 2 * off(by_torch, wanted)


def test_the_kernels_are_used_unless_they_are_disabled(monkeypatch):
    used, args = [], make(2, 8, 3, 4, 2, 0, True)
    do = gpu.forward
    monkeypatch.setattr(gpu, "forward", lambda *a: used.append(0) or do(*a))
    with_kernels = results(args, 50.0, "ieee")
    assert used == [0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTMP_TRITON", "0")
        gpu.kernels.cache_clear()
        without = results(args, 50.0, "ieee")
    gpu.kernels.cache_clear()
    assert used == [0]
    for a, b in zip(with_kernels, without, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["ieee", "bf16"])
def test_nan_is_propagated(precision):
    args = make(3, 4, 3, 20, 18, 0, True, scale=0.1)
    with torch.no_grad():
        args[0][1, 2, 0] = float("nan")
    y = results(args, 50.0, precision)[0]
    assert y[1:, 2].isnan().all() and not y[:, [0, 1, 3]].isnan().any() and not y[0].isnan().any()


@pytest.mark.parametrize("changes", [
    {}, {"dropout": 0.3, "precision": "bf16"}, {"kind": "dnn", "recurrent_projection": 0},
    {"bidirectional": True, "label_delay": 0}, {"layer_norm": True, "projection": 4}, {"stack": 3},
    {"kind": "rnn", "recurrent_projection": 0}, {"bottleneck": 4, "residual": True}, {"without": True},
    {"subsampling": 3}])
def test_a_graph_computes_the_same_as_its_kernels(small_config, monkeypatch, changes):
    if changes.pop("without", False):
        monkeypatch.setattr(gpu, "kernels", lambda: None)
    model = StateNetwork(small_config(**changes), 6, 5)
    model.initialize(1)
    model.cuda()
    whole, rng = graphed.loss_and_gradients_for(model), torch.Generator().manual_seed(1)
    assert isinstance(whole, graphed.Graphed)
    for number in range(8):
        n = 3 if number == 6 else 4  # one batch of another shape in between
        x = torch.randn(7 * model.subsampling, n, 6, generator=rng).cuda()
        targets = torch.randint(-1, 5, (7, n), generator=rng).cuda()
        state = [tuple(torch.randn(t.shape, generator=rng).cuda() for t in pair) for pair in model.zero_state(n)]
        lengths = torch.randint(1, 8, (n,), generator=rng)

        def once(function, *model, number=number, batch=(x, state, targets, 28), lengths=lengths):
            return function(*model, *batch, torch.Generator("cuda").manual_seed(number), lengths)

        (loss, correct, after, grads), wanted = once(whole), once(graphed.loss_and_gradients, model)
        assert torch.equal(loss, wanted[0]) and torch.equal(correct, wanted[1])
        for a, b in zip((*grads, *(t for pair in after for t in pair)),
                        (*wanted[3], *(t for pair in wanted[2] for t in pair)), strict=True):
            assert torch.equal(a, b)
        with torch.no_grad():  # the weights change in place
            for p, g in zip(model.parameters(), grads, strict=True):
                p.sub_(0.1 * g)
    assert len(whole.graphs) == 1


@pytest.mark.parametrize("options", [{"dropout": 0.3, "input_noise": 0.1, "freq_masks": 1}, {"precision": "auto"},
                                     {"bidirectional": True, "chunk": 9, "label_delay": 0}, {"accumulate": 2},
                                     {"subsampling": 3, "chunk": 3},
                                     {"bidirectional": True, "chunk": 0, "label_delay": 0, "streams": 2, "epochs": 5},
                                     {"optimizer": "sgd", "lr_initial": 0.5, "lr_final": 0.1, "average_last": 2}])
def test_an_interrupted_training_ends_with_the_same_weights(toy, small_config, monkeypatch, options):
    cfg = small_config(**{"epochs": 3} | options)
    whole = run(toy, cfg, "whole", device="cuda", threads=1)
    parts, kills = interrupted(toy, cfg, monkeypatch, device="cuda", threads=1)
    assert kills > 2
    assert_same(whole, parts)


def test_training_reaches_the_accuracy_of_a_cpu(toy, small_config):
    cfg = small_config(epochs=20, cells=24, recurrent_projection=12)
    accuracies = {}
    for device in ("cpu", "cuda"):
        out = run(toy, cfg, device, device=device, threads=1)
        accuracies[device] = json.loads((out / "train.json").read_text())["frame_accuracy_train"]
        feats = [torch.from_numpy(f) for f in list(toy.feats.values())[:3]]
        scores = {d: [s.cpu() for s in AcousticNetwork.load(out, d).batch(feats)] for d in ("cpu", "cuda")}
        for a, b in zip(scores["cpu"], scores["cuda"], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert accuracies["cpu"] > 0.8 and abs(accuracies["cpu"] - accuracies["cuda"]) < 0.05
    first = weights(toy.path / "cuda")
    assert all(torch.isfinite(t).all() for t in first.values())
