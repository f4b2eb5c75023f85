"""Online search, compiled and in NumPy, compared with k2's search of the whole utterance and an exhaustive search."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers.small_graphs import WIDE, SmallGraph, bundled, scores
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, search_library
from lstmp.decode.online import OnlineSearch
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError

BEAMS = st.sampled_from([(3.0, 0, 1000), (6.0, 0, 4), (2.0, 3, 1000), (5.0, 2, 6), (1e4, 0, 100_000)])
needs_compiler = pytest.mark.skipif(search_library() is None, reason="no compiler")


def pieces_of(loglikes, seed):
    sizes = np.random.default_rng(seed).integers(0, 6, 100).tolist()
    while len(loglikes):
        size = sizes.pop() if sizes else len(loglikes)
        yield loglikes[:size]
        loglikes = loglikes[size:]


def searched(graph: SearchGraph, loglikes, cfg, seed=0, compiled=True):
    search = OnlineSearch(graph, cfg, compiled)
    for piece in pieces_of(loglikes, seed):
        search.accept(piece)
    return search.finish()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 12), scale=st.sampled_from([1.0, 0.1]))
def test_equals_exhaustive_viterbi(seed, frames, scale):
    graph, loglikes = SmallGraph.random(seed), scores(seed, frames)
    expected, small = graph.viterbi(loglikes, scale), graph.engine(4)
    cfg = dataclasses.replace(WIDE, acoustic_scale=scale)
    for compiled in (True, False):
        path = searched(small, loglikes, cfg, seed, compiled)
        assert path.final == (expected is not None)
        if expected is not None:
            assert path.score == pytest.approx(expected[0], abs=1e-3)
            assert [w for _, w in small.words_on(path.arcs)] == list(expected[1])
        assert len(path.arcs) == frames + path.final


@needs_compiler
@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 40), beams=BEAMS, states=st.integers(3, 40),
       kind=st.sampled_from(["by_score", "by_label", "bundled", "ties"]), penalty=st.sampled_from([0.0, 0.7, -0.7]))
def test_compiled_equals_numpy_frame_by_frame(seed, frames, beams, states, kind, penalty):
    beam, min_active, max_active = beams
    by_score = kind != "by_label"
    if kind in ("bundled", "ties"):
        graph = bundled(seed, states, kind == "ties").with_penalty(penalty)
    else:
        graph = SmallGraph.random(seed, num_states=states).engine(4, by_score).with_penalty(penalty)
    assert np.isfinite(graph.slack) >= by_score  # the compiled search passes over arcs that cannot survive
    cfg = SearchConfig(0.5, beam, 1.0, 10, min_active, max_active, 0)
    one, two, settled = OnlineSearch(graph, cfg), OnlineSearch(graph, cfg, native=False), []
    for piece in pieces_of(scores(seed, frames), seed):
        for search in (one, two):
            search.accept(piece)
        assert one.sizes()[0] == two.sizes()[0] and one.settled() == two.settled()
        a, b = one.best(), two.best()
        settled.append(a.arcs[:one.settled()].tolist())
        shares = one.shares()
        np.testing.assert_allclose(shares, two.shares(), rtol=1e-5)
        assert len(shares) == len(a.arcs) and np.all(np.diff(shares) <= 1e-6) and np.all(shares > 0)
        np.testing.assert_allclose(shares[:one.settled()], 1, rtol=1e-6)
        assert a.score == b.score and len(a.arcs) == len(b.arcs) == max(one.frames - NEAR_END, 0)
    a, b = one.finish(), two.finish()
    assert (a.score, a.final, len(a.arcs)) == (b.score, b.final, len(b.arcs))
    assert np.array_equal(a.arcs, b.arcs), "of equally good arcs the same ones"
    assert all(a.arcs.tolist()[:len(arcs)] == arcs for arcs in settled)  # nothing settled has changed
    np.testing.assert_allclose(one.shares(), two.shares(), rtol=1e-5)
    assert len(one.shares()) == len(a.arcs) - a.final


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("ended", [True, False])
def test_shares_are_those_of_the_paths_into_each_state(compiled, ended):
    """Compared with the best path into each state, traced back one by one."""
    graph, loglikes = SmallGraph.random(5, num_states=6), scores(5, 8)
    search = OnlineSearch(graph.engine(4), dataclasses.replace(WIDE, acoustic_scale=1.0), compiled)
    search.accept(loglikes)
    path = search.finish() if ended else search.best()
    engine = search._engine if not compiled else OnlineSearch(graph.engine(4), search.cfg, False)._engine
    if compiled:  # the paths of all tokens, from the search in NumPy
        engine.advance((loglikes if ended else loglikes[:len(path.arcs)]).numpy(), len(loglikes) if ended else 0)
    arcs = []
    for token in range(len(engine.states)):
        index, own = token, []
        for previous, best_arc in zip(reversed(engine.previous), reversed(engine.best_arc), strict=True):
            own.append(int(best_arc[index]))
            index = int(previous[index])
        arcs.append(own[::-1])
    score = engine.score.astype(np.float64)
    if path.final:
        source, _, end = engine._ends()
        score = np.array([max([e for s, e in zip(source, end, strict=True) if s == t], default=-np.inf)
                          for t in range(len(arcs))], np.float64)
    weight = np.exp(score - score.max())
    expected = [weight[[own[:t + 1] == path.arcs[:t + 1].tolist() for own in arcs]].sum() / weight.sum()
                for t in range(len(path.arcs) - path.final)]
    np.testing.assert_allclose(search.shares(), expected, rtol=1e-4)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_all_active_paths_begin_with_is_settled(compiled):
    """With a narrow beam one path survives, so all of it is settled; with a wide one, nothing until paths meet."""
    graph, loglikes = SmallGraph.random(5, num_states=20).engine(4), scores(5, 30)
    narrow, wide = (OnlineSearch(graph, SearchConfig(1.0, beam, 1.0, 10, 0, 1000, 0), compiled) for beam in (1e-3, 1e4))
    assert narrow.settled() == 0
    for search in (narrow, wide):
        search.accept(loglikes)
    assert narrow.sizes()[0] == 1 and narrow.settled() == len(narrow.best().arcs) == 30 - NEAR_END
    assert wide.sizes()[0] > 1 and wide.settled() < 30 - NEAR_END


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 40), beams=BEAMS, states=st.integers(3, 40))
def test_equals_k2s_search_of_the_whole_utterance_with_the_same_beams(seed, frames, beams, states):
    k2 = pytest.importorskip("k2")
    beam, min_active, max_active = beams
    graph, loglikes = SmallGraph.random(seed, num_states=states), scores(seed, frames)
    cfg = SearchConfig(0.5, beam, 1.0, 10, min_active, max_active, 0)
    dense = torch.full((1, frames, 5), float("-inf"))
    dense[0, :, 1:] = loglikes * cfg.acoustic_scale
    dense = k2.DenseFsaVec(dense, torch.tensor([[0, 0, frames]], dtype=torch.int32))
    lattice = k2.intersect_dense_pruned(graph.k2(), dense, beam, 50.0, min_active, max_active)
    path = searched(graph.engine(4), loglikes, cfg, seed)
    total = lattice.get_tot_scores(use_double_scores=True, log_semiring=False).item()
    assert path.final == (total > -np.inf)  # if no final state is reached, k2's result may have arcs, but no path
    if path.final:
        assert path.score == pytest.approx(total, abs=1e-4)


def test_words_and_penalty():
    graph = SmallGraph([(0, 0, 0, 0.0, (1, 2)), (0, 0, 1, -0.5, ())], {0: (0.0, (3,))})
    loglikes, plain = torch.zeros(3, 2), graph.engine(2)
    path = searched(plain, loglikes, WIDE)
    assert plain.words_on(path.arcs) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2), (3, 3)]
    path = searched(plain.with_penalty(0.3), loglikes, WIDE)  # two words cost 0.6, the arc without words costs 0.5
    assert plain.words_on(path.arcs) == [(3, 3)] and path.score == pytest.approx(-1.5 - 0.3)
    assert plain.with_penalty(0.0) is plain


@pytest.mark.parametrize("compiled", [True, False])
def test_the_search_can_be_reset(compiled):
    graph = SmallGraph.random(3).engine(4)
    search = OnlineSearch(graph, WIDE, compiled)
    results = []
    for seed in (1, 2, 1):
        search.accept(scores(seed, 9))
        results.append(search.finish())
        search.reset()
    assert results[0].score == results[2].score != results[1].score
    assert np.array_equal(results[0].arcs, results[2].arcs)


def test_the_best_path_is_returned_if_no_final_state_is_reached():
    graph = SmallGraph([(0, 1, 0, 0.0, (1,)), (1, 1, 0, 0.0, ()), (0, 2, 1, -1.0, ())], {2: (0.0, ())}).engine(2)
    path = searched(graph, torch.zeros(4, 2), WIDE)  # state 2 is pruned at once, state 1 is not final
    assert not path.final and graph.words_on(path.arcs) == [(0, 1)]


def test_no_frames_and_other_numbers_of_pdfs_are_errors():
    graph = SmallGraph.random(1).engine(4)
    search = OnlineSearch(graph, WIDE)
    with pytest.raises(UserError, match="no frame"):
        search.finish()
    with pytest.raises(UserError, match="the graph has 4 pdfs"):
        search.accept(torch.zeros(3, 5))
    with pytest.raises(UserError, match="NaN"):
        search.accept(torch.full((3, 4), float("nan")))
    search.accept(torch.full((9, 4), -float("inf")))
    assert len(search.best().arcs) == 0
    with pytest.raises(UserError, match="no path survives"):
        search.finish()
    unsorted = np.array([[1, 0, 1, 0], [0, 1, 1, 0]], np.int32)
    with pytest.raises(UserError, match="not sorted"):
        SearchGraph.of(unsorted, np.zeros(3), np.zeros(0), 1)


@needs_compiler
def test_memory_is_bounded_for_an_hour_of_speech_and_the_path_is_complete():
    """360,000 frames: history that no active state depends on is discarded."""
    graph = SmallGraph.random(7, num_states=60).engine(4)
    cfg = SearchConfig(1.0, 4.0, 1.0, 10, 0, 1000, 0)
    search, most = OnlineSearch(graph, cfg), 0
    loglikes = scores(1, 36_000)
    for _ in range(10):
        for piece in loglikes.split(3000):
            search.accept(piece)
            most = max(most, search.sizes()[1])
    path = search.finish()
    arcs = graph.chosen(path.arcs).ends
    assert len(arcs) == 360_001 and arcs[0, 0] == 0 and (arcs[1:, 0] == arcs[:-1, 1]).all()
    assert most < 3 * 360_000  # without collection there would be about ten million entries
