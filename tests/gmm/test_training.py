"""Monophone training, alignment and triphone training end to end, on features drawn from a known HMM."""

import itertools
import json
import re
import shutil

import numpy as np
import pytest
import torch
from helpers.known_gaussians import DIM, agreement, aligned, mono, tri

from lstmp import config
from lstmp.corpus.lang import Lang
from lstmp.features.ark import read_int_vectors, read_mat, read_scp
from lstmp.gmm import align, em, train_mono
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig, Shard


def test_monophones_find_the_alignment_that_made_the_data(toy, ali_dir):
    assert agreement(toy, ali_dir) >= 0.97


def test_the_files_of_an_alignment_agree(toy, ali_dir):
    lang, model = Lang.load(toy.lang), AcousticModel.load(ali_dir)
    tids, pdfs = (dict(read_int_vectors(ali_dir / name)) for name in ("ali.ark", "pdf.ark"))
    assert sorted(tids) == sorted(toy.truth) and model.gmms is None
    frames = {utt: len(read_mat(rx)) for utt, rx in read_scp(toy.data / "feats.scp").items()}
    rows = [line.split() for line in (ali_dir / "phones.ctm").read_text().splitlines()]
    for utt in tids:
        assert len(tids[utt]) == frames[utt]
        assert model.transitions.tid_pdf.numpy()[tids[utt]].tolist() == pdfs[utt].tolist()
        mine = [r for r in rows if r[0] == utt]
        assert float(mine[0][2]) == 0
        ends = [float(r[2]) + float(r[3]) for r in mine]
        assert ends[:-1] == pytest.approx([float(r[2]) for r in mine[1:]])
        assert ends[-1] == pytest.approx(frames[utt] / 100)
        words, phones = [], [r[4] for r in mine if r[4] != "SIL"]  # split into words, these match the transcript
        for phone in phones:
            words = [*words, [phone]] if phone[-2:] in ("_B", "_S") else [*words[:-1], [*words[-1], phone]]
        text = dict(line.split(maxsplit=1) for line in (toy.data / "text").read_text().splitlines())[utt].split()
        assert len(words) == len(text)
        for word, pron in zip(text, words, strict=True):
            assert tuple(lang.phones[p] for p in pron) in [s for _, s in lang.lexicon[lang.words[word]]]
    assert (ali_dir / "failed.txt").read_text() == "s1-short 23 frames, but its transcript needs at least 24\n"
    likes = dict(line.split() for line in (ali_dir / "utt2like").read_text().splitlines())
    assert sorted(likes) == sorted(tids) and all(-15 < float(x) < -5 for x in likes.values())
    assert (ali_dir / "num_pdfs").read_text() == f"{model.tree.num_pdfs}\n"


def test_em_step_never_lowers_the_likelihood_of_an_alignment(toy, mono_dir, ali_dir):
    lang, model = Lang.load(toy.lang), AcousticModel.load(mono_dir)
    shard = Shard(toy.data, lang, model.feature)
    shard.alignment = align.read_alignment(ali_dir)
    shard.sort_by_pdf(model.transitions)
    # replace the trained mixtures by bad ones with several Gaussians per pdf
    model.gmms.means += torch.randn(model.gmms.means.shape, generator=torch.Generator().manual_seed(0))
    em.grow(shard, model, 70, 0.25, 0.2, seed=1)
    assert model.gmms.num_gaussians == 70
    values = [em.em_step(shard, model, min_occupancy=0.0, min_variance=0.01) for _ in range(12)]
    assert all(b >= a - 1e-4 for a, b in itertools.pairwise(values)) and values[-1] > values[0] + 1


def test_training_reports_rising_likelihoods_and_the_one_bad_utterance(toy, tmp_path, capsys):
    mono(toy, tmp_path / "mono", conf=toy.write("mono", em__num_iters=5, em__realign=[1, 3], em__grow_until=1,
                                                    em__num_gaussians=1))
    printed, warned = capsys.readouterr()
    values = [(int(n), float(v), "realigned" in tail) for n, v, tail in
              re.findall(r"pass (\d+)/5: log-likelihood per frame (-[0-9.]+), (.*)", printed)]
    assert [v[0] for v in values] == [1, 2, 3, 4, 5]
    assert all(b[1] >= a[1] - 1e-3 for a, b in itertools.pairwise(values))  # no Gaussian is split or removed here
    assert warned.count("s1-short is not aligned: 23 frames, but its transcript needs at least 24") == 2


def test_training_ends_with_the_configured_number_of_gaussians(mono_dir):
    record = json.loads((mono_dir / "train.json").read_text())
    model = AcousticModel.load(mono_dir)
    assert (record["system"], record["seed"], record["gaussians"]) == ("mono", 1, model.gmms.num_gaussians)
    assert record["params"] == model.gmms.num_gaussians * (2 * DIM + 1)
    assert record["pdfs"] == model.tree.num_pdfs == 5 * 3 + 2 * 5
    assert 25 <= model.gmms.num_gaussians <= 30


def test_triphones_find_the_alignment_and_the_tree_the_context_of_e(toy, tri_dir, ali_dir, tmp_path):
    assert agreement(toy, aligned(toy, tri_dir, tmp_path / "ali")) >= 0.97
    lang, tree = Lang.load(toy.lang), AcousticModel.load(tri_dir).tree
    e, d = lang.phones["E_I"], lang.phones["D_E"]
    for state in range(3):
        assert tree.pdf((lang.phones["R_B"], e, d), state) != tree.pdf((lang.phones["D_B"], e, d), state)
    assert not any(tree.depends_on_context(p) for p in lang.silence)


@pytest.mark.parametrize("step", ["mono", "ali", "tri"])
def test_two_processes_give_the_same_result(toy, mono_dir, ali_dir, tri_dir, tmp_path, step):
    if step == "ali":
        aligned(toy, mono_dir, tmp_path / "ali", "--nj", "2")
        for name in ("ali.ark", "pdf.ark", "phones.ctm", "failed.txt", "tree.json", "transitions.safetensors"):
            assert (tmp_path / "ali" / name).read_bytes() == (ali_dir / name).read_bytes()
        return
    one = mono_dir if step == "mono" else tri_dir
    two = mono(toy, tmp_path / "out", "--nj", "2") if step == "mono" else tri(toy, ali_dir, tmp_path / "out",
                                                                               "--nj", "2")
    assert (two / "tree.json").read_bytes() == (one / "tree.json").read_bytes()
    a, b = AcousticModel.load(one), AcousticModel.load(two)
    assert torch.equal(a.gmms.offsets, b.gmms.offsets)
    for name in ("weights", "means", "variances"):
        torch.testing.assert_close(getattr(a.gmms, name), getattr(b.gmms, name), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(a.transitions.log_prob, b.transitions.log_prob, rtol=1e-3, atol=1e-3)


def test_there_may_be_more_processes_than_utterances(toy, ali_dir, tmp_path):
    small = tmp_path / "data"
    shutil.copytree(toy.data, small)
    utt = min(toy.truth)
    for name in ("wav.scp", "text", "utt2spk", "feats.scp"):
        lines = (small / name).read_text().splitlines(keepends=True)
        (small / name).write_text("".join(line for line in lines if line.startswith(utt)))
    (small / "spk2utt").unlink()
    tri(toy, ali_dir, tmp_path / "tri1", "--nj", "2", data=small)
    # one Gaussian per root, since there are too few data to split
    assert AcousticModel.load(tmp_path / "tri1").gmms.num_gaussians == 2 * 5 + 5


def test_finished_steps_are_not_repeated(toy, mono_dir, ali_dir, tri_dir, capsys):
    def files():
        return [(p, p.stat().st_mtime_ns) for d in (mono_dir, ali_dir, tri_dir) for p in sorted(d.iterdir())]
    before = files()
    mono(toy, mono_dir)
    aligned(toy, mono_dir, ali_dir)
    tri(toy, ali_dir, tri_dir)
    assert capsys.readouterr().out.count("is done, inputs and configuration unchanged") == 3
    assert files() == before


def test_a_killed_training_keeps_the_previous_model(toy, mono_dir, tmp_path, monkeypatch):
    """The previous model stays, but the step no longer counts as done."""
    out = tmp_path / "mono"
    shutil.copytree(mono_dir, out)
    model = (out / "final.safetensors").read_bytes()

    def die(*args):
        raise KeyboardInterrupt
    monkeypatch.setattr(em, "train", die)
    with pytest.raises(SystemExit) as e:
        mono(toy, out, "--seed", "2")
    assert e.value.code == 130
    assert (out / "final.safetensors").read_bytes() == model and not (out / ".done.train.json").exists()
    assert not list(out.glob(".*tmp"))


def test_equal_alignment_leaves_out_silences_if_there_are_too_few_frames(toy, mono_dir):
    lang, model = Lang.load(toy.lang), AcousticModel.load(mono_dir)
    words = [lang.words["DARE"]]
    tids = train_mono.equal_alignment(words, 44, lang, model)
    parts = align.segments(tids, model.transitions)
    assert [s.phone for s in parts] == [lang.optional_silence, *lang.lexicon[words[0]][0][1], lang.optional_silence]
    assert [s.length for s in parts] == [10, 6, 6, 6, 6, 10]
    assert len(align.segments(train_mono.equal_alignment(words, 21, lang, model), model.transitions)) == 4
    assert train_mono.equal_alignment(words, 11, lang, model) is None
    silence = align.segments(train_mono.equal_alignment([], 15, lang, model), model.transitions)
    assert {s.phone for s in silence} == {lang.optional_silence}


def test_batches_respect_the_memory_limit_and_do_not_change_the_result(toy, mono_dir, monkeypatch):
    lang, model = Lang.load(toy.lang), AcousticModel.load(mono_dir)
    cfg = config.load(toy.conf / "align.yaml", AlignConfig)
    shard = Shard(toy.data, lang, model.feature)
    shard.compile_graphs(model)
    shard.align(model, cfg)
    whole, scores = shard.alignment, shard.score
    monkeypatch.setattr("lstmp.gmm.shard._BATCH_CELLS", 20000)
    batches = shard.batches(shard.utts)
    assert len(batches) >= 5 and [u for b in batches for u in b] == shard.utts
    assert all(len(shard.feats[b[0]]) * sum(len(shard.graphs[u].pdf) for u in b) <= 20000 or len(b) == 1
               for b in batches)
    shard.align(model, cfg)
    assert all(np.array_equal(whole[u], shard.alignment[u]) for u in whole) and shard.score == scores


@pytest.mark.parametrize("name", ["ali.scp", "pdf.scp", "frame_shift", "utt2like", "topo"])
def test_a_damaged_file_of_an_alignment_is_made_again(toy, mono_dir, tmp_path, name):
    out = aligned(toy, mono_dir, tmp_path / "ali")
    content = (out / name).read_bytes()
    (out / name).write_bytes(content[:len(content) // 2])
    aligned(toy, mono_dir, out)
    assert (out / name).read_bytes() == content
