"""Frames that stay in their archives: the same batches, the same networks, resumed and shared as frames in memory."""

import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.toy_data import interrupted, log, run, weights

from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig, Features
from lstmp.features.output_frames import output_lengths, phases
from lstmp.nnet.data import FrameSet
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.evaluate import evaluate, subset
from lstmp.nnet.frame_files import FrameFiles
from lstmp.nnet.load_frames import load_frames
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.streams import Streams, plan

FEATURE = FeatureConfig("fbank", "none", 0)
LITTLE = 1e-9  # GiB


def both(toy) -> tuple[FrameSet, FrameFiles]:
    sets = [load_frames(toy.data, toy.ali, FEATURE, 5, 0.2, "test", memory=memory) for memory in (1.0, LITTLE)]
    return tuple(frames.normalized(*frames.mean_and_std()) for frames in sets)


@pytest.mark.parametrize("chunk,streams", [(20, 3), (7, 5), (0, 4)])
@pytest.mark.parametrize("first", [0, 5])
@pytest.mark.parametrize("subsampling", [1, 3])
def test_batches_are_the_same(toy, chunk, streams, first, subsampling):
    """From the first batch, and as after a resumption from a later one."""
    in_memory, in_files = both(toy)
    assert isinstance(in_memory, FrameSet) and isinstance(in_files, FrameFiles)
    begins = phases(in_memory.lengths, subsampling, 1, 0)
    table = plan(output_lengths(in_memory.lengths - begins, subsampling), streams, chunk, 5, 1, 0)
    a, b = (Streams(frames, table, chunk, 5, subsampling, begins) for frames in (in_memory, in_files))
    for number in range(min(first, len(table) - 1), len(table)):
        for x, y in zip(vars(a.batch(number)).values(), vars(b.batch(number)).values(), strict=True):
            assert x is y is None or (torch.equal(x, y) if torch.is_tensor(x) else x == y)


def test_only_the_utterances_near_a_batch_are_in_memory(toy, monkeypatch):
    monkeypatch.setattr("lstmp.nnet.frame_files._AHEAD", 2)
    frames = both(toy)[1]
    table = plan(frames.lengths, 2, 10, 0, 1, 0)
    streams, most = Streams(frames, table, 10, 0), 0
    for number in range(len(table)):
        streams.batch(number)
        most = max(most, len(streams._reader._loaded))
    assert 2 <= most <= 4 < len(frames.utts)


def test_facts_of_the_whole_set_are_the_same(toy):
    in_memory, in_files = both(toy)
    for name in ("utts", "num_frames", "dim", "frame_shift"):
        assert getattr(in_memory, name) == getattr(in_files, name)
    assert torch.equal(in_memory.lengths, in_files.lengths)
    assert torch.equal(in_memory.pdf_counts(5), in_files.pdf_counts(5))
    a, b = (subset(frames, 3, seed=1) for frames in (in_memory, in_files))
    assert a.utts == b.utts and torch.equal(a.offsets, b.offsets)
    for x, y in zip((a.features, a.pdfs), map(torch.cat, zip(*map(b.read, range(3)), strict=True)), strict=True):
        assert torch.equal(x, y)
    raw = [load_frames(toy.data, toy.ali, FEATURE, 5, 0.2, "test", memory=m).mean_and_std() for m in (1.0, LITTLE)]
    for x, y in zip(*raw, strict=True):
        assert torch.equal(x, y)


def test_evaluation_is_the_same(toy, small_config):
    in_memory, in_files = both(toy)
    model = StateNetwork(small_config(), in_memory.dim, 5)
    model.initialize(1)
    assert evaluate(model, in_memory, 5, Team(2)) == evaluate(model, in_files, 5, Team(2))


def test_the_threads_of_an_evaluation_share_one_index_of_the_archives(toy, small_config, monkeypatch):
    frames, made = both(toy)[1], []
    monkeypatch.setattr("lstmp.nnet.frame_files.Features",
                        lambda *args, **more: made.append(time.sleep(0.2)) or Features(*args, **more))
    model = StateNetwork(small_config(), frames.dim, 5)
    model.initialize(1)
    evaluate(model, frames, 5, Team(3))
    assert len(made) == 1


def test_no_thread_outlives_its_reader(toy):
    frames = both(toy)[1]
    streams = Streams(frames, plan(frames.lengths, 2, 10, 0, 1, 0), 10, 0)
    streams.batch(0)
    thread = next(iter(streams._reader._thread._threads))
    assert thread.is_alive()
    del streams
    thread.join(10)
    assert not thread.is_alive()


def test_an_alignment_without_an_index(toy):
    with_index = both(toy)[1].read(1)
    (toy.ali / "pdf.scp").unlink()
    assert torch.equal(both(toy)[1].read(1)[1], with_index[1])


def test_a_bad_utterance_is_left_out(toy, capfd):
    toy.feats["a-02"][7, 2] = np.nan
    toy.write()
    frames = load_frames(toy.data, toy.ali, FEATURE, 5, 0.2, "test", memory=LITTLE)
    assert "a-02" not in frames.utts and len(frames.utts) == 11 and "a-02 is left out" in capfd.readouterr().err


def test_an_archive_that_disappears_is_an_error_that_names_it(toy):
    frames = both(toy)[1]
    (toy.data / "feats.ark").unlink()
    with pytest.raises(UserError, match=r"feats\.ark: no such archive"):
        Streams(frames, plan(frames.lengths, 2, 10, 0, 1, 0), 10, 0).batch(0)


def test_wrong_utt2num_frames_do_no_harm(toy):
    (toy.data / "utt2num_frames").write_text("".join(f"{utt} 1\n" for utt in toy.feats))
    frames = load_frames(toy.data, toy.ali, FEATURE, 5, 0.2, "test")
    expected = torch.cat([torch.from_numpy(toy.feats[utt]) for utt in frames.utts])
    assert isinstance(frames, FrameSet) and torch.equal(frames.features, expected)


@pytest.fixture
def masked(small_config):
    return small_config(time_masks_per_second=2.0, time_mask_width=4, epochs=2)


@pytest.mark.parametrize("subsampling", [1, 3])
def test_training_gives_the_same_network(toy, masked, capsys, subsampling):
    masked = replace(masked, subsampling=subsampling)
    expected = weights(run(toy, masked, "memory"))
    assert "in each epoch" not in capsys.readouterr().out
    out = run(toy, masked, "files", memory=LITTLE)
    assert len(re.findall("frames, read from .* in each epoch", capsys.readouterr().out)) == 2
    for name, x in weights(out).items():
        assert torch.equal(x, expected[name])
    assert [h["frames"] for h in log(out)] == [h["frames"] for h in log(toy.path / "memory")]


def test_a_resumed_training_ends_with_the_same_weights(toy, masked, monkeypatch):
    expected = weights(run(toy, masked, "whole", memory=LITTLE))
    out, kills = interrupted(toy, masked, monkeypatch, memory=LITTLE)
    assert kills >= 3 and all(torch.equal(x, expected[name]) for name, x in weights(out).items())


def test_two_processes_read_from_the_archives(toy, masked):
    expected = weights(run(toy, masked, "one", memory=LITTLE))
    for name, x in weights(run(toy, masked, "two", memory=LITTLE, nj=2)).items():
        torch.testing.assert_close(x, expected[name], rtol=1e-3, atol=1e-4)
