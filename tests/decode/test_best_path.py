"""Best paths for a grid of LM weights and penalties, compared with an enumeration of all paths."""

import itertools

import pytest
import torch
from helpers.decoding import decode_config
from helpers.small_graphs import WIDE, SmallGraph, all_paths, path_score, scores
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp.corpus.pieces import Names
from lstmp.decode.best_path import best_paths, grid, words_on_paths, write_hypotheses
from lstmp.decode.lattice import Lattice, write_lattices
from lstmp.decode.search import decode_utterance
from lstmp.errors import UserError

POINTS = list(itertools.product((1, 3, 10), (0.0, 0.5, 2.0)))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), frames=st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_equals_enumeration(seed, frames):
    lattices = []
    for i, length in enumerate(frames):
        graph, loglikes = SmallGraph.random(seed + i), scores(seed + i, length)
        if graph.viterbi(loglikes) is not None:
            lattices.append(decode_utterance(graph.engine(4), loglikes, WIDE))
    assume(lattices)
    for lattice in lattices:
        paths = all_paths(lattice)
        for (lm_weight, penalty), path in zip(POINTS, best_paths(lattice, POINTS), strict=True):
            assert path.tolist() in paths
            assert path_score(lattice, path, lm_weight, penalty) == pytest.approx(
                max(path_score(lattice, p, lm_weight, penalty) for p in paths), abs=1e-4)


def test_a_penalty_removes_words_and_a_high_lm_weight_favours_the_graph():
    graph = SmallGraph([(0, 1, 0, 0.0, (1, 2, 3)), (0, 2, 1, -1.0, ()), (0, 1, 2, -9.0, (4,))],
                       {0: (0, ()), 1: (0, ()), 2: (0, ())})
    lattice = decode_utterance(graph.engine(), torch.tensor([[0.0, 0.0, 20.0]]), WIDE)
    words = dict(zip(POINTS, words_on_paths(lattice, best_paths(lattice, POINTS)), strict=True))
    assert words[1, 0.0] == [4]
    assert words[10, 0.0] == [1, 2, 3]
    assert words[10, 0.5] == []


def test_one_file_is_written_for_each_point(tmp_path):
    words = "".join(f"w{i} {i}\n" for i in range(1, 7))
    (tmp_path / "words.txt").write_text("<eps> 0\n" + words)
    (tmp_path / "d").mkdir()
    first = {f"u{i}": decode_utterance(SmallGraph.random(i).engine(4), scores(i, 6), WIDE) for i in (3, 1)}
    write_lattices(tmp_path / "d" / "lat.0000.safetensors", first)
    write_lattices(tmp_path / "d" / "lat.0001.safetensors", {"a9": Lattice.empty()})
    cfg = decode_config()
    write_hypotheses(tmp_path / "d", tmp_path / "words.txt", cfg, 1)
    assert sorted(p.name for p in (tmp_path / "d" / "scoring").iterdir()) == [
        "1_0.0.txt", "1_0.5.txt", "3_0.0.txt", "3_0.5.txt"]
    lines = (tmp_path / "d" / "scoring" / "3_0.5.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["a9", "u1", "u3"] and lines[0] == "a9"
    path = best_paths(first["u3"], grid(cfg))[3]
    assert lines[2].split()[1:] == [f"w{w}" for w in first["u3"].words_on(path)]
    pieces = {1: "▁BA", 2: "DE▁", 3: "▁A▁", 4: "KI", 5: "LO▁", 6: "<UNK>"}
    (tmp_path / "words.txt").write_text("<eps> 0\n" + "".join(f"{p} {i}\n" for i, p in pieces.items()))
    write_hypotheses(tmp_path / "d", tmp_path / "words.txt", cfg, 1)
    joined = (tmp_path / "d" / "scoring" / "3_0.5.txt").read_text().splitlines()
    assert joined != lines and joined[2].split()[1:] == Names(pieces).words(first["u3"].words_on(path))
    (tmp_path / "words.txt").write_text("<eps> 0\n")
    with pytest.raises(UserError, match="is not in it"):
        write_hypotheses(tmp_path / "d", tmp_path / "words.txt", cfg, 1)


def test_a_folder_without_lattices_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no lattices in it"):
        write_hypotheses(tmp_path, tmp_path / "words.txt", decode_config(), 1)


@pytest.mark.parametrize("key, value", [("lm_weights", []), ("lm_weights", [0]), ("lm_weights", [3, 3]),
                                        ("max_active", 0), ("search_beam", 0.0), ("utts_per_job", 0), ("retries", 9)])
def test_bad_configurations(key, value):
    with pytest.raises(UserError, match=f"`{key}` must be"):
        decode_config(**{key: value})
