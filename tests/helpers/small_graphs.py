"""Random decoding graphs that are small enough for an exhaustive search in plain Python."""

import importlib.util
import itertools

import kaldifst
import numpy as np
import pytest
import torch

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import search_library
from lstmp.decode.lattice import Lattice
from lstmp.decode.search_graph import SearchGraph
from lstmp.graph.bundles import BundledGraph

WIDE = SearchConfig(acoustic_scale=1.0, search_beam=1e4, output_beam=12.0, max_word_arcs=100_000,
                    min_active=0, max_active=100_000, retries=0)


NEEDS_K2 = pytest.mark.skipif(importlib.util.find_spec("k2") is None, reason="no k2")
NEEDS_COMPILER = pytest.mark.skipif(search_library() is None, reason="no compiler")
NATIVE = pytest.mark.parametrize("native", [pytest.param(True, marks=NEEDS_COMPILER), False], ids=["compiled", "numpy"])


def scores(seed, frames, num_pdfs=4):
    """Random log-likelihoods [frames, num_pdfs]."""
    return 3 * torch.randn(frames, num_pdfs, generator=torch.Generator().manual_seed(seed))


def bundled(seed, num_states=12, ties=False) -> SearchGraph:
    """A random graph whose states share bundles, of 4 pdfs; with ``ties``, many paths are equally good."""
    rng, last = np.random.default_rng(seed), num_states - 1

    def score(count):
        return (rng.integers(-2, 1, count) if ties else 2 * rng.normal(size=count)).astype(np.float32)

    def words(rows):
        splits = np.concatenate([[0], np.cumsum(rng.choice([0, 0, 1, 2], rows))]).astype(np.int32)
        return splits, rng.integers(1, 7, splits[-1]).astype(np.int32)

    sizes = rng.integers(2, 6, max(2, num_states // 3))
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    to, scores_ = rng.integers(0, last, first[-1]), score(first[-1])
    to[rng.random(len(to)) < 0.15] = to[-1] = last
    to[first[:-1]] = rng.integers(0, last, len(sizes))  # each bundle leads on
    label = np.where(to == last, -1, rng.integers(1, 5, len(to)))
    order = np.lexsort((-scores_, np.repeat(np.arange(len(sizes)), sizes)))
    arcs = np.column_stack([to, label, scores_.view(np.int32)])[order].astype(np.int32)
    state = np.repeat(np.arange(last), rng.integers(1, 4, last))
    ways = np.column_stack([state, rng.integers(0, len(sizes), len(state)), score(len(state)).view(np.int32)])
    graph = BundledGraph(ways.astype(np.int32), *words(len(ways)), first, arcs, *words(len(arcs)))
    return SearchGraph(graph, 4, 0.0)


class SmallGraph:
    """``arcs``: (from, to, pdf, score, words); ``final``: state → (score, words). State 0 is the start."""

    def __init__(self, arcs, final, num_pdfs=0):
        self.num_pdfs = num_pdfs or 1 + max(pdf for _, _, pdf, _, _ in arcs)  # not all of them need be in the graph
        self.arcs, self.final = sorted(arcs), final
        self.num_states = 1 + max([a[0] for a in arcs] + [a[1] for a in arcs] + list(final))

    @classmethod
    def random(cls, seed, num_states=5, num_pdfs=4, num_words=6, most_words=2, final_words=True):
        rng = np.random.default_rng(seed)

        def some_words(most):
            return tuple(int(w) for w in rng.integers(1, num_words + 1, rng.integers(0, most + 1)))

        arcs = [(int(s), int(d), int(rng.integers(num_pdfs)), float(np.float32(rng.normal())), some_words(most_words))
                for s, d in rng.integers(0, num_states, (3 * num_states, 2))]
        arcs += [(s, (s + 1) % num_states, int(rng.integers(num_pdfs)), -1.0, ()) for s in range(num_states)]
        finals = {int(s): (float(np.float32(rng.normal())), some_words(1) if final_words else ())
                  for s in rng.choice(num_states, 2, replace=False)}
        return cls(arcs, finals, num_pdfs)

    def _rows(self, by_score=True):
        """Arcs int32 [A, 4], by default in the order of a graph file, and the words of each; -1 on arcs into the final
        state."""
        last = self.num_states
        rows = [(a, b, pdf + 1, score, words) for a, b, pdf, score, words in self.arcs]
        rows += [(s, last, -1, score, (*words, -1)) for s, (score, words) in self.final.items()]
        rows.sort(key=lambda r: (r[0], -r[3] if by_score else r[2]))
        arcs = torch.tensor([r[:3] for r in rows], dtype=torch.int32)
        scores = torch.tensor([r[3] for r in rows])
        return torch.cat([arcs, scores.view(torch.int32)[:, None]], 1), [list(r[4]) for r in rows]

    def k2(self):
        """The graph for lstmp.decode.k2_search."""
        k2 = pytest.importorskip("k2")
        arcs, words = self._rows()
        fsa = k2.Fsa(arcs)
        fsa.aux_labels = k2.RaggedTensor(words, dtype=torch.int32)
        fsa = k2.create_fsa_vec([fsa])
        fsa.graph_scores = fsa.scores.clone()
        return fsa

    def engine(self, num_pdfs=None, by_score=True):
        """The graph for the native search; without ``by_score``, arcs are in the order of their labels, as in graph
        files of earlier versions."""
        arcs, words = self._rows(by_score)
        splits = np.cumsum([0] + [len(w) for w in words])
        return SearchGraph.of(arcs.numpy(), splits, np.array(list(itertools.chain(*words))), num_pdfs or self.num_pdfs)

    def openfst(self):
        """The graph as an OpenFst FST with pdf-id + 1 as input labels. Each arc must have at most one word."""
        fst = kaldifst.StdVectorFst()
        for _ in range(self.num_states):
            fst.add_state()
        fst.start = 0
        for a, b, pdf, score, words in self.arcs:
            fst.add_arc(a, kaldifst.StdArc(pdf + 1, words[0] if words else 0, -score, b))
        for s, (score, _) in self.final.items():
            fst.set_final(s, -score)
        return fst

    def viterbi(self, loglikes, scale=1.0):
        """(score, words) of the best path, or None if there is none."""
        best = {0: (0.0, ())}
        for row in loglikes.tolist():
            following = {}
            for a, b, pdf, score, words in self.arcs:
                if a in best and row[pdf] > -float("inf"):
                    token = (best[a][0] + score + scale * row[pdf], best[a][1] + words)
                    following[b] = max(following.get(b, token), token)
            best = following
        ends = [(best[s][0] + score, best[s][1] + words) for s, (score, words) in self.final.items() if s in best]
        return max(ends) if ends else None


def random_lattice(seed, frames=8, ties=False) -> Lattice:
    """A random lattice; with ``ties``, with few different scores, so that many paths are equally good."""
    rng = np.random.default_rng(seed)
    sizes = [1, *rng.integers(1, 5, frames - 1).tolist(), 1]
    first = np.cumsum([0, *sizes])
    rows = set()
    for t in range(frames):
        here, there = range(first[t], first[t + 1]), range(first[t + 1], first[t + 1] + sizes[t + 1])
        rows |= {(a, int(rng.choice(there)), int(rng.integers(1, 5))) for a in here for _ in range(2)}
        rows |= {(int(rng.choice(here)), b, int(rng.integers(1, 5))) for b in there}
    arcs = np.array(sorted(rows), np.int32)
    arcs[arcs[:, 1] == first[-2], 2] = -1
    num_words = rng.integers(0, 3, len(arcs)).astype(np.uint8)
    values = rng.integers(-3, 1, (2, len(arcs))) if ties else rng.normal(size=(2, len(arcs)))
    return Lattice(arcs, (30 * values[0]).astype(np.float32), values[1].astype(np.float32), num_words,
                   rng.integers(1, 9, int(num_words.sum())).astype(np.int32))


def all_paths(lattice):
    """All paths of a lattice, each as a list of arc numbers."""
    leaving = {}
    for i, (a, _, _) in enumerate(lattice.arcs.tolist()):
        leaving.setdefault(a, []).append(i)
    paths = [[i] for i in leaving.get(0, ())]
    while any(int(lattice.arcs[path[-1], 1]) in leaving for path in paths):  # they may have different lengths
        paths = [longer for path in paths
                 for longer in [path + [i] for i in leaving.get(int(lattice.arcs[path[-1], 1]), ())] or [path]]
    return paths


def path_score(lattice, path, lm_weight, penalty):
    """The score of a path:  acoustic / LM weight + graph - penalty · number of words."""
    path = np.array(path)
    return (float(lattice.acoustic[path].astype(float).sum()) / lm_weight + float(lattice.graph[path].sum())
            - penalty * int(lattice.num_words[path].sum()))
