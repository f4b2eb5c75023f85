"""Objectives of random lattices and their derivatives, compared with sums over all paths."""

import numpy as np
import pytest
from helpers.small_graphs import NATIVE, all_paths, random_lattice
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.sequence.objectives import expected_accuracy, log_sum

SEEDS = st.integers(0, 10**6)


def enumerated(lattice, scores, correct):
    """log Σ exp s(π), the posteriors, Σ P(π) A(π), and its derivative Σ_{π ∋ a} P(π) (A(π) − mean), from all paths."""
    paths = all_paths(lattice)
    total, right = (np.array([x[p].sum() for p in paths]) for x in (scores, correct))
    log = np.logaddexp.reduce(total)
    weight = np.exp(total - log)
    on = np.array([[a in p for p in paths] for a in range(len(scores))])
    mean = weight @ right
    return log, on @ weight, mean, on @ (weight * (right - mean))


def random_case(seed, frames):
    lattice, rng = random_lattice(seed, frames), np.random.default_rng(seed)
    correct = rng.integers(0, 2, lattice.num_arcs).astype(float)
    correct[lattice.arcs[:, 2] < 0] = 0.0
    return lattice, 2 * rng.normal(size=lattice.num_arcs), correct


@NATIVE
@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, frames=st.integers(1, 6))
def test_values_and_derivatives_equal_enumeration(native, seed, frames):
    lattice, scores, correct = random_case(seed, frames)
    log, posteriors, mean, derivative = enumerated(lattice, scores, correct)
    found = log_sum(lattice.arcs, scores, native)
    assert found[0] == pytest.approx(log, abs=1e-10)
    np.testing.assert_allclose(found[1], posteriors, atol=1e-10)
    found = expected_accuracy(lattice.arcs, scores, correct, native)
    assert found[0] == pytest.approx(mean, abs=1e-10)
    np.testing.assert_allclose(found[1], derivative, atol=1e-10)


@NATIVE
def test_derivatives_equal_differences(native):
    lattice, scores, correct = random_case(3, 12)
    for objective in (lambda x: log_sum(lattice.arcs, x, native),
                      lambda x: expected_accuracy(lattice.arcs, x, correct, native)):
        step = 1e-5 * np.eye(len(scores))
        differences = [(objective(scores + d)[0] - objective(scores - d)[0]) / 2e-5 for d in step]
        np.testing.assert_allclose(objective(scores)[1], differences, atol=1e-8)


@NATIVE
def test_an_impossible_arc_has_no_share(native):
    """An arc with -inf leaves no NaN behind, not even if only it leads to a state."""
    lattice, scores, correct = random_case(5, 6)
    for a in range(lattice.num_arcs):
        changed = scores.copy()
        changed[a] = -np.inf
        value, derivative = expected_accuracy(lattice.arcs, changed, correct, native)
        paths = [p for p in all_paths(lattice) if a not in p]
        if paths:
            weight = np.array([scores[p].sum() for p in paths])
            weight = np.exp(weight - np.logaddexp.reduce(weight))
            assert value == pytest.approx(weight @ [correct[p].sum() for p in paths])
            assert derivative[a] == 0 and np.isfinite(derivative).all()
