"""Features and graphs that are kept in memory or made again: the values, the memory, and the models trained on them."""

import weakref

import numpy as np
import pytest
import torch
from helpers.known_gaussians import aligned, make, mono, tri

from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.align import read_alignment
from lstmp.gmm.frames import Frames, Graphs
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import Shard
from lstmp.gmm.training_graph import GraphCompiler

FEATURE = FeatureConfig("mfcc", "none", 0)
DIM = 6
ROOMS = pytest.mark.parametrize("room", [0, 20_000, 1 << 30], ids=["nothing kept", "some kept", "all kept"])


def frames_of(toy, room, **options) -> Frames:
    features = Features(toy.data, FEATURE, **options)
    return Frames(features, features.utts, "cpu", room)


def kept_bytes(frames: Frames) -> int:
    return sum(4 * x.numel() for kept in (frames._kept, frames._adapted) for x in kept.values())


@ROOMS
def test_features_are_the_same_whether_they_are_kept_or_not(toy, room):
    frames, source = frames_of(toy, room), Features(toy.data, FEATURE)
    generator = torch.Generator().manual_seed(0)
    linear = [torch.randn(5, DIM, generator=generator), torch.randn(5, 5, generator=generator)]
    expected = {}
    for matrix in linear:
        frames.transform(matrix)
    for utt in source.utts:
        expected[utt] = source.load(utt) @ linear[0].t() @ linear[1].t()
    assert frames.dim == 5 and frames.lengths == {u: len(x) for u, x in expected.items()}
    one, other = (torch.randn(5, 6, generator=generator) for _ in range(2))
    for speakers in ({}, {"s0": one}, {"s1": other}):
        frames.adapt(speakers)
        for order in (source.utts, source.utts[::-2]):
            read = list(frames.read(order))
            assert [u for u, _ in read] == order
            for utt, feats in read:
                w = speakers.get(source.speaker(utt), torch.eye(5, 6))
                torch.testing.assert_close(feats, expected[utt] @ w[:, :5].t() + w[:, 5])
                assert torch.equal(feats, frames[utt]) and torch.equal(frames.unadapted(utt), expected[utt])
        assert kept_bytes(frames) <= room


def test_what_a_transform_makes_smaller_leaves_room_for_more(toy):
    features = Features(toy.data, FEATURE)
    frames = frames_of(toy, 4 * DIM * sum(features.num_frames(u) for u in features.utts) // 2)
    kept = len(frames._kept)
    assert 0 < kept < len(features.utts)
    frames.transform(torch.ones(1, DIM))
    list(frames.read(features.utts))
    assert len(frames._kept) == len(features.utts)


def test_blocks_have_all_utterances_and_a_bounded_size(toy):
    every = list(Features(toy.data, FEATURE).utts)
    for room in (0, 1 << 30):
        frames = frames_of(toy, room)
        order = sorted(every, key=lambda u: -frames.lengths[u])
        blocks = frames.blocks(order, 4 * DIM * 300)
        assert len(blocks) > 3 and sorted(u for b in blocks for u in b) == every
        assert all(sum(frames.lengths[u] for u in b) <= 300 or len(b) == 1 for b in blocks)
        assert [u for b in blocks for u in b] == (order if room else every)  # the archive is sorted by id
        assert frames.blocks([], 100) == [[]]


def test_an_archive_that_disappears_is_an_error_that_names_it(toy, tmp_path):
    other = make(tmp_path, utts=6)
    frames = frames_of(other, 0)
    (other.data / "feats.ark").unlink()
    with pytest.raises(UserError, match=r"feats\.ark: no such archive"):
        list(frames.read(frames.lengths))


@ROOMS
def test_graphs_are_the_same_whether_they_are_kept_or_not(toy, mono_dir, room):
    lang, model = Lang.load(toy.lang), AcousticModel.load(mono_dir)
    compiler = GraphCompiler(lang, model.tree, model.transitions)
    words = {utt: lang.word_ids(text.split())[0] for utt, text in
             (line.split(" ", 1) for line in (toy.data / "text").read_text().splitlines())}
    graphs = Graphs(compiler, words, room)
    for utt in words:
        expected = compiler.compile(words[utt])
        assert np.array_equal(graphs[utt].arcs, expected.arcs) and np.array_equal(graphs[utt].pdf, expected.pdf)
        assert (graphs.min_frames[utt], graphs.states[utt]) == (expected.min_frames, len(expected.pdf))
    assert (len(graphs._kept) == 0, len(graphs._kept) == len(words)) == (room == 0, room > 1 << 20)


@pytest.mark.parametrize("ahead", ["_AHEAD", "_FRAMES_AHEAD"])
def test_features_are_in_memory_once_while_they_are_sorted(toy, mono_dir, monkeypatch, ahead):
    """What is read goes to its place in the block at once; only the utterances that are read ahead are there twice."""
    monkeypatch.setattr(f"lstmp.gmm.frames.{ahead}", 2)
    lang, model, alive, most = Lang.load(toy.lang), AcousticModel.load(mono_dir), weakref.WeakSet(), 0
    load = Features.load

    def watched(self, utt):
        nonlocal most
        feats = load(self, utt)
        alive.add(feats)
        most = max(most, len(alive))
        return feats

    monkeypatch.setattr(Features, "load", watched)
    shard = Shard(toy.data, lang, FEATURE, memory=1e-5)
    shard.alignment = {u: np.ones(n, np.int32) for u, n in shard.feats.lengths.items()}
    monkeypatch.setattr("lstmp.gmm.shard._FOR_BLOCK", 1e3)  # all in one block
    most = 0
    shard.sort_by_pdf(model.transitions)
    (block, _), = shard.frames_by_pdf()
    assert len(block) == sum(shard.feats.lengths.values()) and 1 <= most <= 8 < len(shard.utts)


def test_blocks_are_read_once_for_both_kinds_of_features(toy, mono_dir, monkeypatch):
    lang, model = Lang.load(toy.lang), AcousticModel.load(mono_dir)
    shard, reads = Shard(toy.data, lang, FEATURE, memory=1e-9), []
    shard.alignment = {u: np.ones(n, np.int32) for u, n in shard.feats.lengths.items()}
    shard.feats.adapt({"s0": torch.full((DIM, DIM + 1), 2.0)})
    shard.sort_by_pdf(model.transitions)
    load = Features.load
    monkeypatch.setattr(Features, "load", lambda self, utt: reads.append(utt) or load(self, utt))
    blocks = list(shard.frames_by_pdf(also_unadapted=True))
    assert len(blocks) > 1 and sorted(reads) == sorted(shard.utts)
    unadapted = torch.cat([load(shard.feats._features, u) for u in reads])
    assert torch.equal(torch.cat([x for _, _, x in blocks]), unadapted)  # all frames have one pdf, so none is moved
    assert torch.equal(torch.cat([x for x, _, _ in blocks]), torch.cat([shard.feats[u] for u in dict.fromkeys(reads)]))


def test_batches_are_made_without_reading_features(toy, mono_dir, monkeypatch):
    shard = Shard(toy.data, Lang.load(toy.lang), FEATURE, memory=1e-9)
    shard.compile_graphs(AcousticModel.load(mono_dir))
    monkeypatch.delattr(Features, "load")
    assert sorted(u for batch in shard.batches(shard.utts) for u in batch) == sorted(shard.utts)


def train_all(toy, folder, *options):
    """Train mono, tri2b (LDA and MLLT) and tri3b (SAT), and align with tri3b."""
    ali = aligned(toy, mono(toy, folder / "mono", *options), folder / "mono_ali", *options)
    tri2b = tri(toy, ali, folder / "tri2b", *options, conf=toy.conf / "tri2b.yaml")
    ali = aligned(toy, tri2b, folder / "tri2b_ali", *options)
    tri3b = tri(toy, ali, folder / "tri3b", "--model", str(tri2b), *options, conf=toy.conf / "tri3b.yaml")
    return tri2b, tri3b, aligned(toy, tri3b, folder / "tri3b_ali", *options)


def test_little_memory_gives_the_same_models(toy, tmp_path):
    """In blocks of a few utterances, with nothing kept, sums are rounded otherwise, and no more."""
    *models, ali = train_all(toy, tmp_path / "much")
    *others, other_ali = train_all(toy, tmp_path / "little", "--memory", "1e-5")
    for model, other in zip(map(AcousticModel.load, models), map(AcousticModel.load, others), strict=True):
        assert torch.equal(model.gmms.offsets, other.gmms.offsets)
        torch.testing.assert_close(model.transform.abs(), other.transform.abs(), rtol=1e-2, atol=1e-2)
    first, second = read_alignment(ali), read_alignment(other_ali)
    assert sorted(first) == sorted(second)
    assert np.mean(np.concatenate([first[u] == second[u] for u in first])) > 0.99


def test_bad_memory_is_an_error(toy, tmp_path, capsys):
    for value in ("0", "much"):
        with pytest.raises(SystemExit):
            mono(toy, tmp_path / "mono", "--memory", value)
        assert f"`{value}` is not a number of GiB above 0" in capsys.readouterr().err
