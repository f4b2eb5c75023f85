"""The search, compared with an exhaustive Viterbi search and with kaldi-decoder."""

import dataclasses
import itertools
import os
import sys

import kaldifst
import numpy as np
import pytest
import torch
from helpers.small_graphs import NEEDS_COMPILER, NEEDS_K2, WIDE, SmallGraph, all_paths, path_score, scores
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.decode import search
from lstmp.decode.config import SearchConfig
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import best_paths, path_scores
from lstmp.decode.search import choose_engine, decode_utterance, search_natively
from lstmp.decode.thinning import word_paths
from lstmp.errors import UserError

ENGINES = pytest.mark.parametrize("as_graph", [pytest.param(SmallGraph.k2, marks=NEEDS_K2), SmallGraph.engine],
                                  ids=["k2", "native"])


def best(lattice, lm_weight=1.0, penalty=0.0):
    (path,) = best_paths(lattice, [(lm_weight, penalty)])
    return path_score(lattice, path, lm_weight, penalty), lattice.words_on(path)


@ENGINES
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 12), scale=st.sampled_from([1.0, 0.1]))
def test_equals_exhaustive_viterbi(as_graph, seed, frames, scale):
    graph, loglikes = SmallGraph.random(seed), scores(seed, frames)
    expected = graph.viterbi(loglikes, scale)
    cfg = SearchConfig(scale, 1e4, 12.0, 100_000, 0, 100_000, 0)
    if expected is None:
        with pytest.raises(UserError, match="no path survives"):
            decode_utterance(as_graph(graph), loglikes, cfg)
        return
    score, words = best(decode_utterance(as_graph(graph), loglikes, cfg), 1 / scale)
    assert score == pytest.approx(expected[0], abs=1e-3)
    assert words == list(expected[1])


@ENGINES
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_same_words_as_kaldi_decoder(as_graph, seed):
    kaldi_decoder = pytest.importorskip("kaldi_decoder")
    graph = SmallGraph.random(seed, num_states=8, num_pdfs=6, most_words=1, final_words=False)
    loglikes = scores(seed, 15, 6)
    fst, array = graph.openfst(), loglikes.numpy()  # must outlive the decoder, which only has pointers to them
    decodable = kaldi_decoder.DecodableCtc(array)
    decoder = kaldi_decoder.SimpleDecoder(fst, 1000.0)
    decoder.decode(decodable)
    assert decoder.reached_final() == (graph.viterbi(loglikes) is not None)
    assume(decoder.reached_final())
    _, path = decoder.get_best_path()
    _, _, words, weight = kaldifst.get_linear_symbol_sequence(path)
    score, ours = best(decode_utterance(as_graph(graph), loglikes, WIDE))
    assert ours == list(words)
    assert score == pytest.approx(-(weight.value1 + weight.value2), abs=1e-3)


@ENGINES
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 8))
def test_every_arc_has_its_acoustic_score_and_the_graph_score_of_an_arc_of_the_graph(as_graph, seed, frames):
    graph, loglikes = SmallGraph.random(seed), scores(seed, frames)
    assume(graph.viterbi(loglikes) is not None)
    lattice = decode_utterance(as_graph(graph), loglikes, WIDE)
    depth = {0: 0}
    known = {(pdf + 1, score, words) for _, _, pdf, score, words in graph.arcs}
    known |= {(-1, score, words) for score, words in graph.final.values()}
    for i, (a, b, label) in enumerate(lattice.arcs.tolist()):
        assert depth.setdefault(b, depth[a] + 1) == depth[a] + 1
        assert lattice.acoustic[i] == (0 if label < 0 else loglikes[depth[a], label - 1].item())
        assert (label, float(lattice.graph[i]), tuple(lattice.words_on([i]))) in known
    assert depth[lattice.num_states - 1] == frames + 1


def trap(as_graph):
    """State 1 is likely, but cannot reach a final state; state 2 can, but its score is up to 40 worse."""
    graph = SmallGraph([(0, 1, 0, 0.0, (1,)), (1, 1, 0, 0.0, ()), (0, 2, 1, 0.0, (2,)), (2, 2, 1, 0.0, ())],
                       {2: (0.0, ())})
    loglikes = torch.zeros(4, 2)
    loglikes[:, 1] = -10
    return as_graph(graph), loglikes


@ENGINES
def test_a_beam_that_prunes_all_paths_is_an_error(as_graph):
    narrow = SearchConfig(1.0, 2.0, 8.0, 1000, 0, 1000, 0)
    with pytest.raises(UserError, match="no path survives a search beam of 2; raise search_beam"):
        decode_utterance(*trap(as_graph), narrow)


@ENGINES
@pytest.mark.parametrize("frames", [30, 60])
def test_a_long_utterance_without_a_final_state(as_graph, frames):
    """k2's result then has arcs of early frames."""
    graph, loglikes = trap(as_graph)
    loglikes = loglikes[:1].repeat(frames, 1)
    narrow = SearchConfig(1.0, 2.0, 8.0, 1000, 0, 1000, 0)
    with pytest.raises(UserError, match="no path survives a search beam of 2; raise search_beam"):
        decode_utterance(graph, loglikes, narrow)
    lattice = decode_utterance(graph, loglikes, dataclasses.replace(narrow, search_beam=5.0 * frames, retries=2))
    assert best(lattice) == (pytest.approx(-10 * frames), [2])


@ENGINES
def test_a_wider_beam_is_tried(as_graph):
    lattice = decode_utterance(*trap(as_graph), SearchConfig(1.0, 6.0, 8.0, 1000, 0, 1000, 3))
    assert best(lattice) == (pytest.approx(-40), [2])


@ENGINES
def test_one_frame_and_only_silence(as_graph):
    graph = SmallGraph([(0, 1, 0, -0.5, ()), (1, 1, 0, -0.5, ())], {1: (-0.25, ())})  # no words
    for frames in (1, 30):
        lattice = decode_utterance(as_graph(graph), torch.zeros(frames, 1), WIDE)
        assert best(lattice) == (pytest.approx(-0.5 * frames - 0.25), [])


@ENGINES
def test_impossible_scores(as_graph):
    graph = SmallGraph([(0, 0, 0, 0.0, ())], {0: (0.0, ())})
    with pytest.raises(UserError, match="no path"):
        decode_utterance(as_graph(graph), torch.full((3, 1), -float("inf")), WIDE)
    with pytest.raises(UserError, match="NaN"):
        decode_utterance(as_graph(graph), torch.full((3, 1), float("nan")), WIDE)
    with pytest.raises(UserError, match="no frame"):
        decode_utterance(as_graph(graph), torch.zeros(0, 1), WIDE)


@NEEDS_COMPILER
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.sampled_from([1, 2, 7, 29, 30, 31, 95]), states=st.integers(3, 25),
       beams=st.sampled_from([(4.0, 1.5, 0, 1000), (8.0, 3.0, 0, 6), (1e4, 2.0, 0, 10_000), (3.0, 0.1, 2, 50)]),
       by_score=st.booleans(), penalty=st.sampled_from([0.0, 0.7]))
def test_compiled_and_numpy_lattices_are_bitwise_equal(seed, frames, states, beams, by_score, penalty):
    search_beam, output_beam, min_active, max_active = beams
    graph = SmallGraph.random(seed, num_states=states).engine(4, by_score).with_penalty(penalty)
    cfg = SearchConfig(0.7, search_beam, output_beam, 3, min_active, max_active, 0)
    one, two = (search_natively(graph, scores(seed, frames), cfg, native) for native in (True, False))
    assert (one is None) == (two is None)
    assume(one is not None)
    for name in ("arcs", "acoustic", "graph", "num_words", "words"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


@NEEDS_K2
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.sampled_from([1, 2, 7, 30, 95]), states=st.integers(3, 25),
       beams=st.sampled_from([(4.0, 1.5, 0, 1000), (8.0, 3.0, 0, 6), (1e4, 2.0, 0, 10_000), (3.0, 0.1, 2, 50)]))
def test_k2_and_native_lattices_are_bitwise_equal(seed, frames, states, beams):
    search_beam, output_beam, min_active, max_active = beams
    small = SmallGraph.random(seed, num_states=states)
    cfg = SearchConfig(0.7, search_beam, output_beam, 3, min_active, max_active, 0)
    lattices = []
    for graph in (small.k2(), small.engine(4)):
        try:
            lattices.append(decode_utterance(graph, scores(seed, frames), cfg))
        except UserError:
            lattices.append(Lattice.empty())
    assume(any(x.num_arcs for x in lattices))
    for name in ("arcs", "acoustic", "graph", "num_words", "words"):
        assert np.array_equal(*(getattr(x, name) for x in lattices)), name


def test_the_engine_is_chosen_by_what_is_available(monkeypatch):
    monkeypatch.setattr(search, "_why_no_k2", lambda: "No module named 'k2'")
    assert choose_engine("native") == "native"
    with pytest.raises(UserError, match="engine is k2, which cannot be imported: No module named 'k2'; set"):
        choose_engine("k2")
    monkeypatch.setattr(search, "search_library", lambda: None)
    assert choose_engine("auto") == "native"
    monkeypatch.setattr(search, "_why_no_k2", lambda: None)
    assert choose_engine("auto") == choose_engine("k2") == "k2"
    monkeypatch.setattr(search, "search_library", lambda: "a library")
    assert choose_engine("auto") == "native"


def test_a_k2_that_cannot_be_loaded_counts_as_missing(tmp_path, monkeypatch):
    """Such as one that was built for another torch."""
    (tmp_path / "k2.py").write_text("raise ImportError('libtorch.so: no such symbol')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "k2", raising=False)
    search._why_no_k2.cache_clear()
    try:
        with pytest.raises(UserError, match="cannot be imported: libtorch.so: no such symbol"):
            choose_engine("k2")
        monkeypatch.setattr(search, "search_library", lambda: None)
        assert choose_engine("auto") == "native"
    finally:
        search._why_no_k2.cache_clear()


@NEEDS_K2
def test_a_graph_of_a_larger_model_is_an_error_before_k2_reads_beyond_the_scores():
    graph = SmallGraph([(0, 0, 7, 0.0, ())], {0: (0.0, ())}).k2()
    from lstmp.decode.k2_search import check_graph

    check_graph(graph, 8)
    with pytest.raises(UserError, match="the graph has pdf-id 7, the model has only 7 pdfs"):
        decode_utterance(graph, torch.zeros(3, 7), WIDE)


@NEEDS_K2
def test_epsilons_are_an_error():
    from lstmp.decode.k2_search import check_graph

    graph = SmallGraph([(0, 0, -1, 0.0, ()), (0, 0, 1, 0.0, ())], {0: (0.0, ())}).k2()
    with pytest.raises(UserError, match="epsilons"):
        check_graph(graph, 8)


@NEEDS_K2
def test_search_after_a_fork_is_an_error_not_a_deadlock():
    graph = SmallGraph([(0, 0, 0, 0.0, ())], {0: (0.0, ())}).k2()
    decode_utterance(graph, torch.zeros(3, 1), WIDE)
    child = os.fork()
    if child == 0:
        try:
            decode_utterance(graph, torch.zeros(3, 1), WIDE)
            os._exit(0)
        except RuntimeError:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 12))
def test_only_the_best_path_through_each_word_arc_is_kept(seed, most):
    """On a random trellis with random scores, compared with an enumeration of its paths."""
    rng = np.random.default_rng(seed)
    layers = [[0]]
    for size in rng.integers(1, 4, 5):
        layers.append([layers[-1][-1] + 1 + i for i in range(size)])
    layers.append([layers[-1][-1] + 1])
    rows = [(a, b, -1 if after is layers[-1] else 1) for before, after in itertools.pairwise(layers) for a in before
            for b in after for _ in range(int(rng.integers(1, 3)) if after is not layers[-1] else 1)]
    arcs = np.array(rows, dtype=np.int32)
    graph, num_words = rng.normal(size=len(arcs)).astype(np.float32), rng.integers(0, 2, len(arcs)).astype(np.uint8)
    lattice = Lattice(arcs, np.zeros(len(arcs), np.float32), graph, num_words, np.ones(num_words.sum(), np.int32))
    paths = sorted(all_paths(lattice), key=lambda path: -float(graph[path].astype(float).sum()))
    through = {}  # word arc → the best path through it; in the order of these paths, best first
    for path in paths:
        for arc in path:
            if num_words[arc]:
                through.setdefault(arc, path)
    ends = {}  # final arc → the best path to it
    for path in paths:
        ends.setdefault(path[-1], path)
    expected = {arc for path in [*list(through.values())[:most], *ends.values()] for arc in path}
    kept = set(np.flatnonzero(word_paths(arcs, path_scores(arcs, graph), num_words, most)).tolist())
    if most >= len(through):
        assert kept == expected
    else:  # which of the word arcs on a path are chosen is not specified
        assert {arc for path in ends.values() for arc in path} <= kept


@ENGINES
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_thinned_lattice_keeps_whole_paths_and_the_best_one(as_graph, seed):
    graph, loglikes = as_graph(SmallGraph.random(seed, final_words=False)), scores(seed, 12)
    full = decode_utterance(graph, loglikes, dataclasses.replace(WIDE, output_beam=1e4))
    thin = decode_utterance(graph, loglikes, dataclasses.replace(WIDE, output_beam=1e4, max_word_arcs=2))
    assert thin.num_arcs <= full.num_arcs
    targets, sources = set(thin.arcs[:, 1].tolist()), set(thin.arcs[:, 0].tolist())
    assert sources - targets == {0}, "only the first state has no incoming arcs"
    assert len(targets - sources) == 1, "only the last state has no outgoing arcs"
    assert best(thin)[0] == pytest.approx(best(full)[0], abs=1e-4)
    assert best(thin)[1] == best(full)[1]
