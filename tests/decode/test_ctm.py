"""Words of CTM files and their confidences."""

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
def test_the_best_path_and_numbers_from_0_to_1(seed):
    lattice, _ = some_lattice(seed, frames=4)
    words, sure = best_with_confidences(lattice, 2.0, 0.5)
    assert len(sure) == len(words) and all(0 <= x <= 1 for x in sure)
    assert tuple(words) == next(nbest(word_graph(lattice, 2.0), 2.0, 0.5)).words


def test_by_hand():
    """Two words for a place, three to one: 0.75 for the likelier one, 1 for the word that both paths have."""
    lattice = Lattice.assembled(np.array([[0, 1, 1], [0, 2, 1], [1, 3, 1], [2, 3, 1], [3, 4, -1]]), np.zeros(5),
                                np.log([3.0, 1.0, 1.0, 1.0, 1.0]), np.array([1, 1, 1, 1, 0]), np.array([5, 6, 7, 7]))
    words, sure = best_with_confidences(lattice, 1.0, 0.0)
    assert words == [5, 7] and sure == pytest.approx([0.75, 1.0])


def test_pieces_become_words():
    names = Names({1: "▁THE▁", 2: "▁CA", 3: "T▁"})
    times = [("▁THE▁", 2, 5), ("▁CA", 9, 4), ("T▁", 13, 6)]
    assert joined(names.spans([1, 2, 3]), times, [0.9, 0.8, 0.6]) == [
        TimedWord("THE", 2, 5, 0.9), TimedWord("CAT", 9, 10, 0.6)]
