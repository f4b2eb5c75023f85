"""Scores, posteriors and best paths of lattices: compiled, in NumPy, with k2, and by enumeration."""

import itertools

import numpy as np
import pytest
import torch
from helpers.small_graphs import NATIVE, NEEDS_COMPILER, NEEDS_K2, WIDE, SmallGraph, all_paths, random_lattice, scores
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import arc_posteriors, best_paths, frame_slices, path_scores, state_scores
from lstmp.decode.search import decode_utterance
from lstmp.errors import UserError

POINTS = list(itertools.product(range(7, 20), (0.0, 0.5, 1.0)))
SEEDS = st.integers(0, 10**6)


def as_k2(lattice: Lattice, values):
    k2 = pytest.importorskip("k2")
    arcs = torch.zeros(lattice.num_arcs, 4, dtype=torch.int32)
    arcs[:, :3] = torch.from_numpy(lattice.arcs)
    fsa = k2.Fsa(arcs)
    fsa.arc = torch.arange(lattice.num_arcs, dtype=torch.int32)
    fsa.scores = torch.from_numpy(np.asarray(values, np.float32))
    return k2.create_fsa_vec([fsa])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, frames=st.integers(1, 12))
def test_frame_slices_divide_the_arcs_by_frame(seed, frames):
    lattice = random_lattice(seed, frames)
    parts = list(frame_slices(lattice.arcs))
    assert len(parts) == frames and [p.start for p in parts[1:]] == [p.stop for p in parts[:-1]]
    for here, after in itertools.pairwise(parts):
        assert set(lattice.arcs[here, 1]) == set(lattice.arcs[after, 0])


@NATIVE
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_scores_and_posteriors_equal_enumeration(native, seed):
    lattice = random_lattice(seed, 5)
    values = lattice.acoustic.astype(float) / 20 + lattice.graph
    up_to, onwards, through = path_scores(lattice.arcs, values, native)
    paths = all_paths(lattice)
    total = np.array([values[p].sum() for p in paths])
    weight = np.exp(total - np.logaddexp.reduce(total))
    posteriors = arc_posteriors(lattice, 1 / 20, native)
    for arc in range(lattice.num_arcs):
        on = [i for i, p in enumerate(paths) if arc in p]
        assert through[arc] == pytest.approx(total[on].max())
        prefixes = [paths[i][:paths[i].index(arc) + 1] for i in on]
        assert up_to[arc] == pytest.approx(max(values[p].sum() for p in prefixes))
        assert up_to[arc] + onwards[arc] - values[arc] == pytest.approx(through[arc])
        assert posteriors[arc] == pytest.approx(weight[on].sum(), abs=1e-5)


@NEEDS_COMPILER
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, frames=st.integers(1, 30), ties=st.booleans())
def test_compiled_equals_numpy(seed, frames, ties):
    lattice = random_lattice(seed, frames, ties)
    assert np.array_equal(best_paths(lattice, POINTS), best_paths(lattice, POINTS, native=False))
    values = (lattice.acoustic / np.float32(11) + lattice.graph).astype(np.float64)
    for log in (False, True):
        compiled, numpy = (state_scores(lattice.arcs, values, log, native) for native in (True, False))
        for one, two in zip(compiled, numpy, strict=True):
            assert np.allclose(one, two, rtol=1e-12, atol=1e-12 if log else 0)


@NEEDS_K2
@NATIVE
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, frames=st.integers(1, 30), ties=st.booleans())
def test_equals_k2(native, seed, frames, ties):
    k2 = pytest.importorskip("k2")
    lattice = random_lattice(seed, frames, ties)
    values = lattice.acoustic * np.float32(1 / 11) + lattice.graph
    fsa = as_k2(lattice, values)
    for log in (False, True):
        theirs = (fsa.get_forward_scores(use_double_scores=True, log_semiring=log),
                  fsa.get_backward_scores(use_double_scores=True, log_semiring=log))
        for mine, other in zip(state_scores(lattice.arcs, values, log, native), theirs, strict=True):
            assert np.allclose(mine, other.numpy(), rtol=1e-12, atol=1e-12)
    posteriors = fsa.get_arc_post(use_double_scores=True, log_semiring=True).exp().numpy()
    assert np.allclose(arc_posteriors(lattice, 1 / 11, native), posteriors, atol=1e-12)
    acoustic, graph, words = (torch.from_numpy(getattr(lattice, n)).float() for n in ("acoustic", "graph", "num_words"))
    for (lm_weight, penalty), path in zip(POINTS, best_paths(lattice, POINTS, native), strict=True):
        fsa.scores = acoustic / lm_weight + graph - penalty * words
        best = k2.shortest_path(fsa, use_double_scores=True).arc.numpy()
        assert np.array_equal(path, best), "the same arcs, even if two paths are equally good"


@NATIVE
def test_the_last_of_equally_good_arcs_is_taken(native):
    arcs = np.array([(0, 1, 1), (0, 2, 2), (1, 3, 3), (2, 3, 3), (2, 3, 4), (3, 4, -1)], np.int32)
    zeros = np.zeros(6, np.float32)
    lattice = Lattice(arcs, zeros, zeros, np.zeros(6, np.uint8), np.zeros(0, np.int32))
    assert best_paths(lattice, [(7, 0.0)], native).tolist() == [[1, 4, 5]]


@NATIVE
def test_many_points_at_once_give_the_same_paths_as_single_points(native):
    lattice = random_lattice(3, 20)
    grid = list(itertools.product(range(1, 12), np.linspace(0, 2, 9)))
    together = best_paths(lattice, grid, native)
    assert together.shape == (99, 20) and len(np.unique(together, axis=0)) > 1
    for i in (0, 15, 16, 50, 98):
        assert np.array_equal(best_paths(lattice, [grid[i]], native)[0], together[i])


@NATIVE
def test_a_lattice_without_a_path_is_an_error(native):
    arcs = np.array([(0, 1, 1), (1, 2, 1), (3, 4, -1)], np.int32)
    zeros = np.zeros(3, np.float32)
    lattice = Lattice(arcs, zeros, zeros, np.zeros(3, np.uint8), np.zeros(0, np.int32))
    with pytest.raises(UserError, match="a lattice has "):
        best_paths(lattice, POINTS, native)


@NATIVE
def test_a_path_with_a_score_of_minus_infinity_does_not_count(native):
    arcs, scores_ = np.array([(0, 1, 1), (1, 2, -1)], np.int32), np.array([-np.inf, 0], np.float32)
    lattice = Lattice(arcs, scores_, np.zeros(2, np.float32), np.zeros(2, np.uint8), np.zeros(0, np.int32))
    with pytest.raises(UserError, match="a lattice has no path"):
        best_paths(lattice, POINTS, native)


@NATIVE
def test_a_lattice_whose_last_arc_does_not_lead_to_the_last_state_is_an_error(native):
    arcs, zeros = np.array([(0, 1, 1), (0, 5, 1), (1, 2, -1)], np.int32), np.zeros(3, np.float32)
    lattice = Lattice(arcs, zeros, zeros, np.zeros(3, np.uint8), np.zeros(0, np.int32))
    assert lattice.num_states == 6
    with pytest.raises(UserError, match="a lattice has no path"):
        best_paths(lattice, POINTS, native)


def test_posteriors_of_a_searched_lattice_sum_to_one_in_every_frame():
    lattice = decode_utterance(SmallGraph.random(3).engine(4), scores(3, 9), WIDE)
    posteriors = arc_posteriors(lattice, 1.0)
    parts = list(frame_slices(lattice.arcs))
    assert len(parts) == 10  # the last one has the arcs into the final state
    for part in parts:
        assert posteriors[part].sum() == pytest.approx(1)
