"""The kernels for AMX against PyTorch: layers of any shape and the output layer, clipping, saturation, NaN."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cell import make

from lstmp.nnet import amx
from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.loss import FrameCrossEntropy

pytestmark = pytest.mark.skipif(amx.kernels() is None, reason="no AMX, no C++ compiler, or LSTMP_NATIVE=0")


def results(args, clip, precision, kernels="1"):
    """Outputs and gradients; precision 64, 32, or 16 with the kernels or, `kernels` being 0, without."""
    bf16 = precision == 16
    args = [None if a is None else a.detach().to(torch.float64 if precision == 64 else torch.float32).requires_grad_()
            for a in args]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LSTMP_AMX", kernels)
        out = LstmpChunk.apply(*args, clip, bf16)
        weight = [torch.cos(torch.arange(o.numel(), dtype=o.dtype)).view(o.shape) for o in out]
        return [*out, *torch.autograd.grad(out, [a for a in args if a is not None], weight)]


def off(got, wanted):
    return float((got.double() - wanted.double()).norm() / wanted.double().norm().clamp(min=1e-9))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 70), st.integers(1, 90), st.integers(0, 70),
       st.integers(0, 40), st.booleans(), st.sampled_from([None, 50.0]), st.integers(0, 10**6))
def test_any_shape_is_as_near_to_the_truth_as_pytorch(frames, streams, inputs, cells, rec, proj, peepholes, clip, seed):
    args = make(frames, streams, inputs, cells, rec, proj if rec else 0, peepholes, seed, scale=0.3)
    for a, b, c in zip(*(results(args, clip, *how) for how in ((16,), (16, "0"), (64,))), strict=True):
        assert a.dtype == torch.float32 and a.shape == c.shape
        assert off(a, c) < 0.01 + 2 * off(b, c)


@pytest.mark.parametrize("rec,proj", [(0, 0), (64, 0), (40, 24)])
def test_large_layers(rec, proj):
    args = make(20, 33, 40, 160, rec, proj, True, 1, scale=0.1)
    for a, b, c in zip(*(results(args, 50.0, *how) for how in ((16,), (16, "0"), (64,))), strict=True):
        assert off(a, c) < 0.05 and off(b, c) < 0.05


def test_a_clipped_cell_passes_no_gradient():
    args = make(30, 18, 3, 20, 9, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][:60] = 20.0  # input, forget and cell gates open: the cell grows by 1 a frame
        args[2].fill_(60.0)
    for precision in (16, 64):
        out = results(args, 50.0, precision)
        assert torch.equal(out[1], torch.full_like(out[1], 50.0))
        assert torch.count_nonzero(out[4]) == 0  # of c_0
    assert torch.count_nonzero(results(args, None, 16)[4]) == out[4].numel()


def test_saturated_gates_stay_finite():
    args = make(5, 17, 20, 40, 8, 8, True, scale=1e3)
    assert all(torch.isfinite(x).all() for x in results(args, 50.0, 16))


@pytest.mark.parametrize("which", range(9))
def test_nan_goes_through(which):
    args = make(3, 17, 20, 40, 8, 8, True, scale=0.3)
    with torch.no_grad():
        args[which].view(-1)[5] = float("nan")
    assert torch.isnan(results(args, 50.0, 16)[0]).any()


def test_gradients_that_nobody_asks_for_are_left_out():
    args = make(4, 5, 6, 7, 3, 2, True, dtype=torch.float32)
    x, r, c, *weights = (a.detach() for a in args)
    weights = [w.requires_grad_() for w in weights]
    y, last = LstmpChunk.apply(x, r, c, *weights, 50.0, True)
    wanted = results(args, 50.0, 16)[5:]
    grads = torch.autograd.grad([y, last], weights, [torch.cos(torch.arange(o.numel()).float()).view(o.shape)
                                                     for o in (y, last)])
    for a, b in zip(grads, wanted, strict=True):
        assert torch.equal(a, b)


def test_the_same_again_and_beside_other_users_of_the_tiles():
    args = make(6, 20, 30, 50, 20, 0, True)
    first = results(args, 50.0, 16)
    big = torch.randn(64, 64).bfloat16()
    product = big @ big  # oneDNN sets the tile registers its own way
    for _ in range(3):
        for a, b in zip(results(args, 50.0, 16), first, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(big @ big, product)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 200), st.integers(0, 10**6))
def test_output_layer_of_any_shape(rows, width, states, seed):
    g = torch.Generator().manual_seed(seed)
    y, w, b = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((rows, width), (states, width), (states,)))
    targets = torch.randint(-1, states, (rows,), generator=g)

    def run(dtype, bf16):
        given = [a.to(dtype).requires_grad_() for a in (y, w, b)]
        loss, correct = FrameCrossEntropy.apply(*given, targets, 7, bf16)
        return correct, [loss, *torch.autograd.grad(3 * loss, given)]

    (correct, got), (right, wanted) = run(torch.float32, True), run(torch.float64, False)
    for a, c in zip(got, wanted, strict=True):
        assert off(a, c) < 0.03
    assert abs(int(correct) - int(right)) <= 1 + rows // 20


def test_output_layer_of_what_is_wrong():
    y, w, b = torch.randn(20, 30), torch.randn(40, 30), torch.randn(40)
    targets = torch.randint(40, (20,))
    with pytest.raises(IndexError, match="target 40 of 40"):
        FrameCrossEntropy.apply(y, w, b, torch.cat([targets[:-1], torch.tensor([40])]), 4, True)
    for value in (float("nan"), float("inf")):
        for place in (y, w, b):
            bad = [a.clone() for a in (y, w, b)]
            next(a for a in bad if a.shape == place.shape).view(-1)[3] = value
            assert not torch.isfinite(FrameCrossEntropy.apply(*bad, targets, 4, True)[0])


def test_without_the_kernels_where_told_so(monkeypatch):
    monkeypatch.setenv("LSTMP_AMX", "0")
    assert amx.kernels() is None and not amx.fits(torch.zeros(1))
