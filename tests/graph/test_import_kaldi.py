"""Import of Kaldi's model, graph and lang folder by one command. They then work like our own."""

import json
import shutil

import kaldifst
import numpy as np
import pytest
import torch
from helpers.small_recognizer import small_recognizer
from safetensors.torch import load_file

from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.lang import Lang, read_symbols
from lstmp.decode.decode import check_same_model
from lstmp.errors import UserError
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.graph.graph_file import NAME
from lstmp.graph.import_kaldi import main
from lstmp.graph.make_graph import make_graph
from lstmp.kaldi.import_alignment import renumber
from lstmp.kaldi.model import write_model
from lstmp.kaldi.tree import write_tree


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """``ours``: lang, G, HMMs, graph; ``kaldi``: the same in Kaldi's formats, with one Gaussian per state."""
    root = tmp_path_factory.mktemp("made")
    (root / "ours").mkdir()
    small_recognizer(root / "ours", "model", "graph")
    ours, kaldi = root / "ours", root / "kaldi"
    model = AcousticModel.load(ours / "model")
    n = model.transitions.num_pdfs
    kaldi.mkdir()
    gmms = DiagGmms(torch.arange(n + 1), torch.ones(n), torch.randn(n, 6), torch.rand(n, 6) + 0.5)
    write_model(kaldi / "final.mdl", model.transitions, gmms)
    write_tree(kaldi / "tree", model.tree)
    shutil.copy(ours / "lang" / "phones.txt", kaldi / "phones.txt")
    shutil.copytree(ours / "lang_x", kaldi / "lang")
    for name in ("lexiconp.txt", "silprob.txt"):
        (kaldi / "lang" / name).unlink()
    graph = kaldi / "graph"
    (graph / "phones").mkdir(parents=True)
    kaldifst.StdConstFst(read_fst(ours / "graph" / "HCLG.fst")).write(str(graph / "HCLG.fst"))
    shutil.copy(ours / "graph" / "words.txt", graph / "words.txt")
    silence = Lang.load(ours / "lang").silence
    (graph / "phones" / "silence.csl").write_text(":".join(map(str, silence)) + "\n")
    return root


def run(folder, *options):
    kaldi, out = folder / "kaldi", folder / "out"
    main(["--kaldi", str(kaldi), "--out", str(out / "model"), "--graph", str(kaldi / "graph"), "--graph-out",
          str(out / "graph"), *options])


def arcs(graph):
    return load_file(graph / NAME)


@pytest.mark.parametrize("fst_type", ["const", "vector"])
def test_the_imported_graph_is_the_same_as_ours(folder, fst_type, capsys):
    if fst_type == "vector":
        shutil.copy(folder / "ours" / "graph" / "HCLG.fst", folder / "kaldi" / "graph" / "HCLG.fst")
    run(folder)
    ours, out = folder / "ours" / "graph", folder / "out" / "graph"
    assert all(x.equal(arcs(out)[name]) for name, x in arcs(ours).items())
    info = check_same_model(out, folder / "out" / "model", AcousticModel.load(folder / "ours" / "model").tree.num_pdfs)
    assert info["silence"] == Lang.load(folder / "ours" / "lang").silence
    assert (out / "words.txt").read_bytes() == (ours / "words.txt").read_bytes()
    capsys.readouterr()
    run(folder)
    assert capsys.readouterr().out.count("import is done") == 2


def test_phones_with_other_ids(folder):
    """With a lang folder with other phone ids, the graph still has the same pdfs."""
    phones = Lang.load(folder / "ours" / "lang").nonsilence
    new = {n: n for n in read_symbols(folder / "kaldi" / "phones.txt").values()} | dict(
        zip(phones, phones[::-1], strict=True))
    (folder / "kaldi" / "phones.txt").write_text("".join(
        f"{s} {new[n]}\n" for s, n in read_symbols(folder / "kaldi" / "phones.txt").items()))
    model = AcousticModel.load(folder / "ours" / "model")
    tree, transitions, tids = renumber(model.tree, model.transitions,
                                       {p: new[p] for p in model.transitions.topology.entries})
    n = transitions.num_pdfs
    write_tree(folder / "kaldi" / "tree", tree)
    write_model(folder / "kaldi" / "final.mdl", transitions,
                DiagGmms(torch.arange(n + 1), torch.ones(n), torch.randn(n, 6), torch.ones(n, 6)))
    hclg = FstArrays.read(folder / "ours" / "graph" / "HCLG.fst")
    hclg.ilabel = tids[hclg.ilabel]
    hclg.write(folder / "kaldi" / "graph" / "HCLG.fst")
    run(folder, "--lang", str(folder / "kaldi" / "lang"))
    assert all(x.equal(arcs(folder / "out" / "graph")[name]) for name, x in arcs(folder / "ours" / "graph").items())
    assert np.array_equal(FstArrays.read(folder / "out" / "graph" / "HCLG.fst").ilabel,
                          FstArrays.read(folder / "ours" / "graph" / "HCLG.fst").ilabel)


def test_kaldis_lang_folder_and_a_graph_made_from_it(folder):
    run(folder, "--lang", str(folder / "kaldi" / "lang"), "--lang-out", str(folder / "out" / "lang"))
    a, b = Lang.load(folder / "ours" / "lang_x"), Lang.load(folder / "out" / "lang")
    assert b.sil_prob == pytest.approx(a.sil_prob, rel=1e-5) and a.lexicon.keys() == b.lexicon.keys()
    assert json.loads((folder / "out" / "graph" / "graph.json").read_text())["silence"] == a.silence
    make_graph(folder / "out" / "lang", folder / "out" / "model", folder / "out" / "made")
    assert all(x.equal(arcs(folder / "out" / "made")[name]) for name, x in arcs(folder / "ours" / "graph").items())


BAD = {
    "no graph": (lambda k: (k / "graph" / "HCLG.fst").unlink(), "HCLG.fst: no such file; give the folder that Kaldi's"),
    "other model": (lambda k: damage_labels(k / "graph" / "HCLG.fst"), "HCLG.fst: it has transition-id 99999"),
    "other words": (lambda k: (k / "graph" / "words.txt").write_text("<eps> 0\n"), "words.txt: word 3 of HCLG.fst is"),
    "silence": (lambda k: (k / "graph" / "phones" / "silence.csl").write_text("1,2"), "silence.csl:1: '1,2' is not a"),
    "cut off": (lambda k: cut(k / "graph" / "HCLG.fst"), "HCLG.fst: not a valid OpenFst file"),
}


def damage_labels(path):
    hclg = FstArrays.read(path)
    hclg.ilabel[3] = 99999
    hclg.write(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-8])


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_give_one_line(folder, capsys, name):
    damage, message = BAD[name]
    damage(folder / "kaldi")
    with pytest.raises(SystemExit):
        run(folder)
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1 and message in errors[0]
    assert not (folder / "out" / "graph" / "graph.json").exists()


def test_input_and_output_folders_must_differ(folder, capsys):
    for options in (["--lang-out", "x"], ["--lang", str(folder / "out" / "model")]):
        with pytest.raises(SystemExit):
            run(folder, *options)
        assert "; give " in capsys.readouterr().err


def test_kaldis_graph_is_rejected_with_a_hint_to_import_it(folder):
    with pytest.raises(UserError, match="graph.json: no such file; if Kaldi made this graph, import it with"):
        check_same_model(folder / "kaldi" / "graph", folder / "ours" / "model", 1)
