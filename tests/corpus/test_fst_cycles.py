"""Ways around that say nothing are found, whatever else is there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.fst_cycles import check_backoff, check_lexicon, state_of_cycle
from lstmp.errors import UserError


def graph(states, arcs):
    """``arcs``: (from, input, output, to)."""
    src, ilabel, olabel, dst = (np.array(column, np.int32) for column in zip(*sorted(arcs), strict=True))
    return FstArrays(0, np.zeros(states, np.float32), src, ilabel, olabel, np.zeros(len(arcs), np.float32), dst)


def goes_around(arcs, state):
    """Whether arcs lead from the state back to it."""
    reached, todo = set(), [state]
    while todo:
        at = todo.pop()
        new = {to for source, to in arcs if source == at} - reached
        reached |= new
        todo += new
    return state in reached


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1), st.integers(0, 6)), min_size=1, max_size=14))
def test_as_walking_finds_it(ways):
    fst = graph(7, [(a, label, 0, b) for a, label, b in ways])
    silent = {(a, b) for a, label, b in ways if not label}
    found = state_of_cycle(fst, fst.ilabel == 0)
    around = [state for state in range(7) if goes_around(silent, state)]
    assert found in around if around else found is None


def test_language_models():
    """9 is the back-off; a word on the way, and the same state by two back-offs, are no cycle."""
    check_backoff(graph(3, [(2, 9, 0, 1), (1, 9, 0, 0), (0, 5, 5, 2), (2, 9, 0, 0)]), 9, "G.fst")
    for arcs in ([(0, 9, 0, 0)], [(2, 9, 0, 1), (1, 0, 0, 2)], [(1, 0, 0, 1)]):
        with pytest.raises(UserError, match="G.fst: state [01] is on a cycle of arcs without a word"):
            check_backoff(graph(3, [(0, 5, 5, 2), *arcs]), 9, "G.fst")
    check_backoff(graph(3, [(0, 9, 9, 0)]), None, "G.fst")  # 9 is a word there


def test_lexicons():
    """Symbols such as #0 pass a lexicon in a loop, with a word; without one that has no end."""
    check_lexicon(graph(2, [(0, 9, 7, 0), (0, 3, 5, 1), (1, 3, 0, 1), (1, 9, 0, 0)]), [9], "L.fst")
    for arc in ((0, 9, 0, 0), (0, 0, 0, 0)):
        with pytest.raises(UserError, match="L.fst: state 0 is on a cycle of arcs without phone and word"):
            check_lexicon(graph(2, [(0, 3, 5, 1), arc]), [9], "L.fst")
