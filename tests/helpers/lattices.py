"""Random language models and lattices."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import strategies as st

from helpers.small_graphs import WIDE, SmallGraph, all_paths, path_score, scores
from lstmp.corpus.fst import FstArrays
from lstmp.decode.lattice import Lattice, write_lattices
from lstmp.decode.search import decode_utterance

WORDS = 6


BACKOFF = WORDS + 1


def random_lm(folder, rng, known=range(1, WORDS + 1)):
    """Write a lang folder with a random bigram LM. State 0 has the unigrams, state w the words after w, state WORDS + 1
    the words after <s>.

    Returns the probabilities: {(previous word, word or "end"): natural log}, {previous word: back-off weight}.
    """
    folder.mkdir(parents=True)
    (folder / "words.txt").write_text("<eps> 0\n" + "".join(f"w{i} {i}\n" for i in range(1, WORDS + 1))
                                      + f"#0 {BACKOFF}\n")
    start = WORDS + 1
    table, weight, rows = {}, {}, []
    for prev in [0, *known, start]:
        for word in [*known, "end"]:
            if prev == 0 or rng.random() < 0.4:
                table[prev, word] = float(np.float32(-rng.exponential(2)))
        if prev:
            weight[prev] = float(np.float32(-rng.exponential(1)))
            rows.append((prev, BACKOFF, 0, weight[prev], 0))
    rows += [(b, w, w, p, w) for (b, w), p in table.items() if w != "end"]
    rows.sort()
    src, ilabel, olabel, score, dst = (np.array(x) for x in zip(*rows, strict=True))
    final = np.array([-table.get((b, "end"), -np.inf) for b in range(start + 1)], np.float32)
    FstArrays(start, final, src.astype(np.int32), ilabel.astype(np.int32), olabel.astype(np.int32),
              -score.astype(np.float32), dst.astype(np.int32)).write(folder / "G.fst")
    return table, weight


def lm_score(lm, words):
    """The log-probability of a sentence with an LM of :func:`random_lm`."""
    table, weight = lm
    total, prev = 0.0, WORDS + 1
    for word in [*words, "end"]:
        total += table[prev, word] if (prev, word) in table else weight[prev] + table[0, word]
        prev = word
    return total


def lattice_of(seed, frames):
    """The lattice of random scores in a random graph; None if it has no path."""
    graph, loglikes = SmallGraph.random(seed), scores(seed, frames)
    return None if graph.viterbi(loglikes) is None else decode_utterance(graph.engine(4), loglikes, WIDE)


SEEDS = st.integers(0, 300)


def some_lattice(seed, frames=5):
    """A random lattice with a path, and all its paths."""
    for more in itertools.count():
        lattice = lattice_of(1000 * more + seed, frames)
        if lattice is not None:
            return lattice, all_paths(lattice)


def best_by_words(lattice, paths, lm_weight, penalty):
    """Words → the score of the best path with them."""
    best = {}
    for path in paths:
        words = tuple(lattice.words_on(path))
        best[words] = max(best.get(words, -math.inf), path_score(lattice, path, lm_weight, penalty))
    return best


@pytest.fixture
def decode_dir(tmp_path):
    """A decode dir with two utterances, one of which has failed, and a graph dir with words.txt.

    Returns the decode dir, the lattice of the other utterance, and all its paths.
    """
    lattice, paths = some_lattice(7)
    folder = tmp_path / "decode"
    folder.mkdir()
    write_lattices(folder / "lat.0000.safetensors", {"b": Lattice.empty(), "a": lattice})
    (folder / "score.json").write_text(json.dumps({"lmwt": 2, "wip": 0.5}))
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph/words.txt").write_text("<eps> 0\n" + "".join(f"w{i} {i}\n" for i in range(1, WORDS + 1)))
    return folder, lattice, paths
