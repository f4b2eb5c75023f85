"""The beam search of :mod:`lstmp.decode.engine` in NumPy."""

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.search_graph import BestPath, SearchGraph
from lstmp.graph.bundles import scores_in
from lstmp.graph.ranges import pairs

_NEVER = np.float32(-np.inf)


class NumpySearch:
    """The same search in NumPy: the reference of the compiled one, and its replacement if there is no compiler.

    It never discards history.
    """

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, output_beam: float = -1.0):
        self.graph, self.cfg, self.output_beam = graph, cfg, np.float32(output_beam)
        arcs, _, _ = graph.flat
        self.to, self.label, self.score_of = arcs[:, 1], arcs[:, 2], scores_in(arcs)
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
            order = np.lexsort((arc, -end, place))  # of equally good arcs the first one of the graph
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
            best = np.lexsort((arc, -end))[0]
            index, last, score = int(source[best]), [int(arc[best])], float(end[best])
        elif not len(self.states):
            return None
        else:
            index = int(np.lexsort((self.states, -self.score))[0])
            score = float(self.score[index])
        arcs = last
        for previous, best_arc in zip(reversed(self.previous), reversed(self.best_arc), strict=True):
            arcs.append(int(best_arc[index]))
            index = int(previous[index])
        return BestPath(np.array(arcs[::-1], np.int32), score, to_end)

    def settled(self) -> int:
        """As :meth:`lstmp.decode.engine.CompiledSearch.settled`."""
        level, frames = np.arange(len(self.states)), len(self.previous)
        while frames and len(level) > 1:
            frames -= 1
            level = np.unique(self.previous[frames][level])
        return frames if len(level) else 0

    def shares(self, to_end: bool, frames: int) -> Array:
        """As :meth:`lstmp.decode.engine.CompiledSearch.shares`."""
        score = self.score
        if to_end:
            source, _, end = self._ends()
            score = np.full(len(self.states), _NEVER)
            np.maximum.at(score, source, end)
        if not len(score) or score.max() == _NEVER:
            return np.zeros(0, np.float32)
        index = int(score.argmax())
        weights, shares = np.exp(score.astype(np.float64) - float(score[index])), []
        before = [1, *map(len, self.previous)][:-1]  # number of states before each frame
        for previous, states in zip(reversed(self.previous), reversed(before), strict=True):
            shares.append(weights[index] / weights.sum())
            index, weights = int(previous[index]), np.bincount(previous, weights, states)
        return np.array(shares[::-1], np.float32)

    def links(self) -> tuple[Array, ...] | None:
        """As :meth:`lstmp.decode.engine.CompiledSearch.links`."""
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
