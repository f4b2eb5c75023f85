"""HCLG compared with an enumeration of H, C, L and G, for random trees, transition probabilities and scores."""

import dataclasses

import kaldifst
import numpy as np
import pytest
import torch
from helpers.small_recognizer import (
    PIECES,
    PIECES_ARPA,
    exhaustive,
    graph_viterbi,
    l_disambig,
    random_transitions,
    random_tree,
    small_lang,
)

from lstmp.corpus.topology import Topology
from lstmp.decode.config import SearchConfig
from lstmp.decode.online import OnlineSearch
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Tree, monophone_tree
from lstmp.graph.epsilon_free import epsilon_free
from lstmp.graph.graph_file import write_graph_file
from lstmp.graph.hclg import compose_hclg

FRAMES = 15  # enough for at most five phones


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return small_lang(tmp_path_factory.mktemp("toy"))


def build(toy, seed, width, central, frames=FRAMES, **scales):
    lang, g = toy
    rng = np.random.default_rng(seed)
    tree = random_tree(lang, width, central, rng) if width > 1 else monophone_tree(lang.sets, lang.topology)
    transitions = random_transitions(lang, tree, rng)
    graph = compose_hclg(l_disambig(lang), g, lang.disambig, tree, transitions, quiet=True, **scales)
    scores = 3 * rng.standard_normal((frames, tree.num_pdfs))
    return tree, transitions, graph, scores


@pytest.mark.parametrize("seed, width, central", [(0, 1, 0), (1, 2, 1), (2, 3, 1), (3, 3, 1), (4, 3, 1)])
def test_graph_equals_enumeration(toy, seed, width, central):
    """Every word sequence has its lowest cost, and there are no other word sequences."""
    tree, transitions, graph, scores = build(toy, seed, width, central)
    expected = exhaustive(*toy, tree, transitions, scores)
    found = graph_viterbi(graph, transitions.tid_pdf.numpy(), scores)
    assert len(expected) > 20
    assert set(found) == set(expected)
    for words, cost in expected.items():
        assert found[words] == pytest.approx(cost, abs=2e-2), words


@pytest.mark.parametrize("seed, width, central", [(0, 1, 0), (1, 2, 1), (2, 3, 1)])
@pytest.mark.parametrize("topology", [Topology.chain, Topology.one_state])
def test_phones_of_one_frame_or_more(toy, seed, width, central, topology):
    lang, g = toy
    toy = dataclasses.replace(lang, topology=topology(lang.topology.entries)), g
    tree, transitions, graph, scores = build(toy, seed, width, central, frames=6)
    expected = exhaustive(*toy, tree, transitions, scores)
    found = graph_viterbi(graph, transitions.tid_pdf.numpy(), scores)
    assert len(expected) > 20
    assert {w: pytest.approx(c, abs=2e-2) for w, c in expected.items()} == found


@pytest.mark.parametrize("seed, width", [(10, 1), (11, 3)])
def test_silence_probabilities_of_each_pronunciation(tmp_path, seed, width):
    """Composition and determinization also work for an L with two states for word boundaries."""
    toy = small_lang(tmp_path, np.random.default_rng(seed))
    assert toy[0].silence_model is not None
    tree, transitions, graph, scores = build(toy, seed, width, width // 2)
    expected = exhaustive(*toy, tree, transitions, scores)
    found = graph_viterbi(graph, transitions.tid_pdf.numpy(), scores)
    assert {w: pytest.approx(c, abs=2e-2) for w, c in expected.items()} == found


@pytest.mark.parametrize("seed, width, silence", [(20, 1, False), (21, 3, False), (22, 1, True), (23, 3, True)])
def test_pieces_of_words(tmp_path, seed, width, silence):
    """The graph gives only whole words, with silence only between them; with and without silence probabilities."""
    toy = small_lang(tmp_path, np.random.default_rng(seed) if silence else None, PIECES, PIECES_ARPA)
    tree, transitions, graph, scores = build(toy, seed, width, width // 2)
    expected = exhaustive(*toy, tree, transitions, scores)
    found = graph_viterbi(graph, transitions.tid_pdf.numpy(), scores)
    assert len(expected) > 20
    assert {w: pytest.approx(c, abs=2e-2) for w, c in expected.items()} == found
    assert {"RED", "REDD", "A", "AA"} <= {word for words in found for word in toy[0].word_names.words(words)}


def test_scales(toy):
    scales = {"transition_scale": 0.5, "self_loop_scale": 0.7}
    tree, transitions, graph, scores = build(toy, 5, 3, 1, **scales)
    expected = exhaustive(*toy, tree, transitions, scores, **scales)
    found = graph_viterbi(graph, transitions.tid_pdf.numpy(), scores)
    assert {w: pytest.approx(c, abs=2e-2) for w, c in expected.items()} == found


@pytest.mark.parametrize("seed, width", [(6, 3), (7, 3), (8, 1)])
def test_the_native_search_finds_the_same_best_path(toy, seed, width, tmp_path):
    """With conversion, file and search."""
    tree, transitions, graph, scores = build(toy, seed, width, width // 2)
    expected = exhaustive(*toy, tree, transitions, scores)
    write_graph_file(epsilon_free(graph, transitions.tid_pdf.numpy()), tmp_path, tree.num_pdfs)
    small = SearchGraph.load(tmp_path)
    search = OnlineSearch(small, SearchConfig(1.0, 1000.0, 1.0, 1, 1, 100000, 0))
    search.accept(torch.tensor(scores, dtype=torch.float32))
    path = search.finish()
    assert path.final and -path.score == pytest.approx(min(expected.values()), abs=2e-2)
    assert expected[tuple(w for _, w in small.words_on(path.arcs))] == pytest.approx(-path.score, abs=2e-2)


@pytest.mark.parametrize("seed, width", [(6, 3), (7, 3), (8, 1)])
def test_k2_finds_the_same_best_path(toy, seed, width, tmp_path):
    """With conversion, file and k2's search."""
    k2 = pytest.importorskip("k2")
    from lstmp.graph.k2_graph import load_k2_graph

    tree, transitions, graph, scores = build(toy, seed, width, width // 2)
    expected = exhaustive(*toy, tree, transitions, scores)
    write_graph_file(epsilon_free(graph, transitions.tid_pdf.numpy()), tmp_path, tree.num_pdfs)
    fsa = load_k2_graph(tmp_path)
    assert fsa.shape[0] == 1 and not bool((fsa.labels == 0).any())
    dense = torch.cat([torch.full((FRAMES, 1), -1e9), torch.tensor(scores, dtype=torch.float32)], dim=1)[None]
    dense = k2.DenseFsaVec(dense, torch.tensor([[0, 0, FRAMES]], dtype=torch.int32))
    best = k2.shortest_path(k2.intersect_dense_pruned(fsa, dense, 1000.0, 1000.0, 1, 100000), use_double_scores=True)
    words = tuple(w for w in best.aux_labels.values.tolist() if w > 0)
    total = -best.get_tot_scores(True, False).item()
    assert total == pytest.approx(min(expected.values()), abs=2e-2)
    assert expected[words] == pytest.approx(total, abs=2e-2)
    assert torch.equal(best.scores - best.graph_scores == 0, best.labels < 0)  # k2 propagates the graph scores


def test_a_grammar_that_cannot_be_pronounced_is_an_error(toy):
    lang, _ = toy
    tree = monophone_tree(lang.sets, lang.topology)
    transitions = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    g = kaldifst.make_linear_acceptor([lang.words["</s>"]])
    with pytest.raises(UserError, match="no sentence of the language model can be pronounced"):
        compose_hclg(l_disambig(lang), g, lang.disambig, tree, transitions, quiet=True)


def test_a_phone_without_a_model_is_an_error(toy):
    lang, g = toy
    full = monophone_tree(lang.sets, lang.topology)
    d = lang.phones["D_E"]
    tree = Tree(1, 0, {k: node for k, node in full.roots.items() if k[0] != d})
    transitions = TransitionModel.from_tree(lang.topology, tree, [p for p in lang.topology.entries if p != d])
    with pytest.raises(UserError, match="D_E has no"):
        compose_hclg(l_disambig(lang), g, lang.disambig, tree, transitions, phone_names=lang.phone_names, quiet=True)
