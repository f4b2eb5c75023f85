"""The kernels for scoring give the scores of the layers with rounded weights, for any sizes and numbers of streams."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.nnet.kernels import scoring
from lstmp.nnet.layers import LstmpLayer

needs_kernels = pytest.mark.skipif(scoring.kernels() is None, reason="no C++ compiler, or LSTMP_NATIVE=0")


def make_layer(inputs, cells, rec, proj, peepholes, clip, seed) -> LstmpLayer:
    layer = LstmpLayer(inputs, cells, rec, proj if rec else 0, peepholes, clip)
    generator = torch.Generator().manual_seed(seed)
    layer.initialize(generator)
    with torch.no_grad():
        layer.bias.normal_(generator=generator)
        if peepholes:
            layer.peephole.normal_(generator=generator)
    return layer


def outputs(layer, frames, streams, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(frames, streams, layer.w_x.shape[1], generator=generator)
    r, c = (torch.randn(streams, n, generator=generator) for n in layer.state_sizes)
    with torch.no_grad():
        return layer(x, r, c)


@needs_kernels
@pytest.mark.parametrize("weights", scoring.WEIGHTS)
@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 37), st.integers(1, 50), st.integers(1, 90), st.integers(0, 70),
       st.integers(0, 40), st.booleans(), st.sampled_from([0.0, 0.7]), st.integers(0, 10**6))
def test_any_shape_equals_the_layer_with_rounded_weights(weights, frames, streams, inputs, cells, rec, proj, peepholes,
                                                         clip, seed):
    layer = make_layer(inputs, cells, rec, proj, peepholes, clip, seed)
    layer.pack(weights)
    assert layer.packed is not None
    layer.bf16 = layer._fused_scores = False  # on any processor
    got = outputs(layer, frames, streams, seed)
    layer.packed = None
    for a, b in zip(got, outputs(layer, frames, streams, seed), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@needs_kernels
def test_a_stream_does_not_depend_on_the_others():
    layer = make_layer(20, 50, 30, 8, True, 50.0, 1)
    layer.pack("int8")
    layer._fused_scores = False
    x, r, c = torch.randn(9, 11, 20), torch.randn(11, 30), torch.randn(11, 50)
    y, r_last, c_last = layer(x, r, c)
    for n in (0, 7, 8, 10):
        alone = layer(x[:, n:n + 1], r[n:n + 1], c[n:n + 1])
        for a, b in zip(alone, (y[:, n:n + 1], r_last[n:n + 1], c_last[n:n + 1]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@needs_kernels
def test_copies_and_other_dtypes_are_computed_without_packed_weights():
    layer = make_layer(20, 50, 30, 8, True, 50.0, 1)
    layer.pack("int8")
    layer._fused_scores = False
    expected = outputs(layer, 4, 3, 1)
    copied = copy.deepcopy(layer)
    assert copied.packed is None and layer.packed is not None
    for a, b in zip(outputs(copied, 4, 3, 1), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    x, r, c = (torch.randn(*shape) for shape in ((4, 3, 20), (3, 30), (3, 50)))
    with_gradient, _, _ = layer(x, r, c)
    assert with_gradient.requires_grad
    with torch.no_grad():
        in_float64, _, _ = layer.double()(x.double(), r.double(), c.double())
    torch.testing.assert_close(in_float64.float(), with_gradient.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", scoring.WEIGHTS)
def test_rounded_weights(weights):
    w = torch.randn(40, 70) * torch.logspace(-3, 2, 40).unsqueeze(1)
    w[3, :32] = 0
    got = scoring.rounded(w, weights)
    if weights == "fp32":
        assert torch.equal(got, w)
    elif weights == "bf16":
        assert (got - w).abs().le(w.abs() / 256).all() and not torch.equal(got, w)
    else:
        for begin in (0, 32, 64):
            group, largest = slice(begin, begin + 32), w[:, begin:begin + 32].abs().amax(1, keepdim=True)
            assert (got - w)[:, group].abs().le(largest / 253).all()
            numbers = got[:, group] / (largest / 127)
            assert torch.allclose(numbers[largest[:, 0] > 0], numbers[largest[:, 0] > 0].round(), atol=1e-3)
    assert torch.equal(scoring.rounded(got, weights), got) or weights == "int8"


def test_without_a_compiler_the_rounded_weights_are_used(monkeypatch):
    layer, other = (make_layer(12, 20, 10, 4, True, 50.0, 3) for _ in range(2))
    layer.pack("int8")
    monkeypatch.setattr(scoring, "kernels", lambda: None)
    other.pack("int8")
    layer._fused_scores = other._fused_scores = False
    assert other.packed is None and not torch.equal(other.w_r, make_layer(12, 20, 10, 4, True, 50.0, 3).w_r)
    for a, b in zip(outputs(layer, 5, 3, 1), outputs(other, 5, 3, 1), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
