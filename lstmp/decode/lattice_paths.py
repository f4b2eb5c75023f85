"""Best paths, forward and backward scores, posteriors and means of lattices: compiled (lattice.cpp), and in NumPy.

The arcs of a lattice are sorted by from-state and lead from the states of one frame to those of the next. State 0 is
the first, the highest state is the last. The NumPy form works frame by frame; it is the reference of the compiled form,
with the same results, and its replacement if there is no compiler.
"""

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.lattice import Lattice
from lstmp.errors import UserError
from lstmp.native import array_at, library

_EXACT = "-ffp-contract=off"  # so that scores are rounded as in NumPy and k2
_int = ctypes.c_int64


def lattice_library() -> ctypes.CDLL | None:
    """lattice.cpp, compiled; None if it cannot be compiled."""
    return library("decode/lattice.cpp", _EXACT)


def frame_slices(arcs: Array) -> Iterator[slice]:
    """The slices of ``arcs``, [A, 3], that belong to each frame of a lattice, in turn."""
    source, begin, last = arcs[:, 0], 0, 0  # `last`: the highest state of the frame
    while begin < len(arcs):
        end = int(np.searchsorted(source, source.dtype.type(last), "right"))  # another dtype would copy the whole array
        if end == begin:
            raise UserError("a lattice has a state without incoming arcs", hint="decode again")
        yield slice(begin, end)
        begin, last = end, int(arcs[begin:end, 1].max())


def _unconnected_slices(arcs: Array) -> Iterator[slice]:
    """Slices of ``arcs``, [A, 3], in turn, in none of which a path has two arcs; from-states may have any gaps."""
    source, begin = np.ascontiguousarray(arcs[:, 0]), 0
    while begin < len(arcs):
        end, lowest = begin + 1, arcs[begin, 1]
        while (further := int(np.searchsorted(source, lowest))) != end:
            end, lowest = further, arcs[begin:further, 1].min()
        yield slice(begin, end)
        begin = end


def state_scores(arcs: Array, scores: Array, log: bool, native: bool = True) -> tuple[Array, Array]:
    """Forward and backward scores of all states: of the paths from the first state to it, and from it to the last one.

    Args:
        arcs: int32 [A, 3], A > 0, from lower to higher states; not necessarily from frame to frame.
        scores: [A], natural logarithms.
        log: whether to sum over all paths (log of the sum of the exponentials), or to take the best path.
        native: use the compiled form if it is available.

    Returns:
        forward and backward scores, float64 [S] each.
    """
    states, scores = int(arcs[:, 1].max()) + 1, np.ascontiguousarray(scores, np.float64)
    if native and (lib := lattice_library()):
        arcs, forward, backward = np.ascontiguousarray(arcs, np.int32), np.empty(states), np.empty(states)
        lib.lstmp_lattice_scores(array_at(arcs), _int(len(arcs)), _int(states), array_at(scores), _int(log),
                                 array_at(forward), array_at(backward))
        return forward, backward
    add = np.logaddexp if log else np.maximum
    forward, backward = np.full(states, -np.inf), np.full(states, -np.inf)
    forward[0] = backward[-1] = 0.0
    parts = list(_unconnected_slices(arcs))
    for part in parts:
        add.at(forward, arcs[part, 1], forward[arcs[part, 0]] + scores[part])
    for part in reversed(parts):
        add.at(backward, arcs[part, 0], scores[part] + backward[arcs[part, 1]])
    return forward, backward


def path_scores(arcs: Array, scores: Array, native: bool = True) -> tuple[Array, Array, Array]:
    """Best scores up to each arc, from it to the end (both including the arc), and through it, float64 [A] each."""
    forward, backward = state_scores(arcs, scores, False, native)
    up_to, onwards = forward[arcs[:, 0]] + scores, scores + backward[arcs[:, 1]]
    return up_to, onwards, up_to + backward[arcs[:, 1]]


def state_means(arcs: Array, scores: Array, values: Array, forward: Array, backward: Array,
                native: bool = True) -> tuple[Array, Array]:
    """For each state, the mean over paths of the sum of ``values`` on their arcs, weighted with their probabilities.

    Args:
        arcs: int32 [A, 3], A > 0.
        scores, values: [A].
        forward, backward: the result of :func:`state_scores` with ``log``.
        native: use the compiled form if it is available.

    Returns:
        that of the paths from the first state to it, and that of the paths from it to the last state, float64 [S] each;
        0 for states that no path reaches.
    """
    scores, values = (np.ascontiguousarray(x, np.float64) for x in (scores, values))
    before, after = np.zeros(len(forward)), np.zeros(len(forward))
    if native and (lib := lattice_library()):
        arcs = np.ascontiguousarray(arcs, np.int32)
        lib.lstmp_lattice_means(array_at(arcs), _int(len(arcs)), _int(len(forward)), *map(array_at, (
            scores, values, forward, backward, before, after)))
        return before, after
    source, to = arcs[:, 0], arcs[:, 1]
    with np.errstate(invalid="ignore"):  # of two infinities
        share_in = np.nan_to_num(np.exp(forward[source] + scores - forward[to]))
        share_out = np.nan_to_num(np.exp(scores + backward[to] - backward[source]))
    frames = list(frame_slices(arcs))
    for part in frames:
        np.add.at(before, to[part], share_in[part] * (before[source[part]] + values[part]))
    for part in reversed(frames):
        np.add.at(after, source[part], share_out[part] * (values[part] + after[to[part]]))
    return before, after


def arc_posteriors(lattice: Lattice, acoustic_scale: float, native: bool = True) -> Array:
    """The posterior probability of each arc, float64 [A]. A path's probability is proportional to exp(its score)."""
    scores = (lattice.acoustic * np.float32(acoustic_scale) + lattice.graph).astype(np.float64)
    forward, backward = state_scores(lattice.arcs, scores, True, native)
    posteriors: Array = np.exp(forward[lattice.arcs[:, 0]] + scores + backward[lattice.arcs[:, 1]] - backward[0])
    return posteriors


def best_paths(lattice: Lattice, points: Sequence[tuple[float, float]], native: bool = True) -> Array:
    """The best path of a lattice at each point of a grid of LM weights and word penalties.

    As in Kaldi, a path's score is  acoustic / LMWT + graph - WIP · (number of words):  the LM weight scales the graph's
    scores against the acoustic ones.

    Args:
        lattice: of one utterance of T frames.
        points: pairs (LM weight, word insertion penalty).
        native: use the compiled form if it is available.

    Returns:
        int32 [points, T + 1], the arc numbers of each path. If several paths are equally good, it is the one that k2
        returns.

    Raises:
        UserError: the lattice has no path.
    """
    weights, penalties = np.array(points, np.float64).reshape(-1, 2).astype(np.float32).T.copy()
    length = sum(1 for _ in frame_slices(lattice.arcs))
    out = np.empty((len(weights), length), np.int32)
    if native and (lib := lattice_library()):
        parts = [np.ascontiguousarray(x) for x in (lattice.arcs, lattice.acoustic, lattice.graph, lattice.num_words)]
        failed = lib.lstmp_lattice_best(
            array_at(parts[0]), _int(lattice.num_arcs), _int(lattice.num_states), *map(array_at, parts[1:]),
            _int(len(out)), array_at(weights), array_at(penalties), _int(length), array_at(out))
    else:
        failed = not all(_best_path(lattice, w, p, row) for w, p, row in zip(weights, penalties, out, strict=True))
    if failed or not length:
        raise UserError("a lattice has no path", hint="decode again")
    return out


def _best_path(lattice: Lattice, lm_weight: np.float32, penalty: np.float32, out: Array) -> bool:
    """Fill ``out`` with the arcs of the best path. Returns False if there is none."""
    arcs, states = lattice.arcs, lattice.num_states
    scores = (lattice.acoustic / lm_weight + lattice.graph) - penalty * lattice.num_words.astype(np.float32)
    best, best_arc = np.full(states, -np.inf), np.full(states, -1)
    best[0] = 0.0
    for part in frame_slices(arcs):
        to, end = arcs[part, 1], best[arcs[part, 0]] + scores[part]
        order = np.lexsort((np.arange(len(to)), end, to))  # the best arc of each state is last; of equals, the last one
        last = order[np.flatnonzero(np.diff(to[order], append=-1))]
        best[to[last]], best_arc[to[last]] = end[last], part.start + last
    state = states - 1
    if best[state] == -np.inf:
        return False
    for i in reversed(range(len(out))):
        out[i] = best_arc[state]
        if out[i] < 0:
            return False
        state = arcs[out[i], 0]
    return state == 0
