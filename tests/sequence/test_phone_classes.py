"""Which states count as the same: by state, and by phones that share states."""

import numpy as np
import pytest

from lstmp.corpus.topology import Topology
from lstmp.gmm.transition import TransitionModel
from lstmp.sequence.phone_classes import FrameAccuracy

# (phone, HMM state, pdf): 1 is silence; 2 and 3 share pdf 4, 3 and 4 share pdf 6, 5 shares none
TUPLES = [(1, 0, 0), (1, 1, 1), (1, 2, 0), (2, 0, 2), (2, 1, 3), (2, 2, 4), (3, 0, 5), (3, 1, 4), (3, 2, 6),
          (4, 0, 6), (4, 1, 6), (4, 2, 7), (5, 0, 8), (5, 1, 9), (5, 2, 9)]


@pytest.fixture
def transitions():
    entry = [[(n, 0.5), (n + 1, 0.5)] for n in range(3)]
    return TransitionModel(Topology(dict.fromkeys(range(1, 6), entry)), TUPLES)


def same(accuracy):
    """The sets of pdfs that count as the same."""
    pdfs = np.arange(10)
    return {tuple(np.flatnonzero(accuracy(pdfs, np.full(10, p))).tolist()) for p in pdfs}


def test_by_state_each_pdf_counts_alone_but_silence(transitions):
    alone = {(p,) for p in range(2, 10)}
    assert same(FrameAccuracy.of(transitions, 10, {1}, "state", True)) == alone | {(0, 1)}
    assert same(FrameAccuracy.of(transitions, 10, {1}, "state", False)) == alone | {()}


def test_by_phone_the_pdfs_of_phones_that_share_one_count_as_the_same(transitions):
    expected = {(2, 3, 4, 5, 6, 7), (8, 9)}
    assert same(FrameAccuracy.of(transitions, 10, {1}, "phone", True)) == expected | {(0, 1)}
    assert same(FrameAccuracy.of(transitions, 10, {1}, "phone", False)) == expected | {()}
