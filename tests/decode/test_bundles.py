"""The search in graphs whose states share bundles of arcs."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.small_graphs import NEEDS_COMPILER, bundled, scores
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.decode.config import SearchConfig
from lstmp.decode.search import searched
from lstmp.decode.search_graph import SearchGraph
from lstmp.graph.bundles import BundledGraph


@NEEDS_COMPILER
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.sampled_from([1, 2, 30, 31, 60, 95]), ties=st.booleans(),
       beams=st.sampled_from([(4.0, 1.5, 0, 1000), (8.0, 3.0, 0, 6), (1e4, 2.0, 0, 10_000), (3.0, 0.1, 2, 50)]),
       states=st.integers(3, 25), penalty=st.sampled_from([0.0, 0.7]), most=st.sampled_from([0, 3, 1000]))
def test_states_that_share_bundles(seed, frames, ties, beams, states, penalty, most):
    """The compiled search looks at a bundle once for all states that lead there, the one in NumPy at all arcs of all
    states."""
    graph = bundled(seed, states, ties)
    graph = replace(graph, bundled=graph.bundled.inlined(most) if most else graph.bundled).with_penalty(penalty)
    flat = SearchGraph.of(*graph.flat, 4)
    cfg = SearchConfig(0.7, *beams[:2], 10, *beams[2:], 0)
    rows = (scores(seed, frames) * cfg.acoustic_scale).numpy()
    both = [searched(g, rows, cfg, cfg.output_beam, native).links()
            for g, native in ((graph, True), (graph, False), (flat, True))]
    assert len({x is None for x in both}) == 1
    assume(both[0] is not None)
    found = [sorted(zip(*(x[n].tolist() for n in (3, 2, 4)), strict=True)) for x in both]
    assert found[0] == found[1] == found[2]
    near = [x for x in found[0] if x[2] == 0]
    assert {x[0] for x in near} == set(range(frames + 1)), "the best path"


@pytest.mark.parametrize("most", [0, 3, 1000])
def test_arcs_are_those_of_the_flat_graph(most):
    for seed in range(20):
        graph = bundled(seed)
        graph = replace(graph, bundled=graph.bundled.inlined(most)) if most else graph
        assert graph.is_flat == (most == 1000)
        arcs, splits, words = graph.flat
        chosen = np.random.default_rng(seed).permutation(len(arcs))[:15]
        assert np.array_equal(graph.chosen(chosen).ends, arcs[chosen, :2])
        assert np.array_equal(graph.chosen(chosen).labels, arcs[chosen, 2])
        assert np.array_equal(graph.chosen(chosen).scores.view(np.int32), arcs[chosen, 3])
        counts, found = graph.chosen(chosen).num_words, graph.chosen(chosen).words
        expected = [words[splits[a]:splits[a + 1]].tolist() for a in chosen]
        assert counts.tolist() == [len(x) for x in expected] and found.tolist() == [w for x in expected for w in x]
        assert [n for n, _ in graph.words_on(chosen)] == [n for n, x in enumerate(expected) for _ in x]
        assert set(graph.vocabulary.tolist()) == set(words.tolist())


def test_a_word_penalty_is_subtracted_for_each_word():
    graph = bundled(3)
    arcs, splits, _ = graph.flat
    before = np.ascontiguousarray(arcs[:, 3]).view(np.float32)
    after = graph.with_penalty(0.75).chosen(np.arange(len(arcs))).scores
    np.testing.assert_allclose(after, before - 0.75 * np.diff(splits), atol=1e-5)


def test_a_graph_is_flat_only_if_arcs_have_the_same_numbers_in_their_bundles():
    """Two states with one way each, to the bundle of the other one."""
    ways = np.array([[0, 1, 0], [1, 0, 0]], np.int32)
    none = np.zeros(0, np.int32)
    arcs = np.array([[2, -1, 0], [1, 2, 0], [1, 1, 0], [0, 3, 0]], np.int32)
    first, no_splits = np.array([0, 2, 4], np.int32), np.zeros(5, np.int32)
    crossed = BundledGraph(ways, no_splits[:3], none, first, arcs, no_splits, none)
    graph = SearchGraph(crossed, 3)
    assert not graph.is_flat and graph.chosen(np.arange(4)).labels.tolist() == graph.flat[0][:, 2].tolist()
    assert SearchGraph(crossed.inlined(9), 3).is_flat
