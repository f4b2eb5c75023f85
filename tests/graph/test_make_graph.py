"""The command make_graph: the files it writes, when it is skipped, and its error messages."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from helpers.small_graphs import WIDE, scores
from helpers.small_recognizer import ARPA, small_recognizer
from safetensors.torch import load_file, save_file

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.lang import read_symbols
from lstmp.corpus.prepare_lm import prepare_lm
from lstmp.decode.search import searched
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError
from lstmp.gmm.model import AcousticModel
from lstmp.graph.graph_file import NAME, read_graph_file
from lstmp.graph.make_graph import main, make_graph
from lstmp.stage import digest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    small_recognizer(folder, "model", "graph")
    return folder


def run(folder, *options):
    main(["--lang", str(folder / "lang_x"), "--model", str(folder / "model"), "--out", str(folder / "graph"), *options])


def test_the_files_are_consistent(made):
    graph, model = made / "graph", AcousticModel.load(made / "model")
    info = json.loads((graph / "graph.json").read_text())
    hclg = FstArrays.read(graph / "HCLG.fst")
    assert info["tree"] == digest(made / "model" / "tree.json") and info["num_pdfs"] == model.tree.num_pdfs
    assert (info["states"], info["arcs"]) == (len(hclg.final), len(hclg.src))
    assert (graph / "words.txt").read_bytes() == (made / "lang" / "words.txt").read_bytes()
    assert hclg.ilabel.max() <= model.transitions.num_tids
    bundled, num_pdfs = read_graph_file(graph)
    arcs, splits, words = bundled.flat()
    assert int(arcs[:, 2].max()) <= model.tree.num_pdfs == num_pdfs and (arcs[:, 2] != 0).all()
    assert (np.ascontiguousarray(arcs[:, 3]).view(np.float32) < 0).any() and len(splits) == len(arcs) + 1 and len(words)
    assert {p.name for p in graph.iterdir()} == {"HCLG.fst", "words.txt", "graph.json", NAME, ".done.hclg.json",
                                                 ".done.k2.json", ".lock"}


def test_k2_loads_the_graph(made):
    pytest.importorskip("k2")
    from lstmp.graph.k2_graph import load_k2_graph

    fsa, (arcs, _, words) = load_k2_graph(made / "graph"), read_graph_file(made / "graph")[0].flat()
    assert np.array_equal(fsa.arcs.values(), arcs) and np.array_equal(fsa.aux_labels.values, words)
    assert torch.equal(fsa.scores, fsa.graph_scores)


def test_a_second_run_is_skipped_and_a_new_graph_has_the_same_bytes(folder, capsys):
    run(folder)
    out = capsys.readouterr().out
    assert "hclg is done" in out and "k2 is done" in out
    before = {p.name: p.read_bytes() for p in (folder / "graph").glob("[!.]*")}
    shutil.rmtree(folder / "graph")
    run(folder)
    for name, content in before.items():
        if name != "graph.json":  # has the names of folders
            assert (folder / "graph" / name).read_bytes() == content, name


def test_the_form_for_the_search_alone_is_made_again(folder, capsys):
    before = (folder / "graph" / NAME).read_bytes()
    (folder / "graph" / NAME).unlink()
    with pytest.raises(UserError, match="no such file; run steps/make_graph.sh"):
        read_graph_file(folder / "graph")
    run(folder)
    assert "determinized" not in capsys.readouterr().out and (folder / "graph" / NAME).read_bytes() == before


def test_the_graph_is_made_again_for_another_lm_or_scale(folder, capsys):
    run(folder, "--self-loop-scale", "0.2")
    assert "its configuration changed" in capsys.readouterr().out
    (folder / "lm.arpa").write_text(ARPA.replace("-0.9 RED", "-0.3 RED"))
    before = (folder / "graph" / "HCLG.fst").read_bytes()
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    run(folder, "--self-loop-scale", "0.2")
    assert (folder / "graph" / "HCLG.fst").read_bytes() != before


def truncate(path, n):
    path.write_bytes(path.read_bytes()[:n])


def other_topology(folder):
    path = folder / "model" / "topo"
    path.write_text(path.read_text().replace("<Transition> 4 0.75 <Transition> 5 0.25",
                                             "<Transition> 4 0.5 <Transition> 5 0.5"))


@pytest.mark.parametrize("damage, message", [
    (lambda f: (f / "lang_x" / "G.fst").unlink(), "G.fst: no such file; run the stage that creates it"),
    (lambda f: truncate(f / "lang_x" / "G.fst", -8), "G.fst: not a valid OpenFst file"),
    (lambda f: truncate(f / "lang_x" / "L_disambig.fst", 50), "L_disambig.fst: not a valid OpenFst file"),
    (lambda f: shutil.rmtree(f / "model"), "model: no such model folder"),
    (lambda f: truncate(f / "model" / "tree.json", 40), "tree.json: not a decision tree, or cut off"),
    (lambda f: truncate(f / "model" / "transitions.safetensors", 40), "transitions.safetensors: not a safetensors"),
    (other_topology, "topo: its phones or topology differ from those of the model"),
    (lambda f: (f / "lang_x" / "words.txt").unlink(), "words.txt: no such file"),
])
def test_bad_input_is_an_error(folder, capsys, damage, message):
    shutil.rmtree(folder / "graph")
    damage(folder)
    with pytest.raises(SystemExit) as e:
        run(folder)
    error = capsys.readouterr().err
    assert e.value.code == 1 and message in error.splitlines()[-1] and error.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in error
    assert not (folder / "graph" / "HCLG.fst").exists()


def test_a_model_of_another_lang_is_an_error(folder):
    other = AcousticModel.load(folder / "model")
    del other.transitions.topology.entries[max(other.transitions.topology.entries)]
    other.transitions.topology.write(folder / "lang_x" / "topo")
    with pytest.raises(UserError, match="differ from those of the model"):
        make_graph(folder / "lang_x", folder / "model", folder / "graph")


def test_a_negative_scale_is_an_error(folder):
    with pytest.raises(UserError, match="scales must not be negative"):
        make_graph(folder / "lang_x", folder / "model", folder / "graph", self_loop_scale=-1)


def set_to(tensors, name, index, value):
    tensors[name][index] = value


BUNDLED = [
    (lambda t: t.pop("way_words"), "not a graph for the search, or cut off"),
    (lambda t: t.update(words=t["words"][:-1].clone()), "its words do not match its arcs"),
    (lambda t: t.update(words=t["words"].long()), "its tensors are not consistent with each other"),
    (lambda t: t.update(words=t["words"] - 9999), "its words do not match its arcs"),
    (lambda t: t.update(splits=t["splits"][:-1].clone()), "its tensors are not consistent with each other"),
    (lambda t: t.update(way_splits=t["way_splits"][:-1].clone()), "its tensors are not consistent with each other"),
    (lambda t: set_to(t, "way_splits", 0, -1), "its words do not match its arcs"),
    (lambda t: set_to(t, "splits", 3, 2**30), "its words do not match its arcs"),
    (lambda t: set_to(t, "splits", 3, -2**30), "its words do not match its arcs"),
    (lambda t: t["ways"][:, 0].sub_(1), "its ways are not sorted by state"),
    (lambda t: set_to(t, "ways", (-1, 0), 0), "its ways are not sorted by state"),
    (lambda t: set_to(t, "ways", (-1, 0), 2**31 - 1), "its final arcs do not match its last state"),
    (lambda t: set_to(t, "ways", (2, 1), -1), "its ways do not match its bundles"),
    (lambda t: set_to(t, "ways", (2, 1), 2**31 - 1), "its ways do not match its bundles"),
    (lambda t: set_to(t, "ways", (2, 2), 0x7fc00000), "a score that is not a finite number"),
    (lambda t: set_to(t, "words", 0, 0), "its words do not match its arcs"),
    (lambda t: set_to(t, "splits", slice(1, 3), torch.tensor([2**31 - 1, -2])), "its words do not match its arcs"),
    (lambda t: set_to(t, "ways", (slice(1, 3), 0), torch.tensor([2**31 - 1, -2])), "its ways are not sorted by state"),
    (lambda t: set_to(t, "first", slice(1, 3), torch.tensor([2**31 - 1, -2])), "its bundles do not match its arcs"),
    (lambda t: set_to(t, "first", 0, 1), "its bundles do not match its arcs"),
    (lambda t: set_to(t, "first", 1, 0), "its bundles do not match its arcs"),
    (lambda t: set_to(t, "first", -1, 2**31 - 1), "its bundles do not match its arcs"),
    (lambda t: set_to(t, "arcs", (5, 0), -1), "it has negative state numbers, or too many states"),
    (lambda t: set_to(t, "arcs", (5, 0), 2**31 - 1), "it has negative state numbers, or too many states"),
    (lambda t: set_to(t, "arcs", (0, 1), -1), "its final arcs do not match its last state"),
    (lambda t: t["arcs"][:, 0].clamp_(max=3), "its final arcs do not match its last state"),
    (lambda t: set_to(t, "arcs", (0, 2), 0x7fc00000), "a score that is not a finite number"),
    (lambda t: t["arcs"][:, 1].add_(1), "its labels are not the"),
    (lambda t: set_to(t, "arcs", (0, 1), 10_000), "its labels are not the"),
]
FLAT = [
    (lambda t: t.pop("words"), "not a graph for the search, or cut off"),
    (lambda t: t.update(words=t["words"][:-1].clone()), "its words do not match its arcs"),
    (lambda t: t.update(word_splits=t["word_splits"][:-1].clone()), "its tensors are not consistent with each other"),
    (lambda t: set_to(t, "word_splits", 3, 2**30), "its words do not match its arcs"),
    (lambda t: t["arcs"][:, 0].sub_(1), "its arcs are not sorted by state"),
    (lambda t: set_to(t, "arcs", (-1, 0), 0), "its arcs are not sorted by state"),
    (lambda t: set_to(t, "arcs", (5, 1), 2**31 - 1), "it has negative state numbers, or too many states"),
    (lambda t: set_to(t, "arcs", (0, 2), -1), "its final arcs do not match its last state"),
    (lambda t: set_to(t, "arcs", (0, 3), 0x7fc00000), "a score that is not a finite number"),
    (lambda t: set_to(t, "arcs", (0, 2), 10_000), "its labels are not the"),
]


@pytest.mark.parametrize("flat, change, message", [(False, *x) for x in BUNDLED] + [(True, *x) for x in FLAT])
def test_a_damaged_graph_file_is_an_error(folder, flat, change, message):
    tensors = flattened(folder) if flat else load_file(folder / "graph" / NAME)
    change(tensors)
    save_file(tensors, folder / "graph" / NAME, {"num_pdfs": str(num_pdfs(folder))})
    with pytest.raises(UserError, match=message):
        read_graph_file(folder / "graph")


def num_pdfs(folder):
    return json.loads((folder / "graph" / "graph.json").read_text())["num_pdfs"]


def flattened(folder):
    """The tensors of the graph's file as earlier versions wrote them."""
    arrays = read_graph_file(folder / "graph")[0].flat()
    return dict(zip(("arcs", "word_splits", "words"), map(torch.from_numpy, arrays), strict=True))


def test_graph_files_of_earlier_versions_are_read(folder):
    now, old = read_graph_file(folder / "graph")[0], flattened(folder)
    save_file(old, folder / "graph" / NAME, {"num_pdfs": str(num_pdfs(folder))})
    again, pdfs = read_graph_file(folder / "graph")
    assert pdfs == num_pdfs(folder) and len(again.arcs) == again.num_arcs == now.num_arcs
    assert all(np.array_equal(a, b) for a, b in zip(again.flat(), now.flat(), strict=True))
    one, two = SearchGraph.load(folder / "graph"), SearchGraph(now, pdfs, 0.0)
    loglikes = scores(3, 40, pdfs)
    paths = [searched(g, loglikes.numpy(), WIDE, -1.0).path(True, 40) for g in (one, two)]
    assert paths[0].score == paths[1].score and np.array_equal(paths[0].arcs, paths[1].arcs)
    assert one.words_on(paths[0].arcs) == two.words_on(paths[1].arcs) != []


def test_a_truncated_graph_file_is_an_error(folder):
    truncate(folder / "graph" / NAME, 500)
    with pytest.raises(UserError, match="not a graph for the search, or cut off"):
        read_graph_file(folder / "graph")


def g_of(arcs, states):
    """A language model of arcs (from, word, to), all of cost 1, that ends in its last state."""
    src, label, dst = (np.array(column, np.int32) for column in zip(*sorted(arcs), strict=True))
    final = np.full(states, np.inf, np.float32)
    final[-1] = 0
    return FstArrays(0, final, src, label, label, np.ones(len(src), np.float32), dst)


def exponential(a, b, n):
    """``(a | b)* a`` and n words after it: which was the n-th last word takes 2ⁿ states to know."""
    return [(0, a, 0), (0, b, 0), (0, a, 1), *((i, w, i + 1) for i in range(1, n + 1) for w in (a, b))]


HOSTILE = {
    "epsilons around": (lambda a, b, backoff: ([(0, 0, 1), (1, 0, 0), (1, a, 2)], 3), "G.fst: state 0 is on a cycle"),
    "back-off around": (lambda a, b, backoff: ([(0, backoff, 0), (0, a, 1)], 2), "G.fst: state 0 is on a cycle"),
    "exponential": (lambda a, b, backoff: (exponential(a, b, 40), 42), "of lexicon and language model"),
    "twins": (lambda a, b, backoff: ([(0, a, 1), (0, a, 2), (1, b, 1), (2, b, 2), (1, a, 3), (2, a, 3)], 4),
              "of lexicon and language model"),
}  # the last two reach the limit of states, of time or of memory first: that depends on the processor


@pytest.mark.parametrize("name", HOSTILE)
def test_graphs_without_end_are_one_line(folder, name, capsys):
    """The error comes within the time and memory that a graph of this size may take."""
    make, message = HOSTILE[name]
    words = read_symbols(folder / "lang_x" / "words.txt")
    g = g_of(*make(words["A"], words["RED"], words["#0"]))
    if name == "twins":
        g.weight[:] = np.arange(len(g.weight)) / 7  # so that the two ways never come to the same
    (folder / "lang_x" / "G.fst").unlink()
    g.write(folder / "lang_x" / "G.fst")
    begin = time.monotonic()
    with pytest.raises(SystemExit):
        run(folder)
    error = capsys.readouterr().err
    assert "lang_x" in error and message in error and error.count("\n") == 1 and time.monotonic() - begin < 60


def test_weights_that_are_no_costs(folder, capsys):
    g = FstArrays.read(folder / "lang_x" / "G.fst")
    g.weight[:] = -1e5
    (folder / "lang_x" / "G.fst").unlink()
    g.write(folder / "lang_x" / "G.fst")
    with pytest.raises(SystemExit):
        run(folder)
    assert "lang_x: weights of L_disambig.fst or G.fst are too large" in capsys.readouterr().err
