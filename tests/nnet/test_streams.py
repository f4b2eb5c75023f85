"""The plan of an epoch: every frame once, delayed targets, states that are carried and reset."""

from dataclasses import replace

import numpy as np
import torch
from helpers import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp import config
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import FrameSet
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.streams import Streams, carry_state, epoch_frames, epoch_order, plan, plan_epoch


def frame_set(lengths, dim=2, seed=0) -> FrameSet:
    """Feature 0 of a frame is its row number; so is its pdf-id."""
    offsets = torch.tensor([0, *np.cumsum(lengths)])
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(int(offsets[-1]), dim, generator=g)
    features[:, 0] = torch.arange(len(features))
    return FrameSet([f"u{n}" for n in range(len(lengths))], offsets, features, torch.arange(len(features)))


def streams_of(frames, num_streams, chunk, delay, seed=1, epoch=0):
    order = epoch_order(frames.lengths, num_streams, seed, epoch)
    return Streams(frames, plan_epoch(frames.lengths, order, num_streams, chunk, delay), chunk, delay)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=15), st.integers(1, 6), st.integers(1, 12),
       st.integers(0, 7), st.integers(0, 5))
def test_every_frame_is_predicted_once_after_the_delay(lengths, num_streams, chunk, delay, epoch):
    frames = frame_set(lengths)
    streams = streams_of(frames, num_streams, chunk, delay, epoch=epoch)
    seen, history = [], {}
    active = None
    for number in range(len(streams)):
        batch = streams.batch(number)
        assert batch.features.shape == (chunk, len(batch.utts), 2)
        now_active = streams.plan.utt[number] >= 0
        if active is not None:
            assert not (now_active & ~active).any()  # a stream that has ended is not used again
        active = now_active
        for n, u in enumerate(batch.utts.tolist()):
            assert bool(batch.fresh[n]) == (u not in history)
            inputs = history.setdefault(u, [])
            inputs.extend(batch.features[:, n, 0].tolist())
            for t, target in enumerate(batch.targets[:, n].tolist()):
                if target >= 0:
                    seen.append(target)
                    position = len(inputs) - chunk + t  # of this output within the utterance
                    assert target == frames.offsets[u] + position - delay
    assert sorted(seen) == list(range(sum(lengths)))
    for u, inputs in history.items():
        first, last = int(frames.offsets[u]), int(frames.offsets[u + 1]) - 1
        assert inputs == [min(first + t, last) for t in range(len(inputs))]
        assert len(inputs) >= lengths[u] + delay > len(inputs) - chunk


def test_order_depends_on_seed_and_epoch_alone():
    lengths = torch.randint(1, 50, (100,))
    orders = [epoch_order(lengths, 8, *key).tolist() for key in ((1, 0), (1, 0), (1, 1), (2, 0))]
    assert orders[0] == orders[1] and len({tuple(o) for o in orders}) == 3
    assert all(sorted(o) == list(range(100)) for o in orders)


def test_all_streams_end_at_nearly_the_same_time():
    lengths = torch.from_numpy(np.random.default_rng(0).integers(300, 1700, 1500))
    plan = plan_epoch(lengths, epoch_order(lengths, 64, 1, 0), 64, 20, 5)
    assert (plan.utt < 0).float().mean() < 0.02


def test_loss_over_streams_equals_loss_over_whole_utterances(small_config):
    lengths, delay = [31, 5, 18, 44, 9, 23], 3
    frames = frame_set(lengths, dim=6)
    frames.features[:, 0] /= 100
    frames = FrameSet(frames.utts, frames.offsets, frames.features.double(), frames.pdfs % 9)
    model = StateNetwork(small_config(), 6, 9).double()
    model.initialize(1)
    wanted = 0.0
    for u, length in enumerate(lengths):
        rows = slice(int(frames.offsets[u]), int(frames.offsets[u + 1]))
        x = frames.features[rows]
        x = torch.cat([x, x[-1:].expand(delay, -1)]).unsqueeze(1)
        log_post, _ = model(x, model.zero_state(1))
        wanted -= log_post[delay:, 0].gather(1, frames.pdfs[rows].unsqueeze(1)).sum()
        assert len(log_post) - delay == length
    streams, state, total = streams_of(frames, 4, 7, delay), model.zero_state(4), 0.0
    sizes = set()
    for number in range(len(streams)):
        batch = streams.batch(number)
        sizes.add(len(batch.utts))
        state = carry_state(state, batch)
        loss, _, state = model.loss(batch.features, state, batch.targets, 1)
        total += loss
    assert len(sizes) > 1  # some streams ended earlier than others
    torch.testing.assert_close(total, wanted)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=15), st.integers(1, 6), st.integers(0, 12), st.integers(0, 7),
       st.integers(2, 4), st.integers(0, 5), st.booleans())
def test_with_subsampling_each_group_is_predicted_once(lengths, num_streams, chunk, delay, subsampling, epoch,
                                                       all_phases):
    """Inputs and targets of an epoch, compared with the definition written out for each utterance."""
    cfg = replace(config.load(ROOT / "conf/lstmp.yaml", LstmpConfig), subsampling=subsampling, all_phases=all_phases,
                  label_delay=delay, chunk=chunk)
    frames = frame_set(lengths)
    begins, counts = epoch_frames(cfg, frames, epoch)
    streams = Streams(frames, plan(counts, num_streams, chunk, cfg.output_delay, 1, epoch), chunk, cfg.output_delay,
                      subsampling, begins)
    inputs, targets = {u: [] for u in range(len(lengths))}, {u: [] for u in range(len(lengths))}
    for number in range(len(streams)):
        batch = streams.batch(number)
        assert len(batch.features) == subsampling * len(batch.targets)
        assert torch.equal(batch.features[:, :, 0].long(), batch.frames)
        for n, u in enumerate(batch.utts.tolist()):
            inputs[u] += (batch.frames[:, n] - frames.offsets[u]).tolist()
            targets[u] += batch.targets[:, n].tolist()
            assert batch.lengths[n] <= len(batch.targets)
    for u, length in enumerate(lengths):
        begin, last, groups = int(begins[u]), length - 1, -(-(length - int(begins[u])) // subsampling)
        assert begin in (range(min(subsampling, length)) if all_phases else [0])
        assert inputs[u] == [min(begin + i, last) for i in range(len(inputs[u]))]
        assert len(targets[u]) >= groups + cfg.output_delay and len(inputs[u]) == subsampling * len(targets[u])
        middles = [min(begin + subsampling * t + subsampling // 2, last) for t in range(groups)]
        wanted = [-1] * cfg.output_delay + [int(frames.offsets[u]) + m for m in middles]
        assert targets[u] == wanted + [-1] * (len(targets[u]) - len(wanted))


def test_all_frames_but_those_at_the_ends_are_targets_in_turn(small_config):
    cfg, frames, seen = small_config(subsampling=3, chunk=5), frame_set([1, 2, 3, 4, 20, 33]), set()
    for epoch in range(3):
        begins, counts = epoch_frames(cfg, frames, epoch)
        streams = Streams(frames, plan(counts, 2, 5, 1, 1, epoch), 5, 1, 3, begins)
        for number in range(len(streams)):
            seen.update(streams.batch(number).targets.flatten().tolist())
    firsts = {int(o) for o, length in zip(frames.offsets, frames.lengths, strict=False) if length > 1}
    assert seen - {-1} == set(range(63)) - firsts
