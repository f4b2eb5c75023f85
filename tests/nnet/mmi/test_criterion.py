"""The criterion: its gradient, sequences of different lengths, scores that are not finite."""

import importlib.util

import pytest
import torch
from helpers.small_denominators import SmallSystem
from helpers.small_graphs import NEEDS_COMPILER, NEEDS_K2

from lstmp.errors import UserError
from lstmp.graph.numerator import Numerators
from lstmp.nnet.mmi.criterion import LfMmi
from lstmp.nnet.posteriors import with_cross_entropy

SYSTEM = SmallSystem(3, 2)
GRAPH = SYSTEM.denominator


def batch(seed=0, dtype=torch.float64, spread=2.0):
    """Scores [T, 5, P], numerators of whole utterances and chunks (one has none), begins."""
    numerators = Numerators(GRAPH, tolerance=4)
    for number in range(5):
        numerators.add(str(number), SYSTEM.aligned(number, shortest=6))
    chunks = [numerators.whole("0"), numerators.cut("1", 1, 4)[1], None, numerators.whole("3"),
              numerators.cut("4", 1, 9)[1]]
    g = torch.Generator().manual_seed(seed)
    begins = torch.tensor([0, 2, 0, 1, 0])
    rows = max(int(b) + c.frames for b, c in zip(begins, chunks, strict=True) if c) + 2
    scores = spread * torch.randn(rows, 5, GRAPH.num_pdfs, generator=g).to(dtype)
    return scores.requires_grad_(), chunks, begins


@pytest.mark.parametrize("leaky", [0.0, 0.1])
@pytest.mark.parametrize("l2", [0.0, 0.01])
def test_the_gradient_is_that_of_the_loss(leaky, l2):
    scores, chunks, begins = batch()
    criterion = LfMmi(GRAPH, leaky, l2)
    assert torch.autograd.gradcheck(lambda x: criterion(x, chunks, begins, 7.0).loss, (scores,), fast_mode=True)


def test_the_loss_is_objective_and_regularization_per_frame():
    scores, chunks, begins = batch()
    plain, regularized = (LfMmi(GRAPH, 1e-5, l2)(scores, chunks, begins) for l2 in (0.0, 0.02))
    frames = sum(c.frames for c in chunks if c)
    assert plain.frames == frames and plain.left_out == []
    assert float(plain.loss) == pytest.approx(-plain.objective / frames)
    squares = sum(float(scores[b:b + c.frames, n].square().sum())
                  for n, (b, c) in enumerate(zip(begins.tolist(), chunks, strict=True)) if c)
    assert float(regularized.loss) == pytest.approx(float(plain.loss) + 0.01 * squares / frames)
    assert regularized.objective == plain.objective
    assert float(LfMmi(GRAPH, 1e-5, 0.0)(scores, chunks, begins, 2.0).loss) == pytest.approx(-plain.objective / 2)


@pytest.mark.parametrize("spread", [0.0, 1.0, 50.0])
@pytest.mark.parametrize("seed", range(5))
def test_the_objective_is_never_above_zero(seed, spread):
    scores, chunks, begins = batch(seed, spread=spread)
    assert LfMmi(GRAPH, 0.0, 0.0)(scores, chunks, begins).objective <= 1e-9


def gradient(criterion, scores, chunks, begins):
    scores = scores.detach().requires_grad_()
    result = criterion(scores, chunks, begins, 10.0)
    result.loss.backward()
    return result, scores.grad


def test_rows_outside_the_sequences_have_no_influence():
    scores, chunks, begins = batch()
    criterion = LfMmi(GRAPH, 1e-5, 0.01)
    before, expected = gradient(criterion, scores, chunks, begins)
    scores, outside = scores.detach().clone(), torch.ones(scores.shape[:2], dtype=torch.bool)
    for n, (b, c) in enumerate(zip(begins.tolist(), chunks, strict=True)):
        if c:
            outside[b:b + c.frames, n] = False
    for noise in (1e3, torch.inf, -torch.inf, torch.nan):
        scores[outside] = noise
        after, found = gradient(criterion, scores, chunks, begins)
        assert float(after.loss.detach()) == float(before.loss.detach()) and after.left_out == []
        assert torch.equal(found, expected) and not found[outside].any()


@pytest.mark.parametrize("implementation", ["torch", pytest.param("native", marks=NEEDS_COMPILER),
                                            pytest.param("k2", marks=NEEDS_K2)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_sequence_without_a_finite_objective_is_left_out(implementation, value):
    scores, chunks, begins = batch(dtype=torch.float32)
    criterion = LfMmi(GRAPH, 0.0 if implementation == "k2" else 1e-5, 0.01, implementation)
    others, expected = gradient(criterion, scores, [*chunks[:3], None, chunks[4]], begins)
    scores = scores.detach().clone()
    scores[3, 3] = value
    result, found = gradient(criterion, scores, chunks, begins)
    assert result.left_out == [3] and result.frames == others.frames
    assert float(result.loss.detach()) == pytest.approx(float(others.loss.detach()), rel=1e-6)
    assert float((found - expected).abs().max()) < 1e-6 and not (result.posteriors.sequence == 3).any()


@pytest.mark.parametrize("implementation", ["torch", pytest.param("native", marks=NEEDS_COMPILER)])
def test_huge_scores_and_impossible_pdfs_give_no_nan(implementation):
    scores, chunks, begins = batch(dtype=torch.float32, spread=1e8)
    scores = scores.detach()
    used = {int(p) for c in chunks if c for p in c.pdf}
    scores[:, :, [p for p in range(GRAPH.num_pdfs) if p not in used][:1]] = -torch.inf
    result, found = gradient(LfMmi(GRAPH, 1e-5, 1e-20, implementation), scores, chunks, begins)
    assert found.isfinite().all() and result.loss.isfinite()


@NEEDS_COMPILER
@pytest.mark.parametrize("leaky", [0.0, 1e-5])
def test_the_implementations_agree(leaky):
    scores, chunks, begins = batch(dtype=torch.float32)
    expected, exact = gradient(LfMmi(GRAPH, leaky, 1e-3, "torch"), scores.double(), chunks, begins)
    kinds = ["torch", "native"] + (["k2"] if leaky == 0 and importlib.util.find_spec("k2") else [])
    for implementation in kinds:
        result, found = gradient(LfMmi(GRAPH, leaky, 1e-3, implementation), scores, chunks, begins)
        assert float(result.loss.detach()) == pytest.approx(float(expected.loss.detach()), rel=1e-5)
        assert float((found - exact).abs().max()) < 1e-5


def test_a_batch_without_numerators_has_no_loss():
    scores, chunks, begins = batch()
    result, found = gradient(LfMmi(GRAPH, 1e-5, 0.01), scores, [None] * 5, begins)
    assert float(result.loss.detach()) == 0.0 and result.frames == 0 and not found.any()
    second = torch.zeros_like(scores).requires_grad_()
    assert float(with_cross_entropy(result, second, 0.1, 10.0).detach()) == 0.0


def test_cross_entropy_has_the_posteriors_of_the_numerator_as_targets():
    scores, chunks, begins = batch()
    second = torch.randn(scores.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).requires_grad_()
    result = LfMmi(GRAPH, 1e-5, 0.0)(scores, chunks, begins, 10.0)
    loss = with_cross_entropy(result, second, 0.1, 10.0)
    loss.backward()
    targets = torch.zeros_like(scores)
    result.posteriors.add_to(targets, 1.0)
    log_probs = torch.log_softmax(second, 2)
    assert float(loss.detach()) == pytest.approx(float((result.loss - 0.1 * (targets * log_probs).sum() / 10).detach()))
    assert torch.allclose(second.grad, 0.01 * (targets.sum(2, keepdim=True) * log_probs.exp() - targets))
    assert scores.grad is not None
    assert targets.sum((0, 2)).tolist() == pytest.approx([c.frames if c else 0 for c in chunks])


def test_scores_that_do_not_fit_are_errors():
    scores, chunks, begins = batch()
    criterion = LfMmi(GRAPH, 1e-5, 0.0)
    for x, b in ((scores[:, :, 1:], begins), (scores[:3], begins), (scores[:, 1:], begins), (scores, begins - 1)):
        with pytest.raises(ValueError, match="do not fit 5 numerators"):
            criterion(x, chunks, b)


def test_implementations_that_are_not_available_are_errors(monkeypatch):
    monkeypatch.setenv("LSTMP_NATIVE", "0")
    from lstmp.native import library
    library.cache_clear()
    try:
        assert type(LfMmi(GRAPH, 0.0, 0.0).denominator_for(torch.zeros(1))).__name__ == "PlainDenominator"
        with pytest.raises(UserError, match="cannot be compiled here"):
            LfMmi(GRAPH, 0.0, 0.0, "native")
    finally:
        monkeypatch.undo()
        library.cache_clear()
    with pytest.raises(UserError, match="`leaky` must be 0 with k2"):
        LfMmi(GRAPH, 1e-5, 0.0, "k2")


@NEEDS_K2
def test_k2_is_used_if_it_is_asked_for():
    assert type(LfMmi(GRAPH, 0.0, 0.0, "k2").denominator_for(torch.zeros(1))).__name__ == "K2Denominator"
