"""Extreme cases of training: very short and very long utterances, phones that never occur, too many leaves."""

import numpy as np
import pytest
import torch
from helpers.known_gaussians import DIM, LEXICON, aligned, make, mono, tri, write_feats

from lstmp.corpus.datadir import Utterance, read_data_dir, write_data_dir
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.features.ark import read_mat, read_scp
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.training_graph import GraphCompiler

SHORT, LONG = "s0-x-short", "s1-x-long"  # 0.1 s and 35 s


@pytest.fixture(scope="module")
def extreme(tmp_path_factory):
    """The toy corpus with an utterance of 10 frames, cut from another, and one of 3,500 frames, joined from others."""
    toy = make(tmp_path_factory.mktemp("extreme"), utts=60, seed=4)
    utts = dict(read_data_dir(toy.data).utts)
    del utts["s1-short"]
    feats = {utt: read_mat(rx) for utt, rx in read_scp(toy.data / "feats.scp").items() if utt in utts}
    source = min(u for u in utts if utts[u].words == ("A",))
    start = toy.truth[source].index(next(x for x in toy.truth[source] if x))
    words, frames = [], []
    for utt in sorted(utts) * 9:
        if sum(map(len, frames)) + len(feats[utt]) > 3500:
            break
        words += utts[utt].words
        frames.append(feats[utt])
    rest = 3500 - sum(map(len, frames))
    frames.append(np.random.default_rng(0).normal(-4, 1, (rest, DIM)).astype(np.float32))  # silence
    feats |= {SHORT: feats[source][start - 1:start + 9], LONG: np.concatenate(frames)}
    utts |= {SHORT: Utterance(SHORT, "s0", "none.wav", ("A",)), LONG: Utterance(LONG, "s1", "none.wav", tuple(words))}
    write_data_dir(toy.data, [utts[u] for u in sorted(utts)])
    write_feats(toy.data, feats)
    return toy


@pytest.fixture(scope="module")
def systems(extreme, tmp_path_factory):
    """mono, tri1, tri2b and tri3b with their alignments."""
    exp, last = tmp_path_factory.mktemp("exp"), "mono"
    aligned(extreme, mono(extreme, exp / "mono"), exp / "mono_ali")
    for name in ("tri1", "tri2b", "tri3b"):
        tri(extreme, exp / f"{last}_ali", exp / name, "--model", str(exp / last), conf=extreme.conf / f"{name}.yaml")
        aligned(extreme, exp / name, exp / f"{name}_ali")
        last = name
    return exp


@pytest.mark.parametrize("name", ["mono", "tri1", "tri2b", "tri3b"])
def test_utterances_of_a_tenth_of_a_second_and_of_35_seconds_are_aligned(extreme, systems, name):
    ali, model = read_alignment(systems / f"{name}_ali"), AcousticModel.load(systems / name)
    assert (systems / f"{name}_ali" / "failed.txt").read_text() == ""
    assert len(ali[SHORT]) == 10 and len(ali[LONG]) == 3500
    lang = Lang.load(extreme.lang)
    phones = [s.phone for s in segments(ali[LONG], model.transitions) if s.phone not in lang.silence]
    words = read_data_dir(extreme.data).utts[LONG].words
    assert len(phones) == sum(p not in lang.silence for w in words for p in lang.lexicon[lang.words[w]][0][1])
    likes = dict(x.split() for x in (systems / f"{name}_ali" / "utt2like").read_text().splitlines())
    assert likes.keys() == ali.keys() and all(np.isfinite(float(x)) for x in likes.values())


def test_phones_without_data_have_a_valid_model(extreme, tmp_path):
    """All parameters are finite, and a transcript with such phones has a graph with finite likelihoods."""
    (tmp_path / "lexicon.txt").write_text(LEXICON + "ZOO 1.0 Z U\n")
    prepare_dict(tmp_path / "lexicon.txt", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang", sil_prob=0.5)
    lang, last = Lang.load(tmp_path / "lang"), "mono"
    mono(extreme, tmp_path / "mono", lang=tmp_path / "lang")
    for name in ("tri1", "tri2b", "tri3b"):
        aligned(extreme, tmp_path / last, tmp_path / f"{last}_ali", lang=tmp_path / "lang")
        tri(extreme, tmp_path / f"{last}_ali", tmp_path / name, "--model", str(tmp_path / last),
            lang=tmp_path / "lang", conf=extreme.conf / f"{name}.yaml")
        last = name
    for name in ("mono", "tri1", "tri2b", "tri3b"):
        model = AcousticModel.load(tmp_path / name)
        assert all(torch.isfinite(x).all() for x in (model.gmms.weights, model.gmms.means, model.gmms.variances,
                                                     model.transitions.log_prob))
        assert (model.gmms.variances > 0).all()
        graph = GraphCompiler(lang, model.tree, model.transitions).compile([lang.words["ZOO"], lang.words["RED"]])
        assert graph.pdf.max() < model.gmms.num_pdfs
        assert torch.isfinite(model.gmms.loglikes(torch.zeros(3, model.gmms.dim), torch.from_numpy(
            graph.distinct_pdfs))).all()


def test_more_leaves_and_gaussians_than_the_data_allow_are_not_made(extreme, systems, tmp_path):
    conf = extreme.write("tri1", tree__max_leaves=100_000, tree__min_gain=0.0, tree__merge=False,
                         em__num_gaussians=100_000)
    tri(extreme, systems / "mono_ali", tmp_path / "tri1", conf=conf)
    model = AcousticModel.load(tmp_path / "tri1")
    frames = sum(map(len, read_alignment(systems / "mono_ali").values()))
    assert model.gmms.num_pdfs < frames / 3 and model.gmms.num_gaussians < frames / 3
    assert torch.isfinite(model.gmms.means).all() and (model.gmms.variances > 0).all()
    again = read_alignment(aligned(extreme, tmp_path / "tri1", tmp_path / "ali"))
    assert len(again[LONG]) == 3500
