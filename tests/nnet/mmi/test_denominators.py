"""Forward-backward over denominator graphs: the reference against all paths, the other implementations against it."""

import numpy as np
import pytest
import torch
from helpers.small_denominators import SmallSystem, denominator_paths, total
from helpers.small_graphs import NEEDS_COMPILER, NEEDS_K2
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.nnet.mmi import native
from lstmp.nnet.mmi.native import NativeDenominator
from lstmp.nnet.mmi.plain import PlainDenominator

SMALL = [SmallSystem(seed, width, extra_states=1, phones=2, utts=4, longest=4, chain=chain) for seed, width, chain in
         ((0, 1, False), (1, 2, False), (2, 3, True), (3, 2, True))]
LARGE = SmallSystem(5, 3, phones=12, utts=60, longest=20, extra_states=200, chain=True).denominator


def batch(graph, seed, sequences, longest, spread=1.0, dtype=torch.float32):
    """Random scores [T, N, P], begins and lengths."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, longest + 1, (sequences,), generator=g)
    begins = torch.randint(0, 3, (sequences,), generator=g)
    rows = int((begins + lengths).max()) + int(torch.randint(0, 2, (1,), generator=g))
    return spread * torch.randn(rows, sequences, graph.num_pdfs, generator=g).to(dtype), begins, lengths


@given(st.sampled_from(SMALL), st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([0.0, 1e-5, 0.1]))
@settings(max_examples=40, deadline=None)
def test_the_reference_equals_the_sum_over_all_paths(system, seed, longest, leaky):
    graph = system.denominator
    scores, begins, lengths = batch(graph, seed, 3, longest, 3.0, torch.float64)
    log_prob, posteriors, _ = PlainDenominator(graph, leaky)(scores, begins, lengths, 0.5)
    for n, (begin, length) in enumerate(zip(begins.tolist(), lengths.tolist(), strict=True)):
        rows = slice(begin, begin + length)
        expected, of_pdfs = total(denominator_paths(graph, length, leaky), scores[rows, n].numpy())
        assert float(log_prob[n]) == pytest.approx(expected, abs=1e-9)
        assert posteriors[rows, n].numpy() == pytest.approx(0.5 * of_pdfs, abs=1e-9)
        assert float(posteriors[:, n].sum()) == pytest.approx(0.5 * length)  # nothing outside the sequence


def assert_equal(found, expected, tolerance=1e-4):
    assert found[0].numpy() == pytest.approx(expected[0].numpy(), rel=1e-6, abs=tolerance)
    assert float((found[1] - expected[1]).abs().max()) < tolerance
    assert found[2].numpy() == pytest.approx(expected[2].numpy(), rel=1e-5)


@NEEDS_COMPILER
@pytest.mark.parametrize("sequences", [1, 8, 9, 16, 37])
@pytest.mark.parametrize("leaky", [0.0, 1e-5, 0.1])
def test_the_compiled_one_equals_the_reference(sequences, leaky):
    scores, begins, lengths = batch(LARGE, sequences, sequences, 30, 3.0)
    expected = PlainDenominator(LARGE, leaky)(scores.double(), begins, lengths, -2.0, 0.01)
    assert_equal(NativeDenominator(LARGE, leaky)(scores, begins, lengths, -2.0, 0.01), expected)
    assert_equal(NativeDenominator(LARGE, leaky, threads=2)(scores, begins, lengths, -2.0, 0.01), expected)


@NEEDS_COMPILER
def test_large_graphs_are_computed_in_smaller_blocks(monkeypatch):
    monkeypatch.setattr(native, "_CACHE", 0)
    scores, begins, lengths = batch(LARGE, 1, 20, 10)
    blocks, compiled = [], NativeDenominator(LARGE, 1e-5)
    function = compiled._function
    compiled._function = lambda *args: (blocks.append(args[-1].value), function(*args))
    assert_equal(compiled(scores, begins, lengths), PlainDenominator(LARGE, 1e-5)(scores.double(), begins, lengths))
    assert blocks == [8, 8, 4]


@NEEDS_COMPILER
@given(st.integers(0, 10**6), st.sampled_from([(0.01, 0.0), (1.0, 1e-5), (10.0, 0.0), (30.0, 1e-5)]))
@settings(max_examples=20, deadline=None)
def test_the_compiled_one_equals_the_reference_for_flat_and_peaked_scores(seed, kind):
    spread, leaky = kind
    scores, begins, lengths = batch(LARGE, seed, 10, 12, spread)
    expected = PlainDenominator(LARGE, leaky)(scores.double(), begins, lengths)
    assert_equal(NativeDenominator(LARGE, leaky)(scores, begins, lengths), expected, 1e-3)


@NEEDS_COMPILER
def test_what_float32_cannot_express_is_computed_again():
    """The best pdfs are 300 above those of any path, so that all probabilities of the graph underflow."""
    graph = SMALL[1].denominator
    scores, begins, lengths = batch(graph, 1, 3, 6)
    wider = type(graph)(**{**vars(graph), "num_pdfs": graph.num_pdfs + 1})
    scores = torch.cat([scores, torch.tensor([0.0, 300.0, -300.0]).expand(len(scores), 3).unsqueeze(2)], 2)
    expected = PlainDenominator(wider, 1e-5)(scores.double(), begins, lengths)
    found = NativeDenominator(wider, 1e-5)(scores, begins, lengths)
    assert found[0].isfinite().all()
    assert_equal(found, expected)


@NEEDS_COMPILER
def test_scores_of_another_shape_are_refused():
    graph = SMALL[1].denominator
    scores, begins, lengths = batch(graph, 1, 3, 6)
    compiled = NativeDenominator(graph, 0.0)
    for wrong in ((scores[:, :, 1:], begins, lengths), (scores, begins, lengths + 20), (scores, begins - 3, lengths),
                  (scores, begins, lengths * 0), (scores, begins[1:], lengths[1:])):
        with pytest.raises(ValueError, match="do not fit a graph of"):
            compiled(*wrong)


@NEEDS_K2
@pytest.mark.parametrize("graph", [SMALL[0].denominator, SMALL[2].denominator, LARGE], ids=["small", "wide", "large"])
def test_k2_equals_the_reference_without_leaks(graph):
    from lstmp.nnet.mmi.k2_graphs import K2Denominator

    scores, begins, lengths = batch(graph, 3, 11, 20, 3.0)
    expected = PlainDenominator(graph, 0.0)(scores.double(), begins, lengths, 2.0, 0.01)
    assert_equal(K2Denominator(graph)(scores, begins, lengths, 2.0, 0.01), expected, 1e-3)


def test_the_reference_runs_in_float32_and_then_in_float64_again():
    scores, begins, lengths = batch(LARGE, 0, 4, 15)
    plain = PlainDenominator(LARGE, 1e-5)
    exact = plain(scores.double(), begins, lengths)
    found = plain(scores, begins, lengths)
    assert torch.equal(plain(scores.double(), begins, lengths)[0], exact[0])
    assert found[1].dtype == torch.float32 and np.isfinite(found[0].numpy()).all()
    assert_equal(found, exact, 1e-3)
