"""Confidences, against the probabilities of all paths through the word graph."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from test_word_graph import SEEDS, some_lattice

from lstmp.corpus.pieces import Names
from lstmp.decode.ctm import TimedWord, best_with_confidences, confidences, joined
from lstmp.decode.nbest import nbest
from lstmp.decode.word_graph import WordGraph, word_graph


def paths_of(graph, scores):
    """(probability, nodes) of every path."""
    found, todo = [], [((0,), 0.0)]
    while todo:
        nodes, score = todo.pop()
        if nodes[-1] == graph.end:
            found.append((math.exp(score), nodes))
        for link in range(graph.leaving[nodes[-1]], graph.leaving[nodes[-1] + 1]):
            todo.append(((*nodes, int(graph.links[link, 1])), score + scores[link]))
    total = sum(p for p, _ in found)
    return [(p / total, nodes) for p, nodes in found]


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_confidence_is_the_probability_of_the_word_at_its_best_frame(seed):
    lattice, _ = some_lattice(seed, frames=4)
    graph = word_graph(lattice, 1.0)
    scores = graph.scores(1.0, 0.0)
    best = next(nbest(graph, 1.0, 0.0))
    every = paths_of(graph, scores)
    total = int(graph.frame[graph.end]) + 1
    for i, (word, sure) in enumerate(zip(best.words, confidences(graph, scores, best), strict=True)):
        at = np.zeros(total + 1)
        for p, nodes in every:
            for a, b in zip(nodes[:-1], nodes[1:], strict=True):
                if word in graph.words[a]:
                    at[graph.frame[a]:max(graph.frame[b], graph.frame[a] + 1)] += p
        end = next((f for f in best.frames[i + 1:] if f > best.frames[i]), total)
        assert sure == pytest.approx(min(at[best.frames[i]:end].max(), 1.0), abs=1e-6)


def test_by_hand():
    """Two words for a place, three to one: 0.75 for the likelier one, 1 for the word that both paths have."""
    graph = WordGraph([(), (5,), (6,), (7,), ()], np.array([0, 0, 0, 3, 6]),
                      np.array([[0, 1], [0, 2], [1, 3], [2, 3], [3, 4]]),
                      np.zeros(5), np.log([3.0, 1.0, 1.0, 1.0, 1.0]))
    scores = graph.scores(1.0, 0.0)
    best = next(nbest(graph, 1.0, 0.0))
    assert best.words == (5, 7) and best.frames == (0, 3)
    assert confidences(graph, scores, best) == pytest.approx([0.75, 1.0])


def test_a_word_elsewhere_at_the_same_time_counts_with_it():
    graph = WordGraph([(), (5,), (5,), ()], np.array([0, 0, 1, 4]), np.array([[0, 1], [0, 2], [1, 3], [2, 3]]),
                      np.zeros(4), np.log([0.6, 0.4, 1.0, 1.0]))
    best = next(nbest(graph, 1.0, 0.0))
    assert confidences(graph, graph.scores(1.0, 0.0), best) == pytest.approx([1.0])


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_the_best_path_and_numbers_from_0_to_1(seed):
    lattice, _ = some_lattice(seed, frames=4)
    best, sure = best_with_confidences(lattice, 2.0, 0.5)
    assert len(sure) == len(best.words) and all(0 <= x <= 1 for x in sure)
    assert best.words == next(nbest(word_graph(lattice, 2.0), 2.0, 0.5)).words


def test_pieces_become_words():
    names = Names({1: "▁THE▁", 2: "▁CA", 3: "T▁"})
    times = [("▁THE▁", 2, 5), ("▁CA", 9, 4), ("T▁", 13, 6)]
    assert joined(names.spans([1, 2, 3]), times, [0.9, 0.8, 0.6]) == [
        TimedWord("THE", 2, 5, 0.9), TimedWord("CAT", 9, 10, 0.6)]
