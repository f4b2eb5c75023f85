"""Words and confidences of CTM files."""

import numpy as np
import pytest
from helpers.lattices import SEEDS, some_lattice
from hypothesis import given, settings

from lstmp.corpus.pieces import Names
from lstmp.decode.ctm import TimedWord, best_with_confidences, joined
from lstmp.decode.lattice import Lattice
from lstmp.decode.nbest import nbest
from lstmp.decode.word_graph import word_graph


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_words_are_those_of_the_best_path_and_confidences_are_probabilities(seed):
    lattice, _ = some_lattice(seed, frames=4)
    words, confidences = best_with_confidences(lattice, 2.0, 0.5)
    assert len(confidences) == len(words) and all(0 <= x <= 1 for x in confidences)
    assert tuple(words) == next(nbest(word_graph(lattice, 2.0), 2.0, 0.5)).words


def test_confidences_of_two_paths():
    """Two words compete with odds of 3 to 1: confidence 0.75 for the better one, 1 for the word on both paths."""
    lattice = Lattice.assembled(np.array([[0, 1, 1], [0, 2, 1], [1, 3, 1], [2, 3, 1], [3, 4, -1]]), np.zeros(5),
                                np.log([3.0, 1.0, 1.0, 1.0, 1.0]), np.array([1, 1, 1, 1, 0]), np.array([5, 6, 7, 7]))
    words, confidences = best_with_confidences(lattice, 1.0, 0.0)
    assert words == [5, 7] and confidences == pytest.approx([0.75, 1.0])


def test_pieces_are_joined_to_words_with_the_lowest_confidence():
    names = Names({1: "▁THE▁", 2: "▁CA", 3: "T▁"})
    times = [("▁THE▁", 2, 5), ("▁CA", 9, 4), ("T▁", 13, 6)]
    assert joined(names.spans([1, 2, 3]), times, [0.9, 0.8, 0.6]) == [
        TimedWord("THE", 2, 5, 0.9), TimedWord("CAT", 9, 10, 0.6)]
