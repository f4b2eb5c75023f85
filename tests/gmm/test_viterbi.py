"""Training graphs and exact alignment, compared with a search of all paths that the definition allows."""

import numpy as np
import pytest
import torch
from helpers.random_hmms import (
    SIL,
    exhaustive_alignment,
    random_lang,
    random_transitions,
    random_tree,
    reordered,
    with_silence_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.tree import Node, Tree
from lstmp.gmm.viterbi import align_batch

MAX_FRAMES = 7  # there are thousands of paths of this length


def toy(seed, width=3, **kwargs):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng, **kwargs)
    tree = random_tree(lang, rng, width)
    return rng, lang, tree, random_transitions(lang, tree, rng)


def aligned(graphs, scores, log_prob):
    """``align_batch`` on full score matrices [T, num_pdfs]."""
    return align_batch(graphs, [torch.from_numpy(x[:, g.distinct_pdfs]) for g, x in zip(graphs, scores, strict=True)],
                       log_prob)


@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(1, MAX_FRAMES), st.sampled_from([1, 2, 3]),
       st.sampled_from([0.0, 0.5, 3.0]))
@settings(max_examples=100, deadline=None)
def test_alignments_of_random_graphs_equal_brute_force(seed, num_words, frames, width, spread):
    compare_with_brute_force(*toy(seed, width), num_words, frames, spread)


@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(1, MAX_FRAMES))
@settings(max_examples=40, deadline=None)
def test_alignments_with_a_silence_model_equal_brute_force(seed, num_words, frames):
    rng, lang, tree, transitions = toy(seed)
    compare_with_brute_force(rng, with_silence_model(lang, rng), tree, transitions, num_words, frames, 0.5)


def compare_with_brute_force(rng, lang, tree, transitions, num_words, frames, spread):
    words = rng.integers(1, 4, num_words).tolist()
    transition_scale, self_loop_scale = rng.uniform(0.1, 2, 2)
    scores = (spread * rng.normal(size=(frames, tree.num_pdfs))).astype(np.float32)
    graph = GraphCompiler(lang, tree, transitions).compile(words)
    log_prob = transitions.graph_log_probs(transition_scale, self_loop_scale).numpy()
    expected = exhaustive_alignment(lang, tree, transitions, words, scores, transition_scale, self_loop_scale)
    (found,) = aligned([graph], [scores], log_prob)
    assert (found is None) == (expected is None) == (frames < graph.min_frames)
    if found is None:
        return
    assert found[1] == pytest.approx(expected[0], abs=1e-3)
    assert found[0].tolist() in [reordered(path, transitions) for path in expected[1]]


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 4), st.integers(1, 40)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_batch_gives_the_same_as_each_utterance_alone(seed, shapes):
    rng, lang, tree, transitions = toy(seed)
    compiler = GraphCompiler(lang, tree, transitions)
    shapes = sorted(shapes, key=lambda s: -s[1])
    graphs = [compiler.compile(rng.integers(1, 4, n).tolist()) for n, _ in shapes]
    scores = [rng.normal(0, 2, (frames, tree.num_pdfs)).astype(np.float32) for _, frames in shapes]
    log_prob = transitions.graph_log_probs(1.0, 0.1).numpy()
    together = aligned(graphs, scores, log_prob)
    for graph, x, found in zip(graphs, scores, together, strict=True):
        (alone,) = aligned([graph], [x], log_prob)
        assert (alone is None) == (found is None) == (len(x) < graph.min_frames)
        if alone is not None:
            assert alone[1] == found[1] and alone[0].tolist() == found[0].tolist()


@pytest.mark.parametrize("seed", range(8))
def test_min_frames_is_the_length_of_the_shortest_path(seed):
    _, lang, tree, transitions = toy(seed, phones=3)
    for words in ([], [1], [2, 3]):
        graph = GraphCompiler(lang, tree, transitions).compile(words)
        possible = [t for t in range(1, 8) if exhaustive_alignment(lang, tree, transitions, words,
                                                                    np.zeros((t, tree.num_pdfs)), 1, 1)]
        assert graph.min_frames == (min(possible) if possible else graph.min_frames)
        assert possible or graph.min_frames > 7


def test_a_path_through_silence_may_go_back():
    """The middle states of silence are ergodic, so scores can force the states 0 1 3 2 1 4."""
    _, lang, tree, transitions = toy(3)
    pdfs = [tree.pdf((0, SIL, 0), c) for c in range(5)]
    scores = np.full((6, tree.num_pdfs), -50, dtype=np.float32)
    scores[range(6), [pdfs[c] for c in (0, 1, 3, 2, 1, 4)]] = 0
    graph = GraphCompiler(lang, tree, transitions).compile([])
    ((tids, _),) = aligned([graph], [scores], transitions.graph_log_probs(1, 1).numpy())
    assert transitions.tid_state[tids.astype(np.int64)].tolist() == [0, 1, 3, 2, 1, 4]
    assert (transitions.tid_phone[tids.astype(np.int64)] == SIL).all()


def test_an_empty_transcript_has_one_silence():
    _, lang, tree, transitions = toy(0)
    graph = GraphCompiler(lang, tree, transitions).compile([])
    assert graph.pdf.tolist() == [tree.pdf((0, SIL, 0), c) for c in range(5)] and graph.min_frames == 3
    assert graph.distinct_pdfs[graph.column].tolist() == graph.pdf.tolist()


def test_contexts_span_words_and_silence():
    """The graph has the pdfs of exactly the windows that occur in some pronunciation of the transcript."""
    lang = random_lang(np.random.default_rng(5), states=(1,), phones=3)
    lang = type(lang)(**{**vars(lang), "lexicon": {1: [(1.0, (2,)), (0.5, (3,))], 2: [(1.0, (4,))]}})
    # phone 4 has one pdf for each of four classes of left neighbours and two of right neighbours
    right = {x: Node(key=2, yes=frozenset({0}), then=Node(pdf=x), otherwise=Node(pdf=x + 1)) for x in (10, 12, 14, 16)}
    root = Node(key=0, yes=frozenset({SIL}), then=right[10],
                otherwise=Node(key=0, yes=frozenset({2}), then=right[12],
                               otherwise=Node(key=0, yes=frozenset({3}), then=right[14], otherwise=right[16])))
    roots = {(SIL, c): Node(pdf=c) for c in range(5)} | {(2, 0): Node(pdf=5), (3, 0): Node(pdf=6), (4, 0): root}
    tree = Tree(3, 1, roots)
    transitions = random_transitions(lang, tree, np.random.default_rng(0))
    graph = GraphCompiler(lang, tree, transitions).compile([1, 2])
    assert graph.distinct_pdfs.tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15]  # 16, 17: no 4 follows 4
    assert graph.min_frames == 2


def test_missing_phones_and_words_and_unsupported_trees_are_errors():
    _, lang, tree, transitions = toy(1)
    lang.lexicon[3] = [(1.0, (77,))]
    with pytest.raises(UserError, match="lang/phones.txt: phone 77 has no model; train a model with this lexicon"):
        GraphCompiler(lang, tree, transitions).compile([3])
    del lang.lexicon[3]
    with pytest.raises(UserError, match="lang/lexiconp.txt: word W3 has no pronunciation"):
        GraphCompiler(lang, tree, transitions).compile([3])
    with pytest.raises(UserError, match="does not support a tree of context width 2 and central position 0"):
        GraphCompiler(lang, Tree(2, 0, tree.roots), transitions)


def test_with_silence_probability_1_every_word_border_has_a_silence():
    _, lang, tree, transitions = toy(2, states=(1,))
    lang = type(lang)(**{**vars(lang), "sil_prob": 1.0, "lexicon": {1: [(1.0, (2,))]}})
    assert GraphCompiler(lang, tree, transitions).compile([1]).min_frames == 3 + 1 + 3
