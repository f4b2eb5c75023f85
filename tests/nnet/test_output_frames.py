"""Where the output frames of a network with subsampling lie: their number, their groups, and the phases of training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.features.output_frames import output_lengths, padding, phases


@given(st.integers(1, 50), st.integers(1, 5), st.integers(0, 4))
def test_the_groups_and_the_delay_are_whole_groups(frames, subsampling, delay):
    groups = -(-frames // subsampling)
    assert output_lengths(torch.tensor([frames]), subsampling).tolist() == [groups]
    assert frames + padding(frames, subsampling, delay) == subsampling * (groups + delay)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 4), st.integers(0, 9), st.integers(0, 20))
def test_an_utterance_begins_with_each_of_its_first_frames_in_turn(lengths, subsampling, seed, epoch):
    lengths = torch.tensor(lengths)
    table = torch.stack([phases(lengths, subsampling, seed, epoch + e) for e in range(subsampling)])
    assert torch.equal(table[0], phases(lengths, subsampling, seed, epoch))
    for begins, length in zip(table.T.tolist(), lengths.tolist(), strict=True):
        assert sorted(begins) == [min(first, length - 1) for first in range(subsampling)]


def test_utterances_of_an_epoch_begin_at_different_frames():
    begins = phases(torch.full((300,), 20), 3, 1, 0)
    assert begins.bincount().min() > 70
    assert not torch.equal(begins, phases(torch.full((300,), 20), 3, 2, 0))


def test_the_delay_is_rounded_up_and_the_factor_is_the_subsampling(small_config):
    delays = [small_config(subsampling=3, label_delay=d).output_delay for d in (0, 1, 3, 4, 5, 6)]
    assert delays == [0, 1, 1, 2, 2, 2] and small_config(label_delay=5).output_delay == 5
    assert small_config().score_factor == 1 and small_config(subsampling=3).score_factor == 3
    assert small_config(subsampling=3, acoustic_factor=1.5).score_factor == 1.5


@pytest.mark.parametrize("changes", [{"subsampling": 0}, {"acoustic_factor": -1.0}])
def test_impossible_values_are_refused(small_config, changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        small_config(**changes)
