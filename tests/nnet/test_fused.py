"""The fused kernels against PyTorch: layers of any shape and the output layer, clipping, saturation, NaN."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cell import make

from lstmp.nnet import fused
from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.loss import FrameCrossEntropy

KINDS = [pytest.param(kind, marks=pytest.mark.skipif(
    fused.kernels(kind) is None, reason=f"no {part}, no C++ compiler, or LSTMP_NATIVE=0"))
    for kind, part in (("fp32", "AVX-512"), ("bf16", "AMX"))]
NEAR = {"fp32": 2e-5, "bf16": 0.05}  # of the truth in float64, relative
by_kind = pytest.mark.parametrize("kind", KINDS)


def results(args, clip, kind, use="bf16 fp32"):
    """Outputs and gradients, of `fp64`, `fp32` or `bf16`; with the kernels that ``use`` names."""
    dtype = torch.float64 if kind == "fp64" else torch.float32
    args = [None if a is None else a.detach().to(dtype).requires_grad_() for a in args]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTMP_FUSED", use)
        out = LstmpChunk.apply(*args, clip, kind == "bf16")
        weight = [torch.cos(torch.arange(o.numel(), dtype=dtype)).view(o.shape) for o in out]
        return [*out, *torch.autograd.grad(out, [a for a in args if a is not None], weight)]


def off(got, wanted):
    return float((got.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-9))


@by_kind
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(0, 70),
       st.integers(0, 40), st.booleans(), st.sampled_from([None, 50.0]), st.integers(0, 10**6))
def test_any_shape_is_near_the_truth(kind, frames, streams, inputs, cells, rec, proj, peepholes, clip, seed):
    args = make(frames, streams, inputs, cells, rec, proj if rec else 0, peepholes, seed, scale=0.3)
    plain, exact = results(args, clip, kind, ""), results(args, clip, "fp64")
    for a, b, c in zip(results(args, clip, kind), plain, exact, strict=True):
        assert a.dtype == torch.float32 and a.shape == c.shape
        assert off(a, c) < NEAR[kind] / 5 + 2 * off(b, c)


@by_kind
@pytest.mark.parametrize("rec,proj", [(0, 0), (64, 0), (40, 24)])
def test_large_layers(kind, rec, proj):
    args = make(20, 33, 40, 160, rec, proj, True, 1, scale=0.1)
    for a, c in zip(results(args, 50.0, kind), results(args, 50.0, "fp64"), strict=True):
        assert off(a, c) < NEAR[kind]


@by_kind
def test_they_are_used(kind, monkeypatch):
    used = []
    monkeypatch.setattr(fused, "forward", lambda *a: used.append(a[-1]) or pytest.skip("seen"))
    args = make(2, 8, 3, 4, 2, 0, True)
    with pytest.raises(pytest.skip.Exception):
        results(args, 50.0, kind)
    assert used == [kind == "bf16"]
    results(args, 50.0, kind, "")
    results(args, 50.0, "fp64")
    assert len(used) == 1


@by_kind
def test_a_clipped_cell_passes_no_gradient(kind):
    args = make(30, 18, 3, 20, 9, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][:60] = 20.0  # input, forget and cell gates open: the cell grows by 1 a frame
        args[2].fill_(60.0)
    out = results(args, 50.0, kind)
    assert torch.equal(out[1], torch.full_like(out[1], 50.0))
    assert torch.count_nonzero(out[4]) == 0  # of c_0
    assert torch.count_nonzero(results(args, None, kind)[4]) == out[4].numel()


@by_kind
def test_saturated_gates_stay_finite(kind):
    args = make(5, 17, 20, 40, 8, 8, True, scale=1e3)
    assert all(torch.isfinite(x).all() for x in results(args, 50.0, kind))


@by_kind
@pytest.mark.parametrize("which", range(9))
def test_nan_goes_through(kind, which):
    args = make(3, 17, 20, 40, 8, 8, True, scale=0.3)
    with torch.no_grad():
        args[which].view(-1)[5] = float("nan")
    assert torch.isnan(results(args, 50.0, kind)[0]).any()


@by_kind
def test_gradients_that_nobody_asks_for_are_left_out(kind):
    args = make(4, 9, 6, 7, 3, 2, True, dtype=torch.float32)
    x, r, c, *weights = (a.detach() for a in args)
    weights = [w.requires_grad_() for w in weights]
    out = LstmpChunk.apply(x, r, c, *weights, 50.0, kind == "bf16")
    grads = torch.autograd.grad(out, weights, [torch.cos(torch.arange(o.numel()).float()).view(o.shape) for o in out])
    for a, b in zip(grads, results(args, 50.0, kind)[5:], strict=True):
        assert torch.equal(a, b)


@by_kind
def test_the_same_again_and_beside_other_users_of_the_tiles(kind):
    args = make(6, 20, 30, 50, 20, 0, True)
    first = results(args, 50.0, kind)
    big = torch.randn(64, 64).bfloat16()
    product = big @ big  # oneDNN sets the tile registers its own way
    for _ in range(3):
        for a, b in zip(results(args, 50.0, kind), first, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(big @ big, product)


@by_kind
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 200), st.integers(0, 10**6))
def test_output_layer_of_any_shape(kind, rows, width, states, seed):
    g = torch.Generator().manual_seed(seed)
    y, w, b = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((rows, width), (states, width), (states,)))
    targets = torch.randint(-1, states, (rows,), generator=g)

    def run(dtype, bf16):
        given = [a.to(dtype).requires_grad_() for a in (y, w, b)]
        loss, correct = FrameCrossEntropy.apply(*given, targets, 7, bf16)
        return correct, [loss, *torch.autograd.grad(3 * loss, given)]

    (correct, got), (right, wanted) = run(torch.float32, kind == "bf16"), run(torch.float64, False)
    for a, c in zip(got, wanted, strict=True):
        assert off(a, c) < NEAR[kind]
    assert abs(int(correct) - int(right)) <= (1 + rows // 20 if kind == "bf16" else 0)


@by_kind
def test_output_layer_of_what_is_wrong(kind):
    y, w, b = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40)
    targets, bf16 = torch.randint(40, (20,)), kind == "bf16"
    with pytest.raises(IndexError, match="target 40 of 40"):
        FrameCrossEntropy.apply(y, w, b, torch.cat([targets[:-1], torch.tensor([40])]), 4, bf16)
    for value in (float("nan"), float("inf")):
        for which in range(3):
            bad = [a.clone() for a in (y, w, b)]
            bad[which].view(-1)[3] = value
            assert not torch.isfinite(FrameCrossEntropy.apply(*bad, targets, 4, bf16)[0])


def test_without_the_kernels_where_told_so(monkeypatch):
    monkeypatch.setenv("LSTMP_FUSED", "")
    for kind in ("fp32", "bf16"):
        assert fused.kernels(kind) is None and not fused.fits(torch.zeros(16, 16), kind == "bf16")
