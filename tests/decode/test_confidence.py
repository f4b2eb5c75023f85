"""Presence of words in a lattice, compared with an enumeration of its paths."""

import numpy as np
import pytest
from helpers.lattices import SEEDS, some_lattice
from hypothesis import assume, given, settings

from lstmp.decode.confidence import word_presence


def paths_of(lattice):
    """All paths of a lattice, each as a list of arcs."""
    paths, todo = [], [[]]
    while todo:
        arcs = todo.pop()
        state = lattice.arcs[arcs[-1], 1] if arcs else 0
        if state == lattice.num_states - 1:
            paths.append(arcs)
        todo += [[*arcs, a] for a in np.flatnonzero(lattice.arcs[:, 0] == state)]
    return paths


@pytest.mark.parametrize("native", [True, False])
@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_presence_is_the_probability_of_the_paths_on_which_a_word_is_the_last_one(native, seed):
    lattice, _ = some_lattice(seed, frames=4)
    words = np.unique(lattice.words)[::2]
    assume(len(words))
    scores = lattice.acoustic.astype(np.float64) / 2 + lattice.graph
    paths = paths_of(lattice)
    weight = np.exp([scores[arcs].sum() for arcs in paths])
    expected = np.zeros((len(words), len(paths[0])))
    for arcs, p in zip(paths, weight / weight.sum(), strict=True):
        last = set()
        for t, a in enumerate(arcs):
            if lattice.num_words[a]:
                last = set(lattice.words[lattice.word_splits[a]:lattice.word_splits[a + 1]].tolist())
            for row, word in enumerate(words.tolist()):
                expected[row, t] += p * (word in last)
    order = np.random.default_rng(seed).permutation(len(words))
    np.testing.assert_allclose(word_presence(lattice, scores, words[order], native), expected[order], atol=1e-6)
