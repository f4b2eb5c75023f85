"""Training graphs agree with ``L.fst``: they have the same paths for a transcript, with the same weights."""

import dataclasses
import itertools

import kaldifst
import numpy as np
import pytest
from helpers.random_hmms import random_transitions, with_silence_model

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.tree import monophone_tree

LEXICON = "RED 1.0 R E D\nREAD 0.7 R E D\nREAD 0.3 R I D\nA 1.0 A\nA 0.4 E I\n"
PIECES = "▁RE 0.7 R E\n▁RE 0.3 R I\nD▁ 1.0 D\n▁A▁ 1.0 A\n▁A▁ 0.4 E I\n"


@pytest.fixture(params=["single", "silence model", "pieces", "pieces, silence model"])
def lang(tmp_path, request):
    """HMMs without skips or backward arcs, so that a phone has a single path apart from self-loops."""
    (tmp_path / "lexicon").write_text(PIECES if "pieces" in request.param else LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    if "silence model" in request.param:
        dictionary, rng = Dictionary.load(tmp_path / "dict"), np.random.default_rng(0)

        def terms():
            return SilenceTerms(*map(float, (rng.uniform(0.05, 0.95), *rng.uniform(0.2, 3.0, 2))))
        of = {(word, phones): terms() for word, _, phones in dictionary.entries}
        dataclasses.replace(dictionary, silence_model=SilenceModel(*terms(), 0.3, of)).write(tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang", sil_prob=0.3, nonsilence_states=2, silence_states=1)
    return Lang.load(tmp_path / "lang")


def paths_of_l(lang, words):
    """Sorted (phones, cost) of each path of L composed with the words."""
    fst = kaldifst.compose(read_fst(lang.dir / "L.fst"), kaldifst.make_linear_acceptor(list(words)))
    a, found = FstArrays.of(fst), []

    def walk(state, phones, cost):
        if np.isfinite(a.final[state]):
            found.append((phones, round(cost + float(a.final[state]), 4)))
        for i in np.flatnonzero(a.src == state):
            walk(a.dst[i], phones + ((int(a.ilabel[i]),) if a.ilabel[i] else ()), cost + float(a.weight[i]))

    walk(a.start, (), 0.0)
    return sorted(found)


def paths_of_graph(graph, transitions):
    """Sorted (phones, cost) of each path of a training graph; a phone is counted at the end of its HMM."""
    found = []

    def leave(phones, tid):
        return (*phones, int(transitions.tid_phone[tid])) if transitions.is_final[tid] else phones

    def walk(state, phones, cost):
        for (last, tid), extra in zip(graph.finals, graph.final_extra, strict=True):
            if last == state:
                found.append((leave(phones, tid), round(cost - float(extra), 4)))
        for (src, dst, tid), extra in zip(graph.arcs, graph.arc_extra, strict=True):
            if src == state:
                walk(dst, leave(phones, tid), cost - float(extra))

    for start, extra in zip(graph.starts, graph.start_extra, strict=True):
        walk(start, (), -float(extra))
    return sorted(found)


def test_a_training_graph_has_the_paths_of_l(lang):
    tree = monophone_tree(lang.sets, lang.topology)
    transitions = random_transitions(lang, tree, np.random.default_rng(1))
    compiler = GraphCompiler(lang, tree, transitions)
    assert (lang.silence_model is None) == (lang.sil_prob == 0.3 and not (lang.dir / "lexiconp_silprob.txt").exists())
    pieces = "▁RE" in lang.words
    vocabulary = [lang.words[w] for w in (("▁A▁", "▁RE", "D▁", "<UNK>") if pieces else ("A", "READ", "RED", "<UNK>"))]
    for n in range(3 + pieces):
        for words in itertools.product(vocabulary, repeat=n):
            borders = [lang.borders(w) for w in words]
            if [True, *(e for _, e in borders)] != [*(b for b, _ in borders), True]:
                continue  # pieces that do not form whole words have no path in L
            expected = [p for p in paths_of_l(lang, words) if p[0]]  # a graph has no path without a phone
            found = paths_of_graph(compiler.compile(list(words)), transitions)
            assert [p for p, _ in found] == [p for p, _ in expected], words
            assert [c for _, c in found] == pytest.approx([c for _, c in expected], abs=3e-4), words


def test_silence_probabilities_change_the_weights(lang):
    """Otherwise the comparison above would not show that they are used."""
    rng = np.random.default_rng(2)
    other = with_silence_model(lang, rng)
    tree = monophone_tree(lang.sets, lang.topology)
    transitions = random_transitions(lang, tree, rng)
    words = [lang.words[w] for w in (("▁A▁", "▁RE", "D▁") if "▁RE" in lang.words else ("A", "READ"))]
    one, two = (paths_of_graph(GraphCompiler(x, tree, transitions).compile(words), transitions) for x in (lang, other))
    assert [p for p, _ in one] == [p for p, _ in two] and len(one) == 32
    assert all(abs(a - b) > 1e-3 for (_, a), (_, b) in zip(one, two, strict=True))
