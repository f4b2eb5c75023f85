"""The compiled kernels agree with PyTorch: any shape, saturated gates, clipped cells, masked frames, NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.nnet import loss
from lstmp.nnet.cell import LstmpChunk
from lstmp.nnet.kernels import gates

pytestmark = pytest.mark.skipif(gates.kernels() is None, reason="no C++ compiler, or LSTMP_NATIVE=0")


def tensors(frames, streams, cells, peepholes, seed, scale=2.0):
    g = torch.Generator().manual_seed(seed)
    shapes = (frames, streams, 4, cells), (frames + 1, streams, cells), *2 * [(frames, streams, cells)]
    made = [scale * torch.randn(*shape, generator=g) for shape in shapes]
    return *made, scale * torch.randn(3, cells, generator=g) if peepholes else None


def both(frames, streams, cells, peepholes, clip, seed, scale=2.0):
    """All tensors of the reference and of the compiled class after all frames, forward and backward."""
    results = []
    for gates_class in (gates.Gates, gates.CompiledGates):
        made = tensors(frames, streams, cells, peepholes, seed, scale)
        step = gates_class(*made, clip)
        for t in range(frames):
            step.forward(t)
        forward = [x.clone() for x in made[:4]]
        g = torch.Generator().manual_seed(seed + 1)
        d_gates, dc = step.start_backward(), torch.randn(streams, cells, generator=g)
        for t in reversed(range(frames)):
            step.backward(t, torch.randn(streams, cells, generator=g), dc)
        results.append([*forward, d_gates, dc, *step.sums()])
    return results


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 70), st.booleans(), st.sampled_from([None, 50.0, 0.4]),
       st.integers(0, 10**6))
def test_compiled_gates_equal_the_reference_on_any_shape(frames, streams, cells, peepholes, clip, seed):
    for a, b in zip(*both(frames, streams, cells, peepholes, clip, seed), strict=True):
        if a is None:
            assert b is None
        else:
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5)


def test_saturated_gates_stay_finite():
    for a, b in zip(*both(3, 4, 33, True, 50.0, 0, scale=1e4), strict=True):
        assert torch.isfinite(b).all()
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("which", [0, 1])
def test_nan_is_propagated(which):
    made = tensors(1, 3, 20, True, 0)
    made[which].view(-1)[7] = float("nan")  # in a gate's input, and in a previous cell
    step = gates.CompiledGates(*made, 50.0)
    step.forward(0)
    assert torch.isnan(step.cells[1]).any() and torch.isnan(step.outs).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 200), st.floats(0.1, 60), st.integers(0, 10**6))
def test_cross_entropy_equals_the_reference(rows, states, scale, seed):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(scale * rng.standard_normal((rows, states))).float()
    targets = torch.from_numpy(rng.integers(-1, states, rows))
    wanted = loss._in_torch(logits.clone(), targets, 7)
    got = loss._compiled(logits.clone(), targets, 7)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=1e-6)


def test_cross_entropy_with_bad_targets_and_numbers():
    logits = torch.randn(4, 30)
    with pytest.raises(IndexError, match="target 30 of 30"):
        loss._compiled(logits.clone(), torch.tensor([0, 30, 1, 2]), 4)
    for value in (float("nan"), float("inf")):
        for column in (0, 29):
            bad = logits.clone()
            bad[2, column] = value
            assert not torch.isfinite(loss._compiled(bad, torch.tensor([0, 3, 1, 2]), 4)[0])


def test_compiled_gates_are_used_for_float32_only(monkeypatch):
    used = []
    monkeypatch.setattr(gates.CompiledGates, "forward", lambda self, t: used.append(t) or gates.Gates.forward(self, t))
    for dtype, count in ((torch.float64, 0), (torch.float32, 2)):
        used.clear()
        LstmpChunk.apply(*(torch.randn(*s, dtype=dtype) for s in ((2, 3, 4), (3, 2), (3, 5), (20, 4), (20, 2), (20,))),
                         None, torch.randn(2, 5, dtype=dtype), None, None)
        assert len(used) == count
