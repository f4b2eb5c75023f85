"""Frame-synchronous beam search in the decoding graph: compiled (search.cpp), and in NumPy.

The pruning rules are those of k2's ``intersect_dense_pruned``: the same states survive, with scores that are equal to
the last bit. A state survives (is *active*) if its score is above  best - beam.  The beam changes from frame to frame:

- if the frame begins with more than ``max_active`` states, it is multiplied by 0.8;
- if it begins with fewer than ``min_active`` states, it is multiplied by 1.25;
- otherwise it moves a fifth of the way back to ``search_beam``.

In the last four frames (``NEAR_END``) the minimum number of states is raised to at least half of ``max_active`` and
the beam is not reduced, so that a final state is reached. Scores are added in float32 and in k2's order.

As with k2, a lattice holds the arcs between active states that are on paths within ``output_beam`` of the best one.
This includes arcs whose own score is below the beam if another arc has brought their target state above it; Kaldi does
not keep these arcs.

The compiled search takes less than half of k2's time. It keeps one token per state in plain arrays, while k2, which is
made for many utterances at once on a GPU, builds ragged tensors for every frame.
"""

import ctypes
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.errors import UserError
from lstmp.graph.graph_file import read_graph_file
from lstmp.graph.ranges import pairs
from lstmp.native import library

NEAR_END = 4  # frames
_NEVER = np.float32(-np.inf)


@dataclass(frozen=True, eq=False)
class SearchGraph:
    """The arrays of a decoding graph, shared by all searches in it.

    Attributes:
        arcs: int32 [A, 4], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of
            the float32 score; sorted by from-state, as in :class:`lstmp.graph.epsilon_free.SearchArcs`.
        first: int32 [S + 1], the arcs out of state s are first[s] to first[s + 1] - 1.
        word_splits, words: int32, the words of arc a are words[word_splits[a]:word_splits[a + 1]].
        num_pdfs: number of pdf-ids of the model.
    """

    arcs: Array
    first: Array
    word_splits: Array
    words: Array
    num_pdfs: int

    @classmethod
    def of(cls, arcs: Array, word_splits: Array, words: Array, num_pdfs: int) -> "SearchGraph":
        """Make a graph from the arrays of a graph file or of a ``k2.Fsa``."""
        arcs, word_splits, words = (np.ascontiguousarray(x, dtype=np.int32) for x in (arcs, word_splits, words))
        source = arcs[:, 0]
        if (np.diff(source) < 0).any():
            raise UserError("its arcs are not sorted by state", hint="make the graph again")
        states = int(arcs[:, :2].max()) + 1
        first = np.zeros(states + 1, dtype=np.int32)
        np.cumsum(np.bincount(source, minlength=states), out=first[1:])
        is_word = words > 0  # k2 has -1 on the arcs into the last state, and may have 0
        words_before = np.concatenate([[0], np.cumsum(is_word, dtype=np.int32)])
        return cls(arcs, first, words_before[word_splits].astype(np.int32), words[is_word], num_pdfs)

    @classmethod
    def load(cls, graph_dir: Path | str) -> "SearchGraph":
        """Read the graph of a folder that ``make_graph`` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        arcs, splits, words, num_pdfs = read_graph_file(Path(graph_dir))
        # copied from the mapped file to memory with large pages, as the search accesses it at random
        return cls.of(arcs.numpy().copy(), splits.numpy(), words.numpy(), num_pdfs)

    @functools.cached_property
    def scores(self) -> Array:
        """float32 [A]."""
        return self.arcs[:, 3].view(np.float32)

    def words_on(self, path: Array) -> list[tuple[int, int]]:
        """(position in the path, word id) of every word on the arcs of a path."""
        out = []
        begin, end = self.word_splits[path], self.word_splits[path + 1]
        for i in np.flatnonzero(end > begin):
            out += [(int(i), int(w)) for w in self.words[begin[i]:end[i]]]
        return out

    def with_penalty(self, word_penalty: float) -> "SearchGraph":
        """The same graph with a penalty subtracted from the score for each word."""
        if not word_penalty:
            return self
        arcs = self.arcs.copy()
        arcs[:, 3].view(np.float32)[:] -= np.float32(word_penalty) * np.diff(self.word_splits).astype(np.float32)
        return dataclasses.replace(self, arcs=arcs)


def check_scores(loglikes: torch.Tensor) -> None:
    """Check the log-likelihoods of an utterance; -inf is allowed.

    Raises:
        UserError: there is NaN or +infinity among them.
    """
    if bool(loglikes.isnan().any()) or bool((loglikes == float("inf")).any()):
        raise UserError("NaN or +infinity among the acoustic scores")


@dataclass(frozen=True)
class BestPath:
    """A path through the graph.

    Attributes:
        arcs: int32 [T], or [T + 1] if it ends in a final state.
        score: scaled acoustic score plus graph score.
        final: whether it ends in a final state.
    """

    arcs: Array
    score: float
    final: bool


def search_library() -> ctypes.CDLL | None:
    """search.cpp, compiled; None if it cannot be compiled."""
    lib = library("decode/search.cpp", "-ffp-contract=off")  # so that sums are rounded as in NumPy
    if lib is not None:
        lib.lstmp_search_new.restype = ctypes.c_void_p
        lib.lstmp_search_path.restype = lib.lstmp_search_lattice.restype = ctypes.c_int64
    return lib


class CompiledSearch:
    """The search in search.cpp. With an ``output_beam`` of 0 or more it makes a lattice, otherwise only a best path."""

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, output_beam: float = -1.0):
        lib = search_library()
        assert lib is not None
        self._lib, self._graph = lib, graph  # the graph's arrays must outlive the search
        self._search = ctypes.c_void_p(self._lib.lstmp_search_new(
            array_at(graph.arcs), array_at(graph.first), ctypes.c_float(cfg.search_beam), _int(cfg.min_active),
            _int(cfg.max_active), ctypes.c_float(output_beam)))

    def __del__(self) -> None:
        if getattr(self, "_search", None):
            self._lib.lstmp_search_free(self._search)

    def reset(self) -> None:
        self._lib.lstmp_search_reset(self._search)

    def advance(self, rows: Array, near_end: int) -> None:
        self._lib.lstmp_search_advance(self._search, array_at(rows), *map(_int, rows.shape), _int(near_end))

    def path(self, to_end: bool, frames: int) -> BestPath | None:
        arcs, score = np.empty(frames + 1, np.int32), ctypes.c_float()
        n = self._lib.lstmp_search_path(self._search, _int(to_end), _int(len(arcs)), array_at(arcs),
                                        ctypes.byref(score))
        return None if n < 0 else BestPath(arcs[:n][::-1].copy(), score.value, to_end)

    def links(self) -> tuple[Array, ...] | None:
        """The arcs of the lattice, after the last frame; None if no path reaches a final state.

        Returns:
            arrays [arcs of the lattice]: from-state, to-state, arc of the graph, frame, and the score difference
            between the best path and the best path through the arc.
        """
        n = self._lib.lstmp_search_lattice(self._search)
        if n < 0:
            return None
        out = [np.empty(n, np.int32) for _ in range(4)] + [np.empty(n, np.float32)]
        self._lib.lstmp_search_links(self._search, *map(array_at, out))
        return tuple(out)

    def sizes(self) -> tuple[int, int]:
        out = np.zeros(2, np.int64)
        self._lib.lstmp_search_sizes(self._search, array_at(out))
        return int(out[0]), int(out[1])


_int = ctypes.c_int64


def array_at(x: Array) -> ctypes.c_void_p:
    """Pointer to the data of an array. The array must outlive the call that it is passed to."""
    return ctypes.c_void_p(x.ctypes.data)


class NumpySearch:
    """The same search in NumPy: the reference of the compiled one, and its replacement if there is no compiler.

    It never discards history.
    """

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, output_beam: float = -1.0):
        self.graph, self.cfg, self.output_beam = graph, cfg, np.float32(output_beam)
        self.to, self.label, self.score_of = graph.arcs[:, 1], graph.arcs[:, 2], graph.scores
        self.reset()

    def reset(self) -> None:
        self.states, self.score = np.zeros(1, np.int64), np.zeros(1, np.float32)
        self.beam = np.float32(self.cfg.search_beam)
        # per frame, for each state: index of the previous state, arc from it
        self.previous: list[Array] = []
        self.best_arc: list[Array] = []
        # for a lattice, per frame: the scores of its states, and the links out of them
        self.frames: list[tuple[Array, ...]] = []

    def _arcs_out(self) -> tuple[Array, Array]:
        """(index of the active state, arc) of every arc out of an active state."""
        first = self.graph.first
        return pairs(np.arange(len(self.states)), first[self.states], first[self.states + 1])

    def advance(self, rows: Array, near_end: int) -> None:
        for t, row in enumerate(rows):
            source, arc = self._arcs_out()
            label = self.label[arc]
            acoustic = np.where(label > 0, row[np.maximum(label, 1) - 1], _NEVER)
            end = self.score[source] + (acoustic + self.score_of[arc])
            self._choose_beam(t >= len(rows) - near_end)
            all_arcs = source, arc, end
            kept = np.flatnonzero(end > end.max(initial=_NEVER) - self.beam)
            source, arc, end = source[kept], arc[kept], end[kept]
            # the states of a frame are numbered in the order in which they are reached, as in search.cpp
            states, first, number = np.unique(self.to[arc], return_index=True, return_inverse=True)
            by_first = np.argsort(first)
            place = np.argsort(by_first)[number.reshape(-1)]
            order = np.lexsort((-end, place))
            best = order[np.flatnonzero(np.diff(place[order], prepend=-1))]
            if self.output_beam >= 0:
                self.frames.append((self.score, *self._links(all_arcs, states, np.argsort(by_first), end[best])))
            self.states, self.score = states[by_first].astype(np.int64), end[best]
            self.previous.append(source[best])
            self.best_arc.append(arc[best])

    def _links(self, reached: tuple[Array, Array, Array], states: Array, numbers: Array,
               score: Array) -> tuple[Array, ...]:
        """Select a frame's links: arcs into active states within the output beam of the best arc into the same state.

        Args:
            reached: (index of the previous state, arc, score at its end) of all arcs followed in the frame.
            states: the states that are active after the frame, sorted.
            numbers: their numbers in the lattice's frame, which are indices of ``score``.
            score: their scores, indexed by number.

        Returns:
            index of the previous state, number of the next state, arc, score at its end.
        """
        source, arc, end = reached
        index = np.searchsorted(states, self.to[arc]).clip(max=len(states) - 1)
        to = numbers[index] if len(states) else index
        kept = np.flatnonzero(states[index] == self.to[arc]) if len(states) else index[:0]
        kept = kept[score[to[kept]] - end[kept] <= self.output_beam]
        return source[kept], to[kept], arc[kept], end[kept]

    def _choose_beam(self, near_end: bool) -> None:
        active, default = len(self.states), np.float32(self.cfg.search_beam)
        min_active = max(self.cfg.min_active, self.cfg.max_active // 2) if near_end else self.cfg.min_active
        if active > self.cfg.max_active:
            if not near_end:
                self.beam = np.float32(float(min(self.beam, default)) * 0.8)
        elif active >= min_active or not active:
            self.beam = np.float32(0.8 * float(self.beam) + 0.2 * float(default))
        else:
            self.beam = np.float32(float(max(self.beam, default)) * 1.25)

    def _ends(self) -> tuple[Array, Array, Array]:
        """(index of the active state, arc, score including the arc) of every arc into the final state."""
        source, arc = self._arcs_out()
        source, arc = source[self.label[arc] < 0], arc[self.label[arc] < 0]
        return source, arc, self.score[source] + self.score_of[arc]

    def path(self, to_end: bool, frames: int) -> BestPath | None:
        last = []
        if to_end:
            source, arc, end = self._ends()
            if not len(end):
                return None
            index, last = int(source[end.argmax()]), [int(arc[end.argmax()])]
            score = float(end.max())
        elif not len(self.states):
            return None
        else:
            index, score = int(self.score.argmax()), float(self.score.max())
        arcs = last
        for previous, best_arc in zip(reversed(self.previous), reversed(self.best_arc), strict=True):
            arcs.append(int(best_arc[index]))
            index = int(previous[index])
        return BestPath(np.array(arcs[::-1], np.int32), score, to_end)

    def links(self) -> tuple[Array, ...] | None:
        """As :meth:`CompiledSearch.links`."""
        source, arc, end = self._ends()
        if not end.max(initial=_NEVER) > _NEVER:
            return None
        frames = [*self.frames, (self.score, source, np.zeros(len(arc), np.int64), arc, end)]
        # backwards in time; for each state of the next frame: its score, and by how much the best path through it is
        # worse than the best path of the utterance
        next_score, next_extra, kept_frames = end.max(keepdims=True), np.zeros(1, np.float32), []
        for score, source, to, arc, end in reversed(frames):
            extra = next_extra[to] + (next_score[to] - end)
            kept = extra <= self.output_beam
            kept_frames.append((source[kept], to[kept], arc[kept], extra[kept]))
            next_score, next_extra = score, np.full(len(score), np.inf, np.float32)
            np.minimum.at(next_extra, source[kept], extra[kept])
        rows, base = [], 0
        for t, (source, to, arc, extra) in enumerate(reversed(kept_frames)):  # renumber the states that remain
            remaining, source = np.unique(source, return_inverse=True)
            to = np.unique(to, return_inverse=True)[1]
            rows.append((base + source, base + len(remaining) + to, arc, np.full(len(arc), t), extra))
            base += len(remaining)
        source, to, arc, frame, extra = (np.concatenate(x) for x in zip(*rows, strict=True))
        return *(x.astype(np.int32) for x in (source, to, arc, frame)), extra.astype(np.float32)

    def sizes(self) -> tuple[int, int]:
        return len(self.states), sum(map(len, self.best_arc))
