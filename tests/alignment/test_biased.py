"""The phone loop, and biased alignment, which may depart from the transcript."""

import numpy as np
import pytest
import torch
from helpers.random_hmms import SIL, random_lang, random_transitions, random_tree
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.alignment.biased import BiasedCompiler, Departure, departures, with_gap
from lstmp.alignment.phone_loop import PhoneLoop
from lstmp.gmm.align import segments
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.viterbi import align_batch


def toy(seed, width=3):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    tree = random_tree(lang, rng, width)
    return rng, lang, AcousticModel(random_transitions(lang, tree, rng), tree, None, None)


def departed(lang, model, words, scores, frame_cost=0.0, gap_cost=0.0, skip_cost=0.0, borders=None):
    """Return (path through the loop, alignment with gaps, forced alignment, compiler) for scores [T, pdfs]."""
    log_prob = model.transitions.graph_log_probs(1.0, 1.0).numpy()
    (free,) = PhoneLoop(lang, model, 1.0).best_paths([scores], log_prob)
    compiler = BiasedCompiler(lang, model.tree, model.transitions, gap_cost, skip_cost)
    graph = compiler.compile(words, borders)
    (gapped,) = align_batch([graph], [with_gap(scores, graph, free.score, frame_cost)],
                            compiler.extended(log_prob, len(words)))
    graph = GraphCompiler(lang, model.tree, model.transitions).compile(words)
    (forced,) = align_batch([graph], [scores[:, graph.distinct_pdfs]], log_prob)
    return free, gapped, forced, compiler


@given(st.integers(0, 10**6), st.integers(5, 40), st.sampled_from([1, 3]))
@settings(max_examples=30, deadline=None)
def test_frame_scores_of_the_loop_sum_to_its_score_and_bound_that_of_any_transcript(seed, frames, width):
    rng, lang, model = toy(seed, width)
    scores = torch.from_numpy(rng.normal(0, 2, (frames, model.tree.num_pdfs)).astype(np.float32))
    loop = PhoneLoop(lang, model, 0.0)
    log_prob = np.zeros(model.transitions.num_tids + 1, dtype=np.float32)  # the loop has those of one context
    (free,) = loop.best_paths([scores], log_prob)
    ((_, score),) = align_batch([loop.graph], [loop.scores(scores)], log_prob)
    assert free.score.sum() == pytest.approx(score, abs=1e-3) and free.starts[0]
    graph = GraphCompiler(lang, model.tree, model.transitions).compile(rng.integers(1, 4, 2).tolist())
    (forced,) = align_batch([graph], [scores[:, graph.distinct_pdfs]], log_prob)
    assume(forced is not None)
    assert forced[1] <= score + 1e-3  # pronunciations and silence can only lower the score


@given(st.integers(0, 10**6), st.integers(12, 30))
@settings(max_examples=30, deadline=None)
def test_with_a_very_high_gap_cost_the_result_is_forced_alignment(seed, frames):
    rng, lang, model = toy(seed)
    words = rng.integers(1, 4, 2).tolist()
    scores = torch.from_numpy(rng.normal(0, 2, (frames, model.tree.num_pdfs)).astype(np.float32))
    _, gapped, forced, compiler = departed(lang, model, words, scores, gap_cost=1000.0)
    assume(forced is not None)
    assert gapped[0].tolist() == forced[0].tolist() and gapped[1] == pytest.approx(forced[1], abs=1e-3)
    assert departures(gapped[0], compiler.first_gap_tid, np.ones(frames, dtype=bool)) == []


def spoken(lang, model, phones, each=4, high=20.0):
    """Scores that force these phones, with ``each`` frames per state."""
    states = [model.tree.pdf((p,), c) for p in phones for c in range(lang.topology.num_states(p)) for _ in range(each)]
    scores = torch.zeros(len(states), model.tree.num_pdfs)
    scores[range(len(states)), states] = high
    return scores


def four_words():
    """Monophones of three states; word w consists of phone w + 1."""
    rng = np.random.default_rng(1)
    lang = random_lang(rng, states=(3,))
    lang = type(lang)(**{**vars(lang), "lexicon": {w: [(1.0, (w + 1,))] for w in (1, 2, 3, 4)}})
    from lstmp.gmm.tree import monophone_tree
    tree = monophone_tree(lang.sets, lang.topology)
    return lang, AcousticModel(random_transitions(lang, tree, rng), tree, None, None)


COSTS = {"frame_cost": 0.5, "gap_cost": 3.0, "skip_cost": 3.0}
SPOKEN = {  # spoken phones → departures from the transcript 1 2 3; each phone takes 12 frames
    (2, 3, 4): [], (2, 5, 4): [(12, 12, 1, 1)], (2, 5, 3, 4): [(12, 12, 1, 0)], (5, 2, 3, 4): [(0, 12, 0, 0)],
    (2, 3, 4, 5): [(36, 12, 3, 0)], (5, 5, 5): [(0, 36, 0, 3)]}


@pytest.mark.parametrize("phones", SPOKEN)
def test_departures_are_where_other_words_were_spoken(phones):
    lang, model = four_words()
    scores = spoken(lang, model, phones)
    free, gapped, forced, compiler = departed(lang, model, [1, 2, 3], scores, **COSTS)
    assert [lang.sets[k][0] for k in free.phone[6::12]] == list(phones)
    found = departures(gapped[0], compiler.first_gap_tid, free.phone != lang.sets.index([SIL]))
    assert found == [Departure(start, length, word, skipped, length) for start, length, word, skipped in SPOKEN[phones]]
    assert gapped[1] - forced[1] == pytest.approx(0, abs=1e-3) if not found else gapped[1] - forced[1] > 100


def test_a_word_that_was_not_spoken_is_skipped():
    lang, model = four_words()
    scores = spoken(lang, model, (2, 4))
    free, gapped, _, compiler = departed(lang, model, [1, 2, 3], scores, **COSTS)
    (found,) = departures(gapped[0], compiler.first_gap_tid, np.ones(24, dtype=bool))
    assert (found.word, found.skipped) == (1, 1) and found.length <= 3


def test_gaps_can_be_restricted_to_some_borders():
    lang, model = four_words()
    scores = spoken(lang, model, (2, 5, 4, 5))  # word 2 was replaced, and something follows word 3
    free, gapped, forced, compiler = departed(lang, model, [1, 2, 3], scores, **COSTS, borders={1, 2})
    (found,) = departures(gapped[0], compiler.first_gap_tid, np.ones(48, dtype=bool))
    assert (found.start, found.word, found.skipped) == (12, 1, 1)
    model_part = gapped[0][gapped[0] < compiler.first_gap_tid]
    assert [s.phone for s in segments(model_part, model.transitions)][0] == 2 and gapped[1] > forced[1]
