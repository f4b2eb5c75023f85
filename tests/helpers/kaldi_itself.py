"""Compares our trees and transition models with Kaldi's own code (``pip install kaldi_hmm_gmm``).

Run by tests/kaldi/test_files.py as a separate process, because that package and kaldifst, each with its own OpenFst,
deadlock in one process.
"""

import re
import struct
import sys
import tempfile
from pathlib import Path

import kaldi_hmm_gmm as khg
import numpy as np

from helpers import kaldi_bytes as kb
from helpers.random_hmms import random_lang, random_transitions, random_tree
from lstmp.kaldi.tree import read_tree, write_tree


def to_binary(text: str) -> bytes:
    """Convert the text form of a tree to the binary form, which is what this package reads."""
    out, tokens, size, previous = b"", re.findall(r"\S+", text), False, ""
    while tokens:
        token = tokens.pop(0)
        if token == "[":
            end = tokens.index("]")
            out, tokens = out + kb.ints([int(t) for t in tokens[:end]]), tokens[end + 1:]
        elif re.fullmatch(r"-?\d+", token):
            out += kb.u4(int(token)) if size else kb.i4(int(token))
            size = previous == "TE" and not size
        else:
            out += kb.word(token)
        previous = token if not re.fullmatch(r"-?\d+", token) else previous
    return out


def compare(folder: Path, seed: int):
    """Check that pdfs of all windows and transition-ids are the same, and that files written by Kaldi are read."""
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    tree = random_tree(lang, rng, depth=3)
    transitions = random_transitions(lang, tree, rng)
    write_tree(folder / "tree", tree)
    state = to_binary((folder / "tree").read_text())
    theirs = khg.ContextDependency.__new__(khg.ContextDependency)
    theirs.__setstate__((list(struct.unpack(f"{len(state)}b", state)),))
    assert (theirs.context_width, theirs.central_position) == (3, 1)
    phones = [0, *lang.silence, *lang.nonsilence]
    for phone, c in tree.roots:
        for left in phones:
            for right in phones:
                assert theirs.compute([left, phone, right], c) == (True, tree.pdf((left, phone, right), c))
    topology = khg.HmmTopology()
    topology.read(transitions.topology.text())
    model = khg.TransitionModel(theirs, topology)
    assert model.num_transition_ids == transitions.num_tids
    assert list(model.transition_id_to_pdf_array())[1:] == transitions.tid_pdf.tolist()[1:]
    ids = range(1, transitions.num_tids + 1)
    assert [model.transition_id_to_phone(t) for t in ids] == transitions.tid_phone.tolist()[1:]
    assert [model.is_self_loop(t) for t in ids] == transitions.is_self_loop.tolist()[1:]
    assert [model.is_final(t) for t in ids] == transitions.is_final.tolist()[1:]
    for binary in (True, False):
        theirs.write(binary, str(folder / "theirs"))
        again, num_pdfs = read_tree(folder / "theirs", {p: len(e) for p, e in lang.topology.entries.items()})
        assert num_pdfs == theirs.num_pdfs
        for phone, c in tree.roots:
            for left in phones:
                assert all(again.pdf((left, phone, r), c) == tree.pdf((left, phone, r), c) for r in phones)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for n in range(int(sys.argv[1])):
            compare(Path(name), n)
