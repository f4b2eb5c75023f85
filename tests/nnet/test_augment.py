"""Masks, gain and noise on the input."""

import math

import pytest
import torch

from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig
from lstmp.nnet.augment import Augment
from lstmp.nnet.data import FrameSet
from lstmp.nnet.streams import Streams, plan_epoch


def make(lengths=(200, 300, 250), dim=40):
    offsets = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()])
    frames = FrameSet(["a", "b", "c"], offsets, torch.ones(int(offsets[-1]), dim), torch.zeros(sum(lengths)).long())
    return frames, Streams(frames, plan_epoch(frames.lengths, range(3), 3, 20, 5), 20, 5)


def test_off_by_default(small_config):
    frames, streams = make()
    batch = streams.batch(0)
    assert Augment(small_config(), frames, 0)(batch, torch.Generator()) is batch.features


def test_frequency_masks_stay_for_the_utterance_and_change_with_the_epoch(small_config):
    frames, streams = make()
    cfg = small_config(freq_masks=2, freq_mask_width=8)
    for epoch in range(3):
        augment = Augment(cfg, frames, epoch)
        first, second = (augment(streams.batch(n), torch.Generator()) for n in (0, 1))
        assert torch.equal(first, second) and torch.equal(first, first[:1].expand_as(first))
        assert ((first[0] == 0).sum(1) <= 16).all()
    drawn = torch.stack([Augment(cfg, frames, e).freq for e in range(200)])
    assert not torch.equal(drawn[0], drawn[1])
    assert 5 < drawn.float().sum(2).mean() < 8  # two bands of 4 channels on average, at times overlapping
    assert drawn.any(0).all()  # every channel at some time


def test_a_masked_channel_is_masked_in_its_derivatives_too(small_config):
    frames, _ = make(dim=120)
    cfg = small_config(feature=FeatureConfig("fbank", "none", 2), freq_masks=2, freq_mask_width=8)
    drawn = torch.stack([Augment(cfg, frames, e).freq for e in range(200)]).view(200, 3, 3, 40)
    assert torch.equal(drawn[:, :, 0], drawn[:, :, 1]) and torch.equal(drawn[:, :, 0], drawn[:, :, 2])
    assert drawn.any(2).any(0).any(0).all() and 5 < drawn[:, :, 0].float().sum(2).mean() < 8


def test_time_masks(small_config):
    frames, _ = make(lengths=(20000, 30000, 25000))
    cfg = small_config(time_masks_per_second=0.5, time_mask_width=20)
    every = torch.arange(frames.num_frames)
    masked = Augment(cfg, frames, 0).time(every)
    assert 0.03 < masked.float().mean() < 0.06  # half a mask of 10 frames a second is 5 %, some overlap
    assert torch.equal(masked, Augment(cfg, frames, 0).time(every))
    assert not torch.equal(masked, Augment(cfg, frames, 1).time(every))
    narrow = Augment(small_config(time_masks_per_second=0.02, time_mask_width=20), frames, 0).time(every)
    steps = narrow.int().diff(prepend=torch.zeros(1), append=torch.zeros(1))
    widths = (steps == -1).nonzero() - (steps == 1).nonzero()
    assert len(widths) > 5 and widths.max() <= 40  # two may touch


def test_time_masks_end_with_the_utterance(small_config):
    frames, _ = make(lengths=(1, 1, 1))
    cfg = small_config(time_masks_per_second=34.0, time_mask_width=20)  # one mask in these three frames
    assert {int(Augment(cfg, frames, e).time(torch.arange(3)).sum()) for e in range(20)} == {1}


def test_noise(small_config):
    frames, streams = make()
    augment = Augment(small_config(input_noise=0.1), frames, 0)
    x = augment(streams.batch(0), torch.Generator().manual_seed(1)) - 1
    assert abs(x.std() - 0.1) < 0.01 and torch.equal(frames.features, torch.ones_like(frames.features))


def test_gain_adds_the_same_number_of_decibels_to_all_channels_of_an_utterance(small_config):
    frames, streams = make()
    std = torch.linspace(0.5, 4.0, 40)
    cfg = small_config(gain_db=6.0, feature=FeatureConfig("fbank", "none", 0))
    augment = Augment(cfg, frames, 0, std)
    x = (augment(streams.batch(0), torch.Generator()) - 1) * std  # log energies again
    x = x[:5]  # all utterances are longer than this
    assert torch.allclose(x, x[:1, :, :1].expand_as(x), atol=1e-5)
    drawn = torch.cat([Augment(cfg, frames, e, std).gain * std for e in range(200)])[:, 0] * 10 / math.log(10)
    assert drawn.abs().max() <= 6 and abs(drawn.mean()) < 0.5 and drawn.std() > 3


def test_gain_is_refused_for_normalized_filterbanks(small_config):
    with pytest.raises(UserError, match="gain_db"):
        small_config(gain_db=6.0, feature=FeatureConfig("fbank", "mean", 0))
