"""LstmpChunk: its gradients, and its agreement with the equations written out."""

import itertools

import pytest
import torch
from helpers.lstmp_chunk import make, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.nnet.cell import LstmpChunk

# (recurrent projection, other projection, peepholes, clip); a clip of 0.3 clips some of these small cells
OPTIONS = [o for o in itertools.product((0, 3), (0, 2), (True, False), (None, 50.0, 0.3)) if o[0] or not o[1]]


@pytest.mark.parametrize("rec,proj,peepholes,clip", OPTIONS)
def test_gradcheck(rec, proj, peepholes, clip):
    args = make(4, 2, 3, 4, rec, proj, peepholes)
    assert torch.autograd.gradcheck(lambda *a: LstmpChunk.apply(*a, clip), args)


@pytest.mark.parametrize("rec,proj,peepholes,clip", OPTIONS)
def test_equals_the_equations(rec, proj, peepholes, clip):
    args = make(7, 3, 5, 6, rec, proj, peepholes, seed=1)
    wanted = reference(*args, clip)
    got = LstmpChunk.apply(*args, clip)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)
    tensors = [a for a in args if a is not None]
    weight = [torch.randn_like(t) for t in wanted]
    for a, b in zip(torch.autograd.grad(got, tensors, weight), torch.autograd.grad(wanted, tensors, weight),
                    strict=True):
        torch.testing.assert_close(a, b)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9), st.integers(0, 7),
       st.integers(0, 3), st.booleans(), st.integers(0, 99))
def test_odd_shapes_in_float32(frames, streams, inputs, cells, rec, proj, peepholes, seed):
    args = make(frames, streams, inputs, cells, rec, proj if rec else 0, peepholes, seed, torch.float32)
    for a, b in zip(LstmpChunk.apply(*args, 50.0), reference(*args, 50.0), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_cells_are_clipped_and_pass_no_gradient():
    args = make(30, 2, 3, 4, 3, 0, False, scale=0.1)
    with torch.no_grad():
        args[5][:12] = 20.0  # input, forget and cell gates open: the cell grows by 1 a frame
        args[2].fill_(45.0)
    y, c = LstmpChunk.apply(*args, 50.0)
    assert torch.equal(c, torch.full_like(c, 50.0))
    grad = torch.autograd.grad(c.sum() + y.sum(), args[2])[0]
    assert torch.equal(grad[:, :], torch.autograd.grad(sum(t.sum() for t in reference(*args, 50.0)), args[2])[0])
    far = LstmpChunk.apply(*args, None)[1]
    assert (far > 70).all()


def test_chunks_with_carried_state_equal_the_whole_sequence():
    x, r, c, *weights = make(23, 3, 5, 6, 4, 2, True)
    whole, last = LstmpChunk.apply(x, r, c, *weights, 50.0)
    parts = []
    for chunk in x.split(5):
        y, c = LstmpChunk.apply(chunk, r, c, *weights, 50.0)
        r = y[-1, :, :4]
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole)
    torch.testing.assert_close(c, last)
    # without detaching, the gradient flows through the states of all chunks
    tensors = [x, *[w for w in weights if w is not None]]
    for a, b in zip(torch.autograd.grad(torch.cat(parts).sin().sum() + c.sum(), tensors),
                    torch.autograd.grad(whole.sin().sum() + last.sum(), tensors), strict=True):
        torch.testing.assert_close(a, b)


def test_inputs_are_not_changed():
    args = make(4, 2, 3, 4, 3, 2, True)
    before = [a.detach().clone() for a in args]
    y, c = LstmpChunk.apply(*args, 0.3)
    (y.sum() + c.sum()).backward()
    for a, b in zip(args, before, strict=True):
        assert torch.equal(a.detach(), b)


@pytest.mark.parametrize("rec,proj", [(0, 0), (24, 0), (24, 12)])
def test_bfloat16_factors_change_the_results_only_slightly(rec, proj):
    args = make(12, 8, 20, 48, rec, proj, True, dtype=torch.float32, scale=0.2)
    tensors = [a for a in args if a is not None]
    results = []
    for bf16 in (False, True):
        y, c = LstmpChunk.apply(*args, 50.0, bf16)
        grads = torch.autograd.grad((y.sin().sum() + c.sum()), tensors)
        assert y.dtype == c.dtype == torch.float32 and all(g.dtype == torch.float32 for g in grads)
        results.append([y, c, *grads])
    assert not torch.equal(results[0][0], results[1][0])
    for exact, rounded in zip(*results, strict=True):
        assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), 0) > 0.999
        assert (exact - rounded).norm() < 0.03 * exact.norm()
