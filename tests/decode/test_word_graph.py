"""Word graphs and n-best lists, compared with all paths of small lattices."""

import numpy as np
import pytest
from helpers.lattices import SEEDS, WORDS, best_by_words, lm_score, random_lm, some_lattice
from helpers.small_graphs import path_score
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.corpus.pieces import Names
from lstmp.decode import nbest as nbest_module
from lstmp.decode.backoff_lm import BackoffLm
from lstmp.decode.lattice import Lattice
from lstmp.decode.nbest import Hypothesis, best_hypotheses, main, nbest, rescored, write_nbest
from lstmp.decode.word_graph import near_best, word_graph
from lstmp.errors import UserError


@given(SEEDS, st.sampled_from([1.0, 3.0]), st.sampled_from([0.0, 0.7]))
@settings(max_examples=60, deadline=None)
def test_n_best_are_all_word_sequences_in_order(seed, lm_weight, penalty):
    lattice, paths = some_lattice(seed)
    expected = best_by_words(lattice, paths, lm_weight, penalty)
    hypotheses = list(nbest(word_graph(lattice, lm_weight), lm_weight, penalty))
    assert sorted(h.words for h in hypotheses) == sorted(expected)
    assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
    for h in hypotheses:
        assert h.score == pytest.approx(expected[h.words], abs=1e-3)
        assert h.acoustic / lm_weight + h.graph - penalty * len(h.words) == pytest.approx(h.score, abs=1e-3)
        assert list(h.frames) == sorted(h.frames) and len(h.frames) == len(h.words)


@given(SEEDS, st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_searching_the_near_best_part_first_gives_the_same_list(seed, n):
    lattice, paths = some_lattice(seed)
    expected = sorted(best_by_words(lattice, paths, 2.0, 0.5).values(), reverse=True)[:n]
    assert [h.score for h in best_hypotheses(lattice, n, 2.0, 0.5)] == pytest.approx(expected, abs=1e-3)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_near_best_keeps_only_the_arcs_of_near_best_paths(seed):
    lattice, paths = some_lattice(seed)
    scores = [path_score(lattice, p, 2.0, 0.0) for p in paths]
    near = near_best(lattice, 2.0, 0.0, 3.0)
    possible = {a for p, s in zip(paths, scores, strict=True) if s >= max(scores) - 3.0 - 1e-4 for a in p}
    inside = {a for p, s in zip(paths, scores, strict=True) if s >= max(scores) - 3.0 + 1e-4 for a in p}
    arcs = {tuple(a) for a in near.arcs.tolist()}
    assert {tuple(lattice.arcs[a].tolist()) for a in inside} <= arcs
    assert len(near.arcs) <= len(possible)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_paths_of_the_word_graph_are_paths_of_the_lattice(seed):
    """With the same words and scores, and a label for every frame."""
    lattice, paths = some_lattice(seed, frames=4)
    graph = word_graph(lattice, 1.5, labels=True)
    lattice_paths = {}
    for path in paths:
        key = tuple(lattice.words_on(path))
        labels = tuple(x for x in lattice.arcs[path, 2].tolist() if x > 0)
        lattice_paths.setdefault((key, labels), []).append(
            (lattice.acoustic[path].sum(dtype=float), lattice.graph[path].sum(dtype=float)))
    num_paths = 0
    todo = [(0, (), (), 0.0, 0.0)]
    while todo:
        node, words, labels, acoustic, lm = todo.pop()
        if node == graph.end:
            near = [p for p in lattice_paths[words, labels] if p == pytest.approx((acoustic, lm), abs=1e-3)]
            assert near and len(labels) == 4
            num_paths += 1
        for link in range(graph.leaving[node], graph.leaving[node + 1]):
            to = int(graph.links[link, 1])
            assert len(labels) + len(graph.labels[link]) == min(graph.frame[to] + (to != graph.end), 4)
            todo.append((to, words + graph.words[to], labels + tuple(graph.labels[link].tolist()),
                         acoustic + graph.acoustic[link], lm + graph.graph[link]))
    assert num_paths


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rescoring_a_complete_list_is_exact(seed, tmp_path):
    rng = np.random.default_rng(seed)
    old, new = (random_lm(tmp_path / name, rng) for name in ("old", "new"))
    lms = [BackoffLm(tmp_path / name) for name in ("old", "new")]
    lattice, _ = some_lattice(seed)
    before = best_hypotheses(lattice, 10_000, 2.0, 0.5)
    after = rescored(before, *lms, 2.0, 0.5)
    expected = {h.words: h.score - lm_score(old, h.words) + lm_score(new, h.words) for h in before}
    assert {h.words: h.score for h in after} == pytest.approx(expected, abs=1e-3) and WORDS == 6
    assert [h.score for h in after] == sorted((h.score for h in after), reverse=True)


def test_a_lattice_without_a_path_has_no_hypotheses():
    assert best_hypotheses(Lattice.empty(), 5, 10.0, 0.0) == []


def test_the_files_have_kaldis_format(decode_dir):
    folder, lattice, paths = decode_dir
    main([str(folder), "--graph", str(folder.parent / "graph"), "--n", "7"])
    rows = {n: [line.split() for line in (folder / "nbest" / n).read_text().splitlines()]
            for n in ("text", "ac_cost", "lm_cost", "score")}
    expected = sorted(best_by_words(lattice, paths, 2.0, 0.5).items(), key=lambda x: -x[1])[:7]
    assert [r[0] for r in rows["text"]] == [f"a-{k}" for k in range(1, len(expected) + 1)]
    assert rows["text"][0][1:] == [f"w{i}" for i in expected[0][0]]
    assert (folder / "nbest/best.txt").read_text() == " ".join(["a", *rows["text"][0][1:]]) + "\nb\n"
    for (key, score), (_, ac), (_, lm), (_, *words) in zip(rows["score"], rows["ac_cost"], rows["lm_cost"],
                                                         rows["text"], strict=True):
        assert float(score) == pytest.approx(-float(ac) / 2 - float(lm) - 0.5 * len(words), abs=1e-3), key


def test_different_pieces_of_the_same_words_are_written_once(tmp_path):
    names = Names({1: "▁BA", 2: "DE▁", 3: "▁BADE▁", 4: "▁A▁"})
    lists = {"a": [Hypothesis(w, -s, -s, 0.0, (0,) * len(w)) for s, w in enumerate([(4, 1, 2), (4, 3), (3,), (1, 2)])]}
    write_nbest(tmp_path, lists, names)
    assert (tmp_path / "text").read_text() == "a-1 A BADE\na-2 BADE\n"
    assert (tmp_path / "score").read_text() == "a-1 0.0000\na-2 -2.0000\n"


def test_errors_in_weights_and_lattices_are_reported(decode_dir, tmp_path):
    folder, _, _ = decode_dir
    with pytest.raises(UserError, match="must be greater than 0"):
        nbest_module.chosen_weights(folder, -1.0, 0.0)
    (folder / "score.json").unlink()
    with pytest.raises(UserError, match="score this set first"):
        nbest_module.chosen_weights(folder, None, None)
    with pytest.raises(UserError, match="no lattices in it"):
        nbest_module.lattice_files(tmp_path)
