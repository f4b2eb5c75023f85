"""The search while the speech comes in: frames in pieces of any length, the best path so far at any time.

The result is that of :mod:`lstmp.decode.search` for the whole utterance with the same beams, to the last bit of its
score: the same states live in every frame, by k2's rule (``intersect_dense_pruned``). A state lives if its score lies
above  best - beam;  the beam goes back to ``search_beam`` by a fifth of the way a frame, and is multiplied by 0.8 in a
frame that begins with more than ``max_active`` states, by 1.25 in one with less than ``min_active``. In the last four
frames the least number is half of ``max_active``, if that is more, and the beam does not shrink, so that an end is
reached: four frames are therefore held back until it is known that more follow. Scores are added in float32 and in
k2's order.

k2 itself has an ``OnlineDenseIntersecter``. In 1.23.4, the release that PyPI has, it loses the best path at the borders
of the pieces (k2 issue 1194), and it works through all frames since the start with every piece. Here only the best
arc into each living state is kept, and what no living state comes from is forgotten from time to time: a second of
speech costs the same after an hour as at the start. Lattices are the price: for these, search the whole utterance.
"""

import ctypes
import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp.decode.config import SearchConfig
from lstmp.errors import UserError
from lstmp.graph.graph_file import read_graph_file
from lstmp.native import library

NEAR_END = 4  # frames
_NEVER = np.float32(-np.inf)


@dataclass(frozen=True, eq=False)
class SearchGraph:
    """The arrays of a graph, shared by all searches in it.

    Attributes:
        arcs: int32 [A, 4], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of
            the float32 score; sorted by from-state, as :func:`lstmp.graph.k2_graph.to_k2` leaves them.
        first: int32 [S + 1], the arcs out of state s are first[s] to first[s + 1].
        word_splits, words: the words of arc a are words[word_splits[a]:word_splits[a + 1]]; -1 on the last arcs.
        num_pdfs: the pdf-ids of the model.
    """

    arcs: np.ndarray
    first: np.ndarray
    word_splits: np.ndarray
    words: np.ndarray
    num_pdfs: int

    @classmethod
    def of(cls, arcs, word_splits, words, num_pdfs: int) -> "SearchGraph":
        """From the arrays of a graph file, or of a ``k2.Fsa``."""
        arcs, word_splits, words = (np.ascontiguousarray(x, dtype=np.int32) for x in (arcs, word_splits, words))
        source = arcs[:, 0]
        if (np.diff(source) < 0).any():
            raise UserError("its arcs are not sorted by state", mend="make the graph again")
        states = int(arcs[:, :2].max()) + 1
        first = np.zeros(states + 1, dtype=np.int32)
        np.cumsum(np.bincount(source, minlength=states), out=first[1:])
        return cls(arcs, first, word_splits, words, num_pdfs)

    @classmethod
    def load(cls, graph_dir) -> "SearchGraph":
        """Read the graph of a folder that ``make_graph`` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        arcs, splits, words, num_pdfs = read_graph_file(Path(graph_dir))
        return cls.of(arcs.numpy(), splits.numpy(), words.numpy(), num_pdfs)

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """float32 [A]."""
        return self.arcs[:, 3].view(np.float32)

    def words_on(self, path: np.ndarray) -> list[tuple[int, int]]:
        """(position in the path, word id) of every word that the arcs of a path emit."""
        out = []
        begin, end = self.word_splits[path], self.word_splits[path + 1]
        for i in np.flatnonzero(end > begin):
            out += [(int(i), int(w)) for w in self.words[begin[i]:end[i]] if w > 0]
        return out

    def with_penalty(self, word_penalty: float) -> "SearchGraph":
        """The graph with a penalty subtracted for each word."""
        if not word_penalty:
            return self
        real = np.concatenate([[0], np.cumsum(self.words > 0)])[self.word_splits]
        arcs = self.arcs.copy()
        arcs[:, 3].view(np.float32)[:] -= np.float32(word_penalty) * np.diff(real).astype(np.float32)
        return dataclasses.replace(self, arcs=arcs)


@dataclass(frozen=True)
class BestPath:
    """A path through the graph.

    Attributes:
        arcs: int32 [T], or [T + 1] where it ends in a final state.
        score: acoustic, scaled, plus graph.
        final: whether it ends in a final state.
    """

    arcs: np.ndarray
    score: float
    final: bool


class OnlineSearch:
    """One search; :meth:`accept` any number of times, then :meth:`finish`; then it may begin anew with :meth:`reset`.

    Args:
        graph: where to search.
        cfg: beams and acoustic scale; ``output_beam`` and ``retries`` have no meaning here.
        compiled: use the compiled search where it can be had; the other one is slower, and its reference.
    """

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, compiled: bool = True):
        self.graph, self.cfg = graph, cfg
        self._engine = (_Compiled if compiled and _compiled() else _Plain)(graph, cfg)
        self.reset()

    def reset(self):
        """Forget all frames."""
        self._engine.reset()
        self._held = torch.zeros(0, self.graph.num_pdfs)
        self.frames = 0  # accepted

    def accept(self, loglikes: torch.Tensor):
        """Take more frames: [T, P] acoustic log-likelihoods, unscaled; T may be 0.

        Raises:
            UserError: NaN among them, or another number of pdfs than the graph's.
        """
        if loglikes.dim() != 2 or loglikes.shape[1] != self.graph.num_pdfs:
            raise UserError(f"scores of shape {list(loglikes.shape)}, the graph has {self.graph.num_pdfs} pdfs",
                            mend="give the graph of this model")
        if bool(loglikes.isnan().any()) or bool((loglikes == float("inf")).any()):
            raise UserError("NaN or +infinity among the acoustic scores")
        self.frames += len(loglikes)
        rows = torch.cat([self._held, loglikes.float() * self.cfg.acoustic_scale])
        sure = max(len(rows) - NEAR_END, 0)
        self._engine.advance(rows[:sure].contiguous().numpy(), 0)
        self._held = rows[sure:].clone()

    def best(self) -> BestPath:
        """The best path so far, four frames behind what was accepted; it need not end in a final state."""
        return self._engine.path(False, self.frames) or BestPath(np.zeros(0, np.int32), 0.0, False)

    def finish(self) -> BestPath:
        """The best path to a final state, after the last frame; where none is reached, the best path of all.

        Raises:
            UserError: no frame was accepted, or no path is left.
        """
        if not self.frames:
            raise UserError("no frame to decode")
        self._engine.advance(self._held.contiguous().numpy(), len(self._held))
        self._held = self._held[:0]
        found = self._engine.path(True, self.frames) or self._engine.path(False, self.frames)
        if found is None:
            raise UserError(f"no path survives a search beam of {self.cfg.search_beam:g}", mend="raise search_beam")
        return found

    def sizes(self) -> tuple[int, int]:
        """Living states, and entries of the history that are kept: what the memory goes with."""
        return self._engine.sizes()


def _compiled():
    found = library("decode/online.cpp")
    if found is not None:
        found.lstmp_online_new.restype = ctypes.c_void_p
        found.lstmp_online_path.restype = ctypes.c_int64
    return found


class _Compiled:
    """online.cpp."""

    def __init__(self, graph: SearchGraph, cfg: SearchConfig):
        self._lib, self._graph = _compiled(), graph  # the graph's arrays must live as long
        self._search = ctypes.c_void_p(self._lib.lstmp_online_new(
            _at(graph.arcs), _at(graph.first), _int(len(graph.first) - 1), ctypes.c_float(cfg.search_beam),
            _int(cfg.min_active), _int(cfg.max_active)))

    def __del__(self):
        if getattr(self, "_search", None):
            self._lib.lstmp_online_free(self._search)

    def reset(self):
        self._lib.lstmp_online_reset(self._search)

    def advance(self, rows: np.ndarray, near_end: int):
        self._lib.lstmp_online_advance(self._search, _at(rows), _int(len(rows)), _int(rows.shape[1]), _int(near_end))

    def path(self, to_end: bool, frames: int) -> BestPath | None:
        arcs, score = np.empty(frames + 1, np.int32), ctypes.c_float()
        n = self._lib.lstmp_online_path(self._search, _int(to_end), _int(len(arcs)), _at(arcs), ctypes.byref(score))
        return None if n < 0 else BestPath(arcs[:n][::-1].copy(), score.value, to_end)

    def sizes(self) -> tuple[int, int]:
        out = np.zeros(2, np.int64)
        self._lib.lstmp_online_sizes(self._search, _at(out))
        return int(out[0]), int(out[1])


_int = ctypes.c_int64


def _at(x: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.ctypes.data)


class _Plain:
    """The same in NumPy; it forgets no history."""

    def __init__(self, graph: SearchGraph, cfg: SearchConfig):
        self.graph, self.cfg = graph, cfg
        self.to, self.label, self.score_of = graph.arcs[:, 1], graph.arcs[:, 2], graph.scores

    def reset(self):
        self.states, self.score = np.zeros(1, np.int64), np.zeros(1, np.float32)
        self.beam = np.float32(self.cfg.search_beam)
        self.before, self.by = [], []  # per frame: index of the state before, arc

    def _arcs_out(self):
        """(index of the living state, arc) of every arc out of one."""
        first = self.graph.first
        count = first[self.states + 1] - first[self.states]
        source = np.repeat(np.arange(len(self.states)), count)
        return source, np.arange(len(source)) + np.repeat(first[self.states] - np.cumsum(count) + count, count)

    def advance(self, rows: np.ndarray, near_end: int):
        for t, row in enumerate(rows):
            source, arc = self._arcs_out()
            label = self.label[arc]
            acoustic = np.where(label > 0, row[np.maximum(label, 1) - 1], _NEVER)
            end = self.score[source] + (acoustic + self.score_of[arc])
            self._choose_beam(t >= len(rows) - near_end)
            kept = np.flatnonzero(end > end.max(initial=_NEVER) - self.beam)
            order = kept[np.lexsort((-end[kept], self.to[arc[kept]]))]
            best = order[np.flatnonzero(np.diff(self.to[arc[order]], prepend=-1))]
            self.states, self.score = self.to[arc[best]].astype(np.int64), end[best]
            self.before.append(source[best])
            self.by.append(arc[best])

    def _choose_beam(self, near_end: bool):
        active, default = len(self.states), np.float32(self.cfg.search_beam)
        least = max(self.cfg.min_active, self.cfg.max_active // 2) if near_end else self.cfg.min_active
        if active > self.cfg.max_active:
            if not near_end:
                self.beam = np.float32(float(min(self.beam, default)) * 0.8)
        elif active >= least or not active:
            self.beam = np.float32(0.8 * float(self.beam) + 0.2 * float(default))
        else:
            self.beam = np.float32(float(max(self.beam, default)) * 1.25)

    def path(self, to_end: bool, frames: int) -> BestPath | None:
        last = []
        if to_end:
            source, arc = self._arcs_out()
            source, arc = source[self.label[arc] < 0], arc[self.label[arc] < 0]
            end = self.score[source] + self.score_of[arc]
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

    def sizes(self) -> tuple[int, int]:
        return len(self.states), sum(map(len, self.by))
