"""Determinized lattices, compared with all paths of small ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.lattices import SEEDS, best_by_words, some_lattice
from helpers.small_graphs import NATIVE, NEEDS_COMPILER, all_paths
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.decode.determinize import determinized
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import state_scores

WEIGHT = 3.0
ALL = 1e6  # a beam that keeps all word sequences


def sentences(lattice):
    """The words, acoustic and graph score of each path of a lattice, in any order."""
    return [(tuple(lattice.words_on(path)), float(lattice.acoustic[path].sum()), float(lattice.graph[path].sum()))
            for path in all_paths(lattice)]


def scores(lattice):
    """Words → score of their only path."""
    found = sentences(lattice)
    assert len({words for words, _, _ in found}) == len(found)
    return {words: acoustic / WEIGHT + graph for words, acoustic, graph in found}


def wanted(lattice, paths):
    return best_by_words(lattice, paths, WEIGHT, 0.0)


@NATIVE
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, frames=st.integers(1, 7))
def test_each_word_sequence_has_its_best_alignment(native, seed, frames):
    lattice, paths = some_lattice(seed, frames)
    new = determinized(lattice, WEIGHT, ALL, native=native)
    assert scores(new) == pytest.approx(wanted(lattice, paths), abs=2e-3)
    assert set(new.num_words.tolist()) <= {0, 1}
    assert (new.arcs[:, 0] < new.arcs[:, 1]).all() and (np.diff(new.arcs[:, 0]) >= 0).all()
    assert ((new.arcs[:, 2] < 0) == (new.arcs[:, 1] == new.num_states - 1)).all()
    assert ((new.num_words == 0) == (new.arcs[:, 2] < 0)).all()


def test_the_lattices_of_the_test_have_arcs_with_several_words_and_several_alignments():
    lattices = [some_lattice(seed, 7) for seed in range(20)]
    assert any(lattice.num_words.max() > 1 for lattice, _ in lattices)
    assert any(len(wanted(*pair)) < len(pair[1]) for pair in lattices)


@NATIVE
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, beam=st.floats(0.1, 8.0))
def test_word_sequences_within_the_beam_are_kept(native, seed, beam):
    lattice, paths = some_lattice(seed, 6)
    every, kept = wanted(lattice, paths), scores(determinized(lattice, WEIGHT, beam, native=native))
    best = max(every.values())
    within = {words: score for words, score in every.items() if score > best - beam + 0.01}
    assert {words: kept[words] for words in within} == pytest.approx(within, abs=2e-3)
    assert all(score < every[words] + 2e-3 for words, score in kept.items())


@NATIVE
def test_the_beam_leaves_most_of_the_others_out(native):
    left = every = 0
    for seed in range(30):
        lattice, paths = some_lattice(seed, 6)
        kept = scores(determinized(lattice, WEIGHT, 1.0, native=native))
        worse = {words for words, score in wanted(lattice, paths).items() if score < max(kept.values()) - 1.0}
        left, every = left + len(worse - kept.keys()), every + len(worse)
    assert left > 0.8 * every > 100


@NATIVE
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, arcs=st.integers(1, 30))
def test_with_few_arcs_the_best_word_sequences_stay(native, seed, arcs):
    lattice, paths = some_lattice(seed, 6)
    new = determinized(lattice, WEIGHT, ALL, arcs, native)
    every = wanted(lattice, paths)
    kept = scores(new)
    assert new.num_arcs <= arcs or len(kept) == 1
    assert max(kept.values()) == pytest.approx(max(every.values()), abs=2e-3)
    assert len(kept) == len(every) or new.num_arcs < determinized(lattice, WEIGHT, ALL, native=native).num_arcs


@NEEDS_COMPILER
@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, beam=st.floats(0.1, 20.0))
def test_the_compiled_form_gives_the_same_lattice(seed, beam):
    lattice, _ = some_lattice(seed, 6)
    found = [scores(determinized(lattice, WEIGHT, beam, native=native)) for native in (True, False)]
    best = max(found[0].values())  # rounding decides about those at the edge of the beam
    clear = [{words: score for words, score in x.items() if score > best - beam + 0.01} for x in found]
    assert clear[0] == pytest.approx(clear[1], abs=1e-4) and abs(len(found[0]) - len(found[1])) <= 2


@NEEDS_COMPILER
@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, log=st.booleans())
def test_scores_of_states_do_not_need_frames(seed, log):
    new = determinized(some_lattice(seed, 7)[0], WEIGHT, ALL)
    values = new.acoustic.astype(np.float64) / WEIGHT + new.graph
    for compiled, reference in zip(*(state_scores(new.arcs, values, log, native) for native in (True, False)),
                                   strict=True):
        np.testing.assert_allclose(compiled, reference, atol=1e-9)
    assert math.isfinite(compiled[0])


@NATIVE
def test_words_in_the_middle_of_an_arc(native):
    rows = [(0, 1, 1, -1.0, [4, 5]), (0, 2, 1, -2.0, [4]), (1, 3, 1, 0.0, []), (2, 3, 1, 0.0, [5]),
            (3, 4, -1, 0.0, [6, 7])]
    lattice = Lattice.assembled(np.array([r[:3] for r in rows]), np.zeros(5), np.array([r[3] for r in rows]),
                                np.array([len(r[4]) for r in rows]), np.array([w for r in rows for w in r[4]]))
    new = determinized(lattice, WEIGHT, ALL, native=native)
    assert scores(new) == pytest.approx({(4, 5, 6, 7): -1.0})
    assert new.num_arcs == 5


def without_words(*rows):
    """A lattice of (from-state, to-state, label, graph score)."""
    return Lattice.assembled(np.array([r[:3] for r in rows]), np.zeros(len(rows)), np.array([r[3] for r in rows]),
                             np.zeros(len(rows)), np.zeros(0))


@NATIVE
@pytest.mark.parametrize("lattice", [
    Lattice.empty(), without_words((0, 1, 1, 0.0), (2, 3, -1, 0.0)), without_words((1, 2, -1, 0.0)),
    without_words((0, 1, 1, -math.inf), (1, 2, -1, 0.0))], ids=["empty", "broken", "no start", "improbable"])
def test_a_lattice_without_a_path(native, lattice):
    assert determinized(lattice, WEIGHT, native=native).num_arcs == 0


@NATIVE
def test_other_alignments_are_not_merged_with_one_of_the_same_total(native):
    # after either of the words 1 and 2 the total of state 2 is 1 below that of state 1: acoustically, or in the graph
    rows = [(0, 1, 1, 0.0, 0.0, [1]), (0, 2, 1, -10.0, 0.0, [1]), (0, 1, 1, 0.0, -0.5, [2]), (0, 2, 1, 0.0, -1.5, [2]),
            (1, 3, -1, 0.0, -5.0, [9]), (2, 3, -1, 0.0, 0.0, [8])]
    lattice = Lattice.assembled(*(np.array([r[i] for r in rows]) for i in (slice(3), 3, 4)), np.ones(6),
                                np.array([r[5][0] for r in rows]))
    found = sentences(determinized(lattice, 10.0, ALL, native=native))
    assert sorted(found) == [((1, 8), -10.0, 0.0), ((1, 9), 0.0, -5.0), ((2, 8), 0.0, -1.5), ((2, 9), 0.0, -5.5)]


@NEEDS_COMPILER
def test_the_order_of_the_arcs_in_memory_does_not_matter():
    lattice, _ = some_lattice(3, 7)
    columns = replace(lattice, arcs=np.asfortranarray(lattice.arcs))
    assert scores(determinized(columns, WEIGHT, ALL)) == scores(determinized(lattice, WEIGHT, ALL))
