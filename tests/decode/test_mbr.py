"""Minimum Bayes risk, compared with the edit distances from all paths of small lattices."""

import numpy as np
import pytest
from helpers.lattices import SEEDS, some_lattice
from helpers.small_graphs import all_paths
from hypothesis import given, settings
from hypothesis import strategies as st
from kaldialign import edit_distance

from lstmp.decode import mbr
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import state_scores
from lstmp.decode.mbr import Paths, align, least_risk


def of(lattice, weight=1.0):
    return Paths(lattice, lattice.acoustic.astype(np.float64) / 3 + lattice.graph, weight)


def sentences(*probable):
    """A lattice without shared states: (words, probability) of each of its paths, one word an arc."""
    length = max(len(words) for words, _ in probable)
    rows = []
    for number, (words, p) in enumerate(probable):
        state = 0
        for t in range(length + 1):
            to = 1 + t * len(probable) + number if t < length else 1 + length * len(probable)
            label = -1 if t == length else 1
            rows.append((state, to, label, np.log(p) if t == 0 else 0.0, words[t:t + 1] if t < length else []))
            state = to
    rows.sort(key=lambda row: row[0])
    arcs, graph = np.array([r[:3] for r in rows], np.int32), np.array([r[3] for r in rows])
    return Lattice.assembled(arcs, np.zeros(len(rows)), graph, np.array([len(r[4]) for r in rows]),
                             np.array([w for r in rows for w in r[4]], np.int64))


def expected_errors(paths, words):
    """The expected edit distance of ``words``, by all paths."""
    lattice = paths.lattice
    every = all_paths(lattice)
    weight = np.exp([paths.scores[path].sum() for path in every])
    errors = [edit_distance(lattice.words_on(path), list(words))["total"] for path in every]
    return float(weight @ errors / weight.sum())


@given(SEEDS, st.lists(st.integers(1, 6), max_size=4))
@settings(max_examples=60, deadline=None)
def test_the_compiled_form_gives_the_same_probabilities(seed, words):
    lattice, _ = some_lattice(seed)
    paths, bins = of(lattice, 0.7), np.zeros(2 * len(words) + 1, np.int32)
    bins[1::2] = words
    states = state_scores(lattice.arcs, paths.scores, True)
    found = []
    for native in (True, False):
        posteriors = np.ones((len(bins), 7))
        found.append((align(paths, lattice.words, states, bins, posteriors, native), posteriors - 1))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-9)
    np.testing.assert_allclose(found[0][1].sum(1), 0.7, atol=1e-9)  # a distribution over the words of each bin


@given(SEEDS, st.lists(st.integers(1, 6), max_size=4))
@settings(max_examples=40, deadline=None)
def test_the_expectation_is_at_least_that_of_all_paths(seed, words):
    lattice, _ = some_lattice(seed)
    paths, bins = of(lattice), np.zeros(2 * len(words) + 1, np.int32)
    bins[1::2] = words
    states = state_scores(lattice.arcs, paths.scores, True)
    risk = align(paths, lattice.words, states, bins, np.zeros((len(bins), 7)))
    assert risk >= expected_errors(paths, words) - 1e-9


LISTS = st.lists(st.tuples(st.lists(st.integers(1, 4), max_size=5), st.floats(0.05, 1.0)), min_size=1, max_size=5)


@given(LISTS, st.lists(st.integers(1, 4), max_size=5), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_expectation_is_exact_if_paths_share_no_states(probable, words, native):
    lattice = sentences(*probable)
    paths, bins = Paths(lattice, lattice.graph.astype(np.float64)), np.zeros(2 * len(words) + 1, np.int32)
    bins[1::2] = words
    states = state_scores(lattice.arcs, paths.scores, True)
    risk = align(paths, lattice.words, states, bins, np.zeros((len(bins), 5)), native)
    assert risk == pytest.approx(expected_errors(paths, words), abs=1e-3)  # the extra cost of a word without a bin


@given(SEEDS, st.lists(st.integers(1, 6), max_size=4))
@settings(max_examples=40, deadline=None)
def test_the_risk_is_not_above_that_of_the_first_words(seed, words):
    lattice, _ = some_lattice(seed)
    paths = of(lattice)
    found, risk = least_risk([paths], words)
    again, same = least_risk([paths], found)
    assert (again, same) == (found, pytest.approx(risk)) or same < risk + 1e-9
    bins = np.zeros(2 * len(words) + 1, np.int32)
    bins[1::2] = words
    states = state_scores(lattice.arcs, paths.scores, True)
    assert risk <= align(paths, lattice.words, states, bins, np.zeros((len(bins), 7))) + 1e-9
    assert least_risk([paths], words, native=False) == (found, pytest.approx(risk))


def test_words_that_are_probable_one_by_one():
    """No path has them all together."""
    lattice = sentences(([1, 2, 3], 0.4), ([1, 5, 4], 0.3), ([6, 2, 4], 0.3))
    found, risk = least_risk([Paths(lattice, lattice.graph.astype(np.float64))], [1, 2, 3])
    assert found == [1, 2, 4]
    assert risk == pytest.approx(0.4 + 0.3 + 0.3)


def test_missing_and_superfluous_words():
    lattice = sentences(([1, 2], 0.2), ([1, 3, 2], 0.5), ([1, 3, 2, 4], 0.3))
    for begin in ([], [1, 2], [1, 3, 2, 4], [5, 5, 5, 5, 5, 5]):
        found, risk = least_risk([Paths(lattice, lattice.graph.astype(np.float64))], begin)
        assert found == [1, 3, 2]
        assert risk == pytest.approx(0.5, abs=1e-3)


def test_systems_are_weighted():
    first, second = (sentences((words, 1.0)) for words in ([1, 2], [1, 3]))
    for weight, expected in ((0.9, [1, 2]), (0.1, [1, 3])):
        systems = [Paths(x, x.graph.astype(float), w) for x, w in ((first, weight), (second, 1 - weight))]
        found, risk = least_risk(systems, [1, 2])
        assert found == expected
        assert risk == pytest.approx(0.1)
    # three systems of which any two agree on a word
    lattices = [sentences((words, 1.0)) for words in ([1, 2, 3], [1, 2, 4], [1, 5, 4])]
    systems = [Paths(x, x.graph.astype(float), 1 / 3) for x in lattices]
    assert least_risk(systems, [1, 2, 3])[0] == [1, 2, 4]


def test_an_arc_with_many_words_and_words_of_one_system_only():
    rows = np.array([(0, 1, 1), (1, 2, -1)], np.int32)
    many = Lattice.assembled(rows, np.zeros(2), np.zeros(2), np.array([255, 0]), np.arange(1, 256))
    other = sentences(([1000, 2000], 1.0))
    systems = [Paths(many, many.graph.astype(float), 0.6), Paths(other, other.graph.astype(float), 0.4)]
    assert least_risk(systems, range(1, 256, 2))[0] == list(range(1, 256))
    assert mbr.least_risk(systems[1:], [])[0] == [1000, 2000]
