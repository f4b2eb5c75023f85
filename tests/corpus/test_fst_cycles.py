"""Tests of finding cycles of arcs without words and phones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.fst_cycles import check_backoff, check_lexicon, state_of_cycle
from lstmp.errors import UserError


def graph(states, arcs):
    """Build an FST from arcs (source, input label, output label, destination)."""
    src, ilabel, olabel, dst = (np.array(column, np.int32) for column in zip(*sorted(arcs), strict=True))
    return FstArrays(0, np.zeros(states, np.float32), src, ilabel, olabel, np.zeros(len(arcs), np.float32), dst)


def is_on_cycle(arcs, state):
    """Whether arcs lead from the state back to it."""
    reached, todo = set(), [state]
    while todo:
        current = todo.pop()
        new = {to for source, to in arcs if source == current} - reached
        reached |= new
        todo += new
    return state in reached


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=14))
def test_state_of_cycle_agrees_with_a_plain_search(arcs):
    fst = graph(7, [(a, label, 0, b) for a, label, b in arcs])
    silent = {(a, b) for a, label, b in arcs if not label}
    state = state_of_cycle(fst, fst.ilabel == 0)
    expected = [s for s in range(7) if is_on_cycle(silent, s)]
    assert state in expected if expected else state is None


def test_back_off_cycles_of_language_models_are_errors():
    """9 is the back-off label. A cycle with a word, or two back-off paths to the same state, are allowed."""
    check_backoff(graph(3, [(2, 9, 0, 1), (1, 9, 0, 0), (0, 5, 5, 2), (2, 9, 0, 0)]), 9, "G.fst")
    for arcs in ([(0, 9, 0, 0)], [(2, 9, 0, 1), (1, 0, 0, 2)], [(1, 0, 0, 1)]):
        with pytest.raises(UserError, match="G.fst: state [01] is on a cycle of arcs without a word"):
            check_backoff(graph(3, [(0, 5, 5, 2), *arcs]), 9, "G.fst")
    check_backoff(graph(3, [(0, 9, 9, 0)]), None, "G.fst")  # here 9 is a word


def test_lexicon_cycles_without_phone_and_word_are_errors():
    """Self-loops that pass #0 through the lexicon are allowed only if they have an output label."""
    check_lexicon(graph(2, [(0, 9, 7, 0), (0, 3, 5, 1), (1, 3, 0, 1), (1, 9, 0, 0)]), [9], "L.fst")
    for arc in ((0, 9, 0, 0), (0, 0, 0, 0)):
        with pytest.raises(UserError, match="L.fst: state 0 is on a cycle of arcs without phone and word"):
            check_lexicon(graph(2, [(0, 3, 5, 1), arc]), [9], "L.fst")
