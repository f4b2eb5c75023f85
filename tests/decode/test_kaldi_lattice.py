"""Lattices in Kaldi's text format, read back with a separate parser."""

import gzip
import math

import pytest
from helpers.lattices import SEEDS, best_by_words, some_lattice
from hypothesis import given, settings

from lstmp.decode.kaldi_lattice import lines, main
from lstmp.decode.word_graph import word_graph


def read(text_lines):
    """{(words, number of frames): the lowest (graph cost + acoustic cost)} over all paths of a compact lattice."""
    leaving, final = {}, {}
    for line in text_lines:
        fields = line.split()
        graph, acoustic, string = fields[-1].split(",")
        weight = float(graph), float(acoustic), tuple(map(int, string.split("_"))) if string else ()
        if len(fields) == 2:
            final[int(fields[0])] = weight
        else:
            source, to, word = map(int, fields[:3])
            assert source < to
            leaving.setdefault(source, []).append((to, word, weight))
    found, todo = {}, [(0, (), 0.0, 0.0, 0)]
    while todo:
        state, words, graph, acoustic, frames = todo.pop()
        if state in final:
            key = words, frames + len(final[state][2])
            cost = graph + final[state][0] + acoustic + final[state][1]
            found[key] = min(found.get(key, math.inf), cost)
        for to, word, (g, a, string) in leaving.get(state, ()):
            todo.append((to, words + ((word,) if word else ()), graph + g, acoustic + a, frames + len(string)))
    return found


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_words_costs_and_frames_are_those_of_the_lattice(seed):
    lattice, paths = some_lattice(seed, frames=4)
    found = read(lines(word_graph(lattice, 1.0, labels=True)))
    expected = best_by_words(lattice, paths, 1.0, 0.0)
    assert {frames for _, frames in found} == {4}
    assert {words: -cost for (words, _), cost in found.items()} == pytest.approx(expected, abs=1e-3)


def test_archives_are_written(decode_dir):
    folder, lattice, paths = decode_dir
    main([str(folder), "--graph", str(folder.parent / "graph"), "--beam", "100", "--lm-weight", "1", "--word-penalty",
          "0"])
    assert (folder / "kaldi/num_jobs").read_text() == "1\n"
    text = gzip.open(folder / "kaldi/lat.1.gz", "rt").read().split("\n")
    assert text[0] == "a" and text[-2:] == ["", ""]  # without the utterance that failed
    assert {w for w, _ in read(text[1:-2])} == set(best_by_words(lattice, paths, 1.0, 0.0))


def test_a_beam_of_0_keeps_the_best_path(decode_dir):
    folder, lattice, paths = decode_dir
    main([str(folder), "--graph", str(folder.parent / "graph"), "--beam", "0", "--out", str(folder / "one")])
    text = gzip.open(folder / "one/lat.1.gz", "rt").read().split("\n")
    expected = best_by_words(lattice, paths, 2.0, 0.5)
    assert [w for w, _ in read(text[1:-2])] == [max(expected, key=expected.get)]
