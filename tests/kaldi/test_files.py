"""Kaldi's tree and final.mdl: files written by other code are read, and our own files are read back."""

import importlib.util
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers import kaldi_bytes as kb
from helpers.random_hmms import random_lang, random_transitions, random_tree
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.gmm.diag import DiagGmms
from lstmp.kaldi.import_alignment import read_model, renumber
from lstmp.kaldi.model import read_transition_model, write_model
from lstmp.kaldi.stream import KaldiReader
from lstmp.kaldi.tree import read_tree, write_tree

STATES = {1: 1, 2: 2, 3: 2}


def put(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("content", [kb.MONO_TREE, kb.MONO_TREE_TEXT])
def test_a_tree_written_by_kaldis_code_is_read(tmp_path, content):
    tree, num_pdfs = read_tree(put(tmp_path / "tree", content), STATES)
    assert (tree.context_width, tree.central_position, num_pdfs, tree.num_pdfs) == (1, 0, 5, 5)
    assert {key: tree.pdf((key[0],), key[1]) for key in tree.roots} == {
        (1, 0): 0, (2, 0): 1, (2, 1): 2, (3, 0): 3, (3, 1): 4}


TRI_TREE = kb.tree(3, 1, kb.question(
    1, [1], kb.leaf(0), kb.question(0, [0, 2], kb.table(-1, kb.leaf(1), kb.leaf(2)), kb.table(
        2, kb.NULL, kb.leaf(3), kb.question(-1, [0], kb.leaf(4), kb.leaf(5)), kb.leaf(6)))))
TRI_TREE_TEXT = ("ContextDependency 3 1 ToLength TE 1 2 ( NULL CE 3 ) ToPdf SE 1 [ 1 ]\n{ CE 0 SE 0 [ 0 2 ]\n"
                 "{ TE -1 2 ( CE 1 CE 2 ) TE 2 4 ( NULL CE 3 SE -1 [ 0 ]\n"
                 "{ CE 4 CE 5 } CE 6 ) } } EndContextDependency \n")


@pytest.mark.parametrize("content", [TRI_TREE, TRI_TREE_TEXT])
def test_questions_and_tables_may_be_nested_in_any_order(tmp_path, content):
    tree, num_pdfs = read_tree(put(tmp_path / "tree", content), STATES)
    assert (num_pdfs, tree.num_pdfs) == (7, 7)
    for (left, right), c in itertools.product(itertools.product((0, 1, 2, 3), (1, 2, 3)), (0, 1)):
        for phone in (2, 3):
            expected = 1 + c if left in (0, 2) else {1: 3, 2: 4 + c, 3: 6}[right]
            assert tree.pdf((left, phone, right), c) == expected
        assert tree.pdf((left, 1, right), 0) == 0
    assert tree.roots[2, 0] is tree.roots[3, 1] and not tree.depends_on_context(1)


@pytest.mark.parametrize("content", [
    kb.MONO_MODEL, kb.MONO_MODEL_TEXT, kb.MONO_MODEL + kb.word("<Nnet3>") + b"\xff" * 9,
    kb.MONO_MODEL + kb.word("<DIMENSION>") + kb.i4(39) + kb.word("<NUMPDFS>") + kb.i4(5) + kb.word("<DiagGMM>"),
    kb.model([1, 2, 3], [-1, 0, 1, 1], [kb.ONE_STATE, kb.TWO_STATES], kb.TRIPLES, kb.MONO_LOG_PROBS,
             numbers=kb.doubles),
    kb.model([1, 2, 3], [-1, 0, 1, 1], [[(c, c, a) for c, a in e] for e in (kb.ONE_STATE, kb.TWO_STATES)],
             [(*t, t[2]) for t in kb.TRIPLES], kb.MONO_LOG_PROBS)])
def test_a_hand_written_transition_model_gets_kaldis_transition_ids(tmp_path, content):
    model = read_transition_model(put(tmp_path / "final.mdl", content))
    assert model.tuples.tolist() == [list(t) for t in kb.TRIPLES]
    assert model.tid_pdf.tolist()[1:] == kb.MONO_TID_PDF
    assert model.log_prob.tolist() == pytest.approx(kb.MONO_LOG_PROBS, abs=2e-6)
    assert model.topology.entries == {1: (((0, 0.5), (1, 0.5)),), 2: (((0, 0.75), (1, 0.25)), ((1, 0.7), (2, 0.3))),
                                      3: (((0, 0.75), (1, 0.25)), ((1, 0.7), (2, 0.3)))}


def changed(**changes):
    arguments = {"phones": [1, 2, 3], "entry_of": [-1, 0, 1, 1], "entries": [kb.ONE_STATE, kb.TWO_STATES],
                 "tuples": kb.TRIPLES, "log_probs": kb.MONO_LOG_PROBS, **changes}
    return kb.model(**arguments)


CHAIN = [[(0, 1, [(0, 0.5), (1, 0.5)]), (-1, -1, [])]]
BAD_MODELS = {
    "chain": (changed(phones=[1], entry_of=[-1, 0], entries=CHAIN, tuples=[(1, 0, 0, 1)]), "loop, as in chain models"),
    "chain text": (kb.MONO_MODEL_TEXT.replace("<PdfClass> 0", "<ForwardPdfClass> 0 <SelfLoopPdfClass> 1"), "self-loop"),
    "own loop pdf": (changed(phones=[1], entry_of=[-1, 0], entries=[[(c, c, a) for c, a in kb.ONE_STATE]],
                             tuples=[(1, 0, 0, 7)], log_probs=[0, -1, -1]), "separate pdf for its self-loop"),
    "shared class": (changed(entries=[kb.ONE_STATE, [(0, a) if c == 1 else (c, a) for c, a in kb.TWO_STATES]]),
                     "state 1 of phone 2 has pdf-class 0"),
    "no pdf": (kb.MONO_MODEL_TEXT.replace(" <PdfClass> 1", ""), "state 1 of phone 2 has no pdf-class"),
    "no final": (changed(entries=[kb.ONE_STATE[:1], kb.TWO_STATES]), "phone 1 does not end in a final state"),
    "nowhere": (changed(entries=[[(0, [(0, 0.5), (7, 0.5)]), (-1, [])], kb.TWO_STATES]), "impossible transitions"),
    "unsorted": (changed(tuples=kb.TRIPLES[::-1]), "not sorted"),
    "other phone": (changed(tuples=[*kb.TRIPLES[:4], (9, 0, 4)]), "no phone 9 with state 0"),
    "other state": (changed(tuples=[*kb.TRIPLES[:4], (3, 2, 4)]), "no phone 3 with state 2"),
    "log probs": (changed(log_probs=kb.MONO_LOG_PROBS[:-1]), "9 transition probabilities for 10"),
    "nan": (changed(log_probs=[*kb.MONO_LOG_PROBS[:-1], float("nan")]), "not finite"),
    "mixtures": (kb.MONO_MODEL + kb.word("<DIMENSION>") + kb.i4(39) + kb.word("<NUMPDFS>") + kb.i4(4),
                 "4 mixtures for transitions over 5 pdfs"),
    "a tree": (kb.MONO_TREE, "expected <TransitionModel> at byte 2, found 'ContextDependency'"),
    "a nnet3 without transitions": (b"\0B<Nnet3> ", "expected <TransitionModel>"),
    "nothing": (b"", "found the end of the file"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_a_bad_model_is_an_error(tmp_path, name):
    content, message = BAD_MODELS[name]
    with pytest.raises(UserError, match=f"final.mdl: .*{message}.*; "):
        read_transition_model(put(tmp_path / "final.mdl", content))


def test_tree_and_model_must_belong_together(tmp_path):
    put(tmp_path / "final.mdl", kb.MONO_MODEL)
    for content, message in [
            (kb.MONO_TREE_TEXT.replace("CE 4 )", "CE 5 )"), "final.mdl: 5 pdfs, but the tree in the same folder has 6"),
            (kb.MONO_TREE_TEXT.replace("CE 1 CE 2", "CE 2 CE 1"), "only one of them has phone 2, state 0, pdf 1"),
            (kb.MONO_TREE_TEXT.replace("TE -1 2 ( CE 1 CE 2 )", "TE -1 1 ( CE 1 )"), "no pdf for phone 2, pdf-class 1"),
            (kb.MONO_TREE_TEXT.replace("TE -1 1", "TE 4 1"), "position 4 of a window of 1"),
            ("ContextDependency 1 0 ToPdf " + "SE 0 [ ] { " * 2000, "nested questions")]:
        put(tmp_path / "tree", content)
        with pytest.raises(UserError, match=message):
            read_model(tmp_path)


@pytest.mark.parametrize("n", [-1, 2**31 - 1, 2**20])
@pytest.mark.parametrize("make", [
    lambda n: kb.tree(1, 0, kb.word("TE") + kb.i4(0) + kb.i4(n) + kb.word("(") + kb.leaf(0) * 3),
    lambda n: b"\0B" + kb.word("<TransitionModel>") + kb.word("<Topology>") + kb.ints([1]) + kb.ints([-1, 0]) + kb.i4(1)
    + kb.i4(n) + kb.i4(0) * 9], ids=["tree", "model"])
def test_a_count_larger_than_the_rest_of_the_file_is_an_error(tmp_path, n, make):
    (tmp_path / "x").write_bytes(make(n))
    read = (lambda p: read_tree(p, STATES)) if make(0)[2:3] == b"C" else read_transition_model
    with pytest.raises(UserError, match=rf"x: impossible number of entries {n} before byte \d+"):
        read(tmp_path / "x")


def test_implausibly_large_tables_and_hmms_are_errors(tmp_path):
    table = kb.question(1, [1], kb.leaf(0), kb.table(0, *[kb.leaf(1)] * 400))
    with pytest.raises(UserError, match="a table of 400 entries below a question"):
        read_tree(put(tmp_path / "tree", kb.tree(3, 1, table)), STATES)
    states = [(s, [(s, 0.5), (s + 1, 0.5)]) for s in range(150)]
    with pytest.raises(UserError, match="phone 1 has 151 states"):
        read_transition_model(put(tmp_path / "x", kb.model([1], [-1, 0], [[*states, (-1, [])]], [(1, 0, 0)], [0.0])))


def test_a_count_may_equal_the_number_of_bytes_left(tmp_path):
    reader = KaldiReader(put(tmp_path / "x", b"\0B" + kb.i4(3) + b"abc"))
    assert reader.count() == 3
    with pytest.raises(UserError, match="impossible number of entries 4"):
        KaldiReader(put(tmp_path / "x", b"\0B" + kb.i4(4) + b"abc")).count()


@pytest.mark.parametrize("content,read", [(kb.MONO_TREE, lambda p: read_tree(p, STATES)),
                                          (kb.MONO_TREE_TEXT, lambda p: read_tree(p, STATES)),
                                          (TRI_TREE, lambda p: read_tree(p, STATES)),
                                          (kb.MONO_MODEL, read_transition_model),
                                          (kb.MONO_MODEL_TEXT, read_transition_model)])
def test_a_truncated_or_damaged_file_is_an_error(tmp_path, content, read):
    content = content.strip() if isinstance(content, bytes) else content.strip().encode()
    path = tmp_path / "file"
    for end in range(len(content)):
        with pytest.raises(UserError, match="file: "):
            read(put(path, content[:end]))
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[int(rng.integers(2, len(content)))] = int(rng.integers(256))
        try:
            read(put(path, bytes(damaged)))
        except UserError:
            pass


def windows(lang, phone, width):
    phones = [0, *lang.silence, *lang.nonsilence]
    return [w for w in itertools.product(phones, repeat=width) if w[width // 2] == phone]


@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
@settings(max_examples=20, deadline=None)
def test_written_trees_and_models_are_read_back_and_can_be_renumbered(tmp_path_factory, seed, width):
    folder = tmp_path_factory.mktemp("kaldi")
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    tree = random_tree(lang, rng, width, depth=3)
    transitions = random_transitions(lang, tree, rng)
    write_tree(folder / "tree", tree)
    write_model(folder / "final.mdl", transitions, None)
    assume(transitions.num_pdfs == tree.num_pdfs)  # fewer: a leaf that cannot be reached; Kaldi's trees have none
    again, model = read_model(folder)
    assert (again.context_width, again.central_position, again.num_pdfs) == (width, width // 2, tree.num_pdfs)
    assert model.tuples.equal(transitions.tuples) and model.log_prob.equal(transitions.log_prob)
    assert model.topology == transitions.topology
    for phone, c in tree.roots:
        assert all(again.pdf(w, c) == tree.pdf(w, c) for w in windows(lang, phone, width))
    new = dict(zip(sorted(lang.topology.entries), rng.permutation(sorted(lang.topology.entries)) + 10, strict=True))
    other, moved, new_tid = renumber(again, model, {p: int(q) for p, q in new.items()})
    for phone, c in tree.roots:
        for w in windows(lang, phone, width):
            assert other.pdf(tuple(int(new.get(p, 0)) for p in w), c) == tree.pdf(w, c)
    assert sorted(new_tid) == list(range(model.num_tids + 1)) and moved.tuples.tolist() == sorted(moved.tuples.tolist())
    for name in ("tid_pdf", "tid_state", "tid_dest", "log_prob", "is_final", "is_self_loop"):
        assert getattr(moved, name)[torch.from_numpy(new_tid).long()].equal(getattr(model, name)), name
    assert [new[p] for p in model.tid_phone.tolist()[1:]] == moved.tid_phone[new_tid[1:].astype(int)].tolist()


def test_written_mixtures_have_kaldis_parameters(tmp_path):
    """A DiagGmm's log-likelihood at x is log Σ exp(gconst + means_invvars · x − ½ inv_vars · x²)."""
    rng = np.random.default_rng(0)
    lang = random_lang(rng)
    tree = random_tree(lang, rng)
    transitions = random_transitions(lang, tree, rng)
    sizes = torch.from_numpy(rng.integers(1, 4, transitions.num_pdfs))
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    weights = torch.cat([torch.from_numpy(rng.dirichlet(np.ones(n))) for n in sizes.tolist()]).float()
    gmms = DiagGmms(offsets, weights, torch.randn(len(weights), 3), torch.rand(len(weights), 3) + 0.5)
    write_model(tmp_path / "final.mdl", transitions, gmms)
    assert read_transition_model(tmp_path / "final.mdl").tuples.equal(transitions.tuples)
    reader = KaldiReader(tmp_path / "final.mdl")
    reader.position = reader.data.index(b"<DIMENSION>")
    assert [reader.token(), reader.integer(), reader.token(), reader.integer()] == [
        "<DIMENSION>", 3, "<NUMPDFS>", transitions.num_pdfs]
    x = torch.randn(1, 3)
    expected = gmms.loglikes(x)[0]
    for pdf in range(transitions.num_pdfs):
        reader.token("<DiagGMM>")
        constants, weights, coefficients, inverse = [(reader.token(name), reader.reals())[1] for name in (
            "<GCONSTS>", "<WEIGHTS>", "<MEANS_INVVARS>", "<INV_VARS>")]
        reader.token("</DiagGMM>")
        assert sum(weights) == pytest.approx(1, abs=1e-5)
        linear = coefficients.reshape(-1, 3) @ x[0].numpy()
        joint = constants + linear - 0.5 * inverse.reshape(-1, 3) @ x[0].numpy() ** 2
        assert np.logaddexp.reduce(joint) == pytest.approx(float(expected[pdf]), abs=1e-4)
    assert reader.peek() == ""


@pytest.mark.skipif(importlib.util.find_spec("kaldi_hmm_gmm") is None, reason="needs pip install kaldi_hmm_gmm")
def test_kaldis_own_code_gives_the_same_pdfs_and_transition_ids():
    script = ROOT / "tests/helpers/kaldi_itself.py"
    done = subprocess.run([sys.executable, script, "5"], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(
                              [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])})
    assert done.returncode == 0, done.stderr
