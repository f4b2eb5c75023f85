"""Lattices with one path for each word sequence.

A lattice of the search has many paths with the same words, which differ in times, pronunciations and states. Where
probabilities of words are computed from sums over paths, a word counts for more the more ways there are to align it.
That favours insertions: between two words there are many places for a third one. So all but the best alignment of each
word sequence are left out.

This is determinization of an acyclic weighted acceptor by the subset construction (Mohri 1997), with scores of the best
path, as in Kaldi's lattices (Povey et al. 2012, "Generating exact lattices in the WFST framework"). A new state is a
set of places in the lattice, each with the score of the best path to it with the words so far, relative to the best
place. Paths come in the order of their scores (A*), and those worse than the best one by more than a beam do not come.
"""

import ctypes
import heapq
import math

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import best_paths, path_scores, state_scores
from lstmp.native import array_at, library

BEAM = 10.0
MAX_ARCS = 100_000
_MOST_HALVINGS = 8
_PLACES = 20  # more places than this for each of `max_arcs` are too many
_SAME = 4096  # relative scores are compared in units of 1 / _SAME
_int = ctypes.c_int64

Scores = tuple[float, float, float]  # total, acoustic, graph


def determinized(lattice: Lattice, lm_weight: float, beam: float = BEAM, max_arcs: int = MAX_ARCS,
                 native: bool = True) -> Lattice:
    """The lattice with one path for each word sequence, whose arcs have a word each.

    Args:
        lattice: a lattice.
        lm_weight: acoustic scores are divided by it to find the best alignment of a word sequence.
        beam: of the word sequences whose score is lower than that of the best one by more than this, most are left
            out, and others may have a score that is too low.
        max_arcs: if there are more arcs than this, or more than 20 times as many places in the states, the beam is
            halved, again and again; in the end only the best path is kept.
        native: use the compiled form if it is available.

    Returns:
        a lattice for :func:`.state_scores`, :func:`.near_best` and :func:`.least_risk`: its states do not belong to
        frames, and its labels mean nothing, except -1 on arcs into the last state. Acoustic and graph scores are those
        of the best alignments.
    """
    if not lattice.num_arcs:
        return lattice
    total = lattice.acoustic.astype(np.float64) / lm_weight + lattice.graph
    backward = state_scores(lattice.arcs, total, False, native)[1]
    if not math.isfinite(backward[0]):
        return Lattice.empty()  # no path
    for _ in range(_MOST_HALVINGS):
        arcs, scores, words = (_compiled if native else _determinize)(lattice, total, backward, beam, max_arcs)
        if len(arcs) <= max_arcs:
            break
        beam /= 2
    else:
        path = best_paths(lattice, [(lm_weight, 0.0)])[0]
        return lattice.pruned(np.isin(np.arange(lattice.num_arcs), path)).renumbered()
    found = Lattice.assembled(arcs, scores[:, 0], scores[:, 1], words > 0, words[words > 0])
    # by rounding, a state at the edge of the beam may have no arcs
    through = path_scores(found.arcs, scores[:, 0] / lm_weight + scores[:, 1], native)[2]
    return found.pruned(np.isfinite(through)).renumbered()


def _compiled(lattice: Lattice, total: Array, backward: Array, beam: float,
              max_arcs: int) -> tuple[Array, Array, Array]:
    """:func:`_determinize`, compiled if possible."""
    if not (lib := library("decode/determinize.cpp", "-ffp-contract=off")):
        return _determinize(lattice, total, backward, beam, max_arcs)
    lib.lstmp_lattice_determinize.restype = _int
    of_lattice = np.ascontiguousarray(lattice.arcs, np.int32)
    parts = [np.ascontiguousarray(x) for x in (lattice.acoustic.astype(np.float64), lattice.graph.astype(np.float64),
                                               total, backward, lattice.num_words, lattice.words)]
    arcs, scores, words = np.empty((max_arcs, 3), np.int32), np.empty((max_arcs, 2)), np.empty(max_arcs, np.int32)
    count = lib.lstmp_lattice_determinize(
        array_at(of_lattice), _int(lattice.num_arcs), _int(lattice.num_states),
        *(array_at(x) for x in parts), ctypes.c_double(beam), _int(max_arcs),
        *(array_at(x) for x in (arcs, scores, words)))
    return (arcs[:count], scores[:count], words[:count]) if count <= max_arcs else (np.empty((count, 3)), scores, words)


class _Places:
    """The lattice as places: a state, or S + w before word w, in the middle of an arc."""

    def __init__(self, lattice: Lattice, total: Array, backward: Array):
        self.lattice, self.states, self.splits = lattice, lattice.num_states, lattice.word_splits
        self.backward = backward
        self.first = np.searchsorted(lattice.arcs[:, 0], np.arange(self.states + 1))
        self.arc_of = np.repeat(np.arange(lattice.num_arcs), lattice.num_words)
        self.scores = list(zip(total.tolist(), lattice.acoustic.tolist(), lattice.graph.tolist(), strict=True))

    def onwards(self, place: int) -> float:
        """Score of the best path from a place to the end."""
        in_arc = place >= self.states
        return float(self.backward[self.lattice.arcs[self.arc_of[place - self.states], 1] if in_arc else place])

    def after(self, word: int) -> int:
        """The place after a word."""
        arc = self.arc_of[word]
        return self.states + word + 1 if word + 1 < self.splits[arc + 1] else int(self.lattice.arcs[arc, 1])

    def expand(self, elements: list[tuple[int, Scores]],
               least: float) -> tuple[dict[int, dict[int, Scores]], Scores | None]:
        """Follow the arcs without words: (word → place after it → best scores, scores at the end of the lattice)."""
        live: dict[int, Scores] = {}
        emitted: dict[int, dict[int, Scores]] = {}
        end: Scores | None = None

        def reach(state: int, scores: Scores) -> None:
            if scores[0] + self.backward[state] >= least and (state not in live or scores[0] > live[state][0]):
                live[state] = scores

        def emit(word: int, scores: Scores) -> None:
            places, place = emitted.setdefault(int(self.lattice.words[word]), {}), self.after(word)
            if place not in places or scores[0] > places[place][0]:
                places[place] = scores

        for place, scores in elements:
            if place < self.states:
                reach(place, scores)
            elif scores[0] + self.onwards(place) >= least:
                emit(place - self.states, scores)
        while live:
            state = min(live)
            scores = live.pop(state)
            if state == self.states - 1:
                end = scores
            for arc in range(self.first[state], self.first[state + 1]):
                on, to = _add(scores, self.scores[arc]), int(self.lattice.arcs[arc, 1])
                if not self.lattice.num_words[arc]:
                    reach(to, on)
                elif on[0] + self.backward[to] >= least:
                    emit(self.splits[arc], on)
        return emitted, end


def _add(a: Scores, b: Scores, sign: float = 1.0) -> Scores:
    return a[0] + sign * b[0], a[1] + sign * b[1], a[2] + sign * b[2]


def _determinize(lattice: Lattice, total: Array, backward: Array, beam: float,
                 max_arcs: int) -> tuple[Array, Array, Array]:
    """Arcs int32 [A, 3], acoustic and graph scores float64 [A, 2], words int32 [A], 0 on arcs into the last state.

    ``total`` and ``backward`` are the scores of the lattice's arcs, and those of the best paths from its states. If
    there are more than ``max_arcs`` new arcs, the first array is longer than that, and the contents mean nothing.
    """
    places = _Places(lattice, total, backward)
    least = backward[0] - beam
    numbers: dict[tuple[tuple[int, int, int], ...], int] = {}
    elements: list[list[tuple[int, Scores]]] = []
    forward: list[float] = []
    leaving: dict[int, list[tuple[int, int, Scores]]] = {}
    queue: list[tuple[float, int]] = []
    count = kept = 0

    def state_of(of_state: list[tuple[int, Scores]]) -> int:
        nonlocal kept
        key = tuple((place, round(scores[0] * _SAME), round(scores[1] * _SAME)) for place, scores in of_state)
        if key not in numbers:
            kept += len(of_state)
            numbers[key] = len(elements)
            elements.append(of_state)
            forward.append(-math.inf)
        return numbers[key]

    def reach(state: int, score: float) -> None:
        if score > forward[state]:
            forward[state] = score
            if state not in leaving:
                onwards = max(scores[0] + places.onwards(place) for place, scores in elements[state])
                heapq.heappush(queue, (-score - onwards, state))

    reach(state_of([(0, (0.0, 0.0, 0.0))]), 0.0)
    while queue:  # the best path first, so that a state's forward score is final when it is taken
        state = heapq.heappop(queue)[1]
        if state in leaving:
            continue
        emitted, end = places.expand(elements[state], least - forward[state])
        arcs = [(0, -1, end)] if end else []
        for word, found in sorted(emitted.items()):
            best = max(found.values())
            arcs.append((word, state_of([(p, _add(found[p], best, -1.0)) for p in sorted(found)]), best))
        count += len(arcs)
        leaving[state] = arcs
        if count > max_arcs or kept > _PLACES * max_arcs:
            count = max(count, max_arcs + 1)
            return np.empty((count, 3)), np.empty((count, 2)), np.empty(count)
        for word, to, scores in arcs:
            if word:
                reach(to, forward[state] + scores[0])
    order = {state: i for i, state in enumerate(_topological(leaving))}
    rows = [(order[state], order[to] if word else len(order), 0 if word else -1, word, *scores[1:])
            for state in order for word, to, scores in leaving.get(state, [])]
    table = np.array(rows, np.float64).reshape(-1, 6)
    return table[:, :3].astype(np.int32), table[:, 4:], table[:, 3].astype(np.int32)


def _topological(leaving: dict[int, list[tuple[int, int, Scores]]]) -> list[int]:
    """The states that are reached, each before those that its arcs lead to."""
    order, seen, stack = [], {0}, [(0, iter(leaving[0]))]
    while stack:
        state, arcs = stack[-1]
        for word, to, _ in arcs:
            if word and to not in seen:
                seen.add(to)
                stack.append((to, iter(leaving.get(to, []))))
                break
        else:
            order.append(state)
            stack.pop()
    return order[::-1]
