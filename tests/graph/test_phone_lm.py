"""The phone language model of LF-MMI, compared with counts by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.graph.phone_lm import PhoneLmConfig, estimate


def arcs(lm):
    """(history, phone) → (probability, next history)."""
    return {(lm.histories[s], p): (pytest.approx(np.exp(w)), lm.histories[t])
            for s, p, t, w in zip(lm.source.tolist(), lm.phone.tolist(), lm.target.tolist(), lm.log_prob.tolist(),
                                  strict=True)}


def test_a_bigram_counted_by_hand():
    lm = estimate([[1, 2, 1, 2], [1, 3], []], PhoneLmConfig(2, 10))
    assert lm.histories == [(0,), (1,), (2,), (3,)]
    assert arcs(lm) == {((0,), 1): (1.0, (1,)), ((1,), 2): (2 / 3, (2,)), ((1,), 3): (1 / 3, (3,)),
                        ((2,), 1): (1 / 2, (1,))}
    assert np.exp(lm.final).tolist() == pytest.approx([0, 0, 1 / 2, 1])


def test_a_four_gram_with_one_extra_state_counted_by_hand():
    """Of the histories of three phones, 1 2 3 occurs most often. After other 2 3, 4 follows in one of two cases."""
    lm = estimate([[1, 2, 3, 4], [5, 1, 2, 3, 4], [1, 2, 3], [4, 2, 3, 4], [4, 2, 3]], PhoneLmConfig(4, 1))
    found = arcs(lm)
    assert found[(1, 2), 3] == (1.0, (1, 2, 3)) and found[(4, 2), 3] == (1.0, (2, 3))
    assert found[(1, 2, 3), 4] == (2 / 3, (3, 4)) and found[(2, 3), 4] == (1 / 2, (3, 4))
    assert found[(0,), 1] == (2 / 5, (0, 1)) and found[(0, 1), 2] == (1.0, (1, 2))
    assert np.exp(lm.final[lm.histories.index((3, 4))]) == pytest.approx(1.0)
    assert np.exp(lm.final[lm.histories.index((2, 3))]) == pytest.approx(1 / 2)


def test_of_equally_frequent_histories_the_lowest_phones_are_states():
    lm = estimate([[5, 6, 7, 8], [2, 3, 4, 8]], PhoneLmConfig(4, 1))
    assert [h for h in lm.histories if len(h) == 3] == [(0, 2, 3)]


SEQUENCES = st.lists(st.lists(st.integers(1, 4), max_size=8), min_size=1, max_size=12).filter(any)


@given(SEQUENCES, st.integers(2, 4), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_probabilities_sum_to_one_from_each_state_and_all_sequences_are_accepted(sequences, order, extra):
    lm = estimate(sequences, PhoneLmConfig(order, extra))
    sums = np.exp(lm.final) + np.bincount(lm.source, np.exp(lm.log_prob), minlength=len(lm.histories))
    assert sums == pytest.approx(np.ones(len(sums)))
    assert sum(len(h) == 3 for h in lm.histories) <= (extra if order == 4 else 0)
    assert len({*zip(lm.source.tolist(), lm.phone.tolist(), strict=True)}) == len(lm.source)  # deterministic
    step = {(s, p): t for s, p, t in zip(lm.source.tolist(), lm.phone.tolist(), lm.target.tolist(), strict=True)}
    for phones in filter(None, sequences):
        state = 0
        for n, phone in enumerate(phones):
            state = step[state, phone]
            history = lm.histories[state]
            assert history == (0, *phones[:n + 1])[-len(history):] and len(history) >= min(order - 1, 2)
        assert lm.final[state] > -np.inf


def test_without_phones_there_is_no_model():
    with pytest.raises(UserError, match="no phones to estimate"):
        estimate([[], []], PhoneLmConfig(3, 0))
    with pytest.raises(UserError, match=r"`phone_lm\.order` must be 2, 3 or 4"):
        PhoneLmConfig(5, 0)
