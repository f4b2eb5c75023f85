"""The search itself: which states of the graph live in which frame. Compiled (search.cpp), and in NumPy.

The rules are those of k2's ``intersect_dense_pruned``, so that the same states live, and the scores are the same to the
last bit. A state lives if its score lies above  best - beam;  the beam goes back to ``search_beam`` by a fifth of the
way a frame, and is multiplied by 0.8 in a frame that begins with more than ``max_active`` states, by 1.25 in one with
less than ``min_active``. In the last four frames (:data:`NEAR_END`) the least number is half of ``max_active``, if that
is more, and the beam does not shrink, so that an end is reached. Scores are added in float32 and in k2's order.

A lattice holds the arcs between living states that are on paths within ``output_beam`` of the best one, as k2's does;
among them are arcs whose own score lies below the beam, where another one has brought their state above it (Kaldi has
not these).

The compiled search takes less than half of k2's time: it keeps a token a state in plain arrays, where k2, made for many
utterances at once on a GPU, builds ragged tensors for every frame.
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
    """The arrays of a graph, shared by all searches in it.

    Attributes:
        arcs: int32 [A, 4], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of
            the float32 score; sorted by from-state, as :class:`lstmp.graph.epsilon_free.SearchArcs` has them.
        first: int32 [S + 1], the arcs out of state s are first[s] to first[s + 1].
        word_splits, words: the words of arc a are words[word_splits[a]:word_splits[a + 1]].
        num_pdfs: the pdf-ids of the model.
    """

    arcs: Array
    first: Array
    word_splits: Array
    words: Array
    num_pdfs: int

    @classmethod
    def of(cls, arcs: Array, word_splits: Array, words: Array, num_pdfs: int) -> "SearchGraph":
        """From the arrays of a graph file, or of a ``k2.Fsa``."""
        arcs, word_splits, words = (np.ascontiguousarray(x, dtype=np.int32) for x in (arcs, word_splits, words))
        source = arcs[:, 0]
        if (np.diff(source) < 0).any():
            raise UserError("its arcs are not sorted by state", hint="make the graph again")
        states = int(arcs[:, :2].max()) + 1
        first = np.zeros(states + 1, dtype=np.int32)
        np.cumsum(np.bincount(source, minlength=states), out=first[1:])
        real = words > 0  # k2 has -1 on last arcs, and may have 0
        before = np.concatenate([[0], np.cumsum(real, dtype=np.int32)])
        return cls(arcs, first, before[word_splits].astype(np.int32), words[real], num_pdfs)

    @classmethod
    def load(cls, graph_dir: Path | str) -> "SearchGraph":
        """Read the graph of a folder that ``make_graph`` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        arcs, splits, words, num_pdfs = read_graph_file(Path(graph_dir))
        # copied from the mapped file to memory that has large pages: the search jumps about in it
        return cls.of(arcs.numpy().copy(), splits.numpy(), words.numpy(), num_pdfs)

    @functools.cached_property
    def scores(self) -> Array:
        """float32 [A]."""
        return self.arcs[:, 3].view(np.float32)

    def words_on(self, path: Array) -> list[tuple[int, int]]:
        """(position in the path, word id) of every word that the arcs of a path emit."""
        out = []
        begin, end = self.word_splits[path], self.word_splits[path + 1]
        for i in np.flatnonzero(end > begin):
            out += [(int(i), int(w)) for w in self.words[begin[i]:end[i]]]
        return out

    def with_penalty(self, word_penalty: float) -> "SearchGraph":
        """The graph with a penalty subtracted for each word."""
        if not word_penalty:
            return self
        arcs = self.arcs.copy()
        arcs[:, 3].view(np.float32)[:] -= np.float32(word_penalty) * np.diff(self.word_splits).astype(np.float32)
        return dataclasses.replace(self, arcs=arcs)


def check_scores(loglikes: torch.Tensor) -> None:
    """Insist on log-likelihoods that can be searched with; -inf is allowed.

    Raises:
        UserError: NaN or +infinity among them.
    """
    if bool(loglikes.isnan().any()) or bool((loglikes == float("inf")).any()):
        raise UserError("NaN or +infinity among the acoustic scores")


@dataclass(frozen=True)
class BestPath:
    """A path through the graph.

    Attributes:
        arcs: int32 [T], or [T + 1] where it ends in a final state.
        score: acoustic, scaled, plus graph.
        final: whether it ends in a final state.
    """

    arcs: Array
    score: float
    final: bool


def compiled() -> ctypes.CDLL | None:
    found = library("decode/search.cpp", "-ffp-contract=off")  # sums are rounded as NumPy's
    if found is not None:
        found.lstmp_search_new.restype = ctypes.c_void_p
        found.lstmp_search_path.restype = found.lstmp_search_lattice.restype = ctypes.c_int64
    return found


class Compiled:
    """search.cpp; with an ``output_beam`` it makes lattices."""

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, output_beam: float = -1.0):
        lib = compiled()
        assert lib is not None
        self._lib, self._graph = lib, graph  # the graph's arrays must live as long
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
        """The lattice, after the last frame: from-state, to-state, arc of the graph, frame, and how much worse than the
        best path the best one through it is; None: no path reaches a final state."""
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
    """Where the numbers of an array lie; the array must outlive the call that this is given to."""
    return ctypes.c_void_p(x.ctypes.data)


class Plain:
    """The same in NumPy, its reference, and what searches where there is no compiler; it forgets no history."""

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, output_beam: float = -1.0):
        self.graph, self.cfg, self.output_beam = graph, cfg, np.float32(output_beam)
        self.to, self.label, self.score_of = graph.arcs[:, 1], graph.arcs[:, 2], graph.scores
        self.reset()

    def reset(self) -> None:
        self.states, self.score = np.zeros(1, np.int64), np.zeros(1, np.float32)
        self.beam = np.float32(self.cfg.search_beam)
        self.before: list[Array] = []  # per frame: index of the state before
        self.by: list[Array] = []  # per frame: arc
        # for a lattice, per frame: the scores of its states, and the links out of them
        self.frames: list[tuple[Array, ...]] = []

    def _arcs_out(self) -> tuple[Array, Array]:
        """(index of the living state, arc) of every arc out of one."""
        first = self.graph.first
        return pairs(np.arange(len(self.states)), first[self.states], first[self.states + 1])

    def advance(self, rows: Array, near_end: int) -> None:
        for t, row in enumerate(rows):
            source, arc = self._arcs_out()
            label = self.label[arc]
            acoustic = np.where(label > 0, row[np.maximum(label, 1) - 1], _NEVER)
            end = self.score[source] + (acoustic + self.score_of[arc])
            self._choose_beam(t >= len(rows) - near_end)
            ways = source, arc, end
            kept = np.flatnonzero(end > end.max(initial=_NEVER) - self.beam)
            source, arc, end = source[kept], arc[kept], end[kept]
            # the states of a frame are numbered as they are reached, as in search.cpp
            states, first, number = np.unique(self.to[arc], return_index=True, return_inverse=True)
            by_first = np.argsort(first)
            place = np.argsort(by_first)[number.reshape(-1)]
            order = np.lexsort((-end, place))
            best = order[np.flatnonzero(np.diff(place[order], prepend=-1))]
            if self.output_beam >= 0:
                self.frames.append((self.score, *self._links(ways, states, np.argsort(by_first), end[best])))
            self.states, self.score = states[by_first].astype(np.int64), end[best]
            self.before.append(source[best])
            self.by.append(arc[best])

    def _links(self, ways: tuple[Array, Array, Array], states: Array, place: Array,
               score: Array) -> tuple[Array, ...]:
        """Of ``ways``, (index of the state before, arc, score at the end), those that lead to living ``states``, whose
        numbers are ``place``, and are within the output beam of the best into them; with the number after the first."""
        source, arc, end = ways
        at = np.searchsorted(states, self.to[arc]).clip(max=len(states) - 1)
        to = place[at] if len(states) else at
        on = np.flatnonzero(states[at] == self.to[arc]) if len(states) else at[:0]
        on = on[score[to[on]] - end[on] <= self.output_beam]
        return source[on], to[on], arc[on], end[on]

    def _choose_beam(self, near_end: bool) -> None:
        active, default = len(self.states), np.float32(self.cfg.search_beam)
        least = max(self.cfg.min_active, self.cfg.max_active // 2) if near_end else self.cfg.min_active
        if active > self.cfg.max_active:
            if not near_end:
                self.beam = np.float32(float(min(self.beam, default)) * 0.8)
        elif active >= least or not active:
            self.beam = np.float32(0.8 * float(self.beam) + 0.2 * float(default))
        else:
            self.beam = np.float32(float(max(self.beam, default)) * 1.25)

    def _ends(self) -> tuple[Array, Array, Array]:
        """(index of the living state, arc, score with it) of every arc into the final state."""
        source, arc = self._arcs_out()
        source, arc = source[self.label[arc] < 0], arc[self.label[arc] < 0]
        return source, arc, self.score[source] + self.score_of[arc]

    def path(self, to_end: bool, frames: int) -> BestPath | None:
        last = []
        if to_end:
            source, arc, end = self._ends()
            if not len(end):
                return None
            at, last = int(source[end.argmax()]), [int(arc[end.argmax()])]
            score = float(end.max())
        elif not len(self.states):
            return None
        else:
            at, score = int(self.score.argmax()), float(self.score.max())
        arcs = last
        for before, by in zip(reversed(self.before), reversed(self.by), strict=True):
            arcs.append(int(by[at]))
            at = int(before[at])
        return BestPath(np.array(arcs[::-1], np.int32), score, to_end)

    def links(self) -> tuple[Array, ...] | None:
        """As :meth:`Compiled.links`."""
        source, arc, end = self._ends()
        if not end.max(initial=_NEVER) > _NEVER:
            return None
        frames = [*self.frames, (self.score, source, np.zeros(len(arc), np.int64), arc, end)]
        # backwards; of each state of the frame after: its score, and how much worse the best path through it is than
        # the best of all
        after_score, after, kept = end.max(keepdims=True), np.zeros(1, np.float32), []
        for score, source, to, arc, end in reversed(frames):
            extra = after[to] + (after_score[to] - end)
            on = extra <= self.output_beam
            kept.append((source[on], to[on], arc[on], extra[on]))
            after_score, after = score, np.full(len(score), np.inf, np.float32)
            np.minimum.at(after, source[on], extra[on])
        rows, base = [], 0
        for t, (source, to, arc, extra) in enumerate(reversed(kept)):  # numbered anew, without the states that went
            here, source = np.unique(source, return_inverse=True)
            to = np.unique(to, return_inverse=True)[1]
            rows.append((base + source, base + len(here) + to, arc, np.full(len(arc), t), extra))
            base += len(here)
        source, to, arc, frame, extra = (np.concatenate(x) for x in zip(*rows, strict=True))
        return *(x.astype(np.int32) for x in (source, to, arc, frame)), extra.astype(np.float32)

    def sizes(self) -> tuple[int, int]:
        return len(self.states), sum(map(len, self.by))
