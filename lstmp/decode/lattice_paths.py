"""Best paths and scores of lattices: compiled (lattice.cpp), and in NumPy, with the same results.

The arcs of a lattice are sorted by from-state and lead from the states of one frame to those of the next, state 0 being
the first and the highest the last. The NumPy form works frame by frame; it is the reference of the compiled one, and
does its work where there is no compiler.
"""

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.engine import array_at
from lstmp.decode.lattice import Lattice
from lstmp.errors import UserError
from lstmp.native import library

_EXACT = "-ffp-contract=off"  # scores are rounded as NumPy's and k2's are
_int = ctypes.c_int64


def compiled() -> ctypes.CDLL | None:
    """The compiled form, or None where it cannot be had."""
    return library("decode/lattice.cpp", _EXACT)


def frame_slices(arcs: Array) -> Iterator[slice]:
    """The arcs of each frame of a lattice, [A, 3], in turn."""
    source, begin, last = arcs[:, 0], 0, 0  # `last`: the highest state of the frame
    while begin < len(arcs):
        end = int(np.searchsorted(source, source.dtype.type(last), "right"))  # of another kind, it would copy them all
        if end == begin:
            raise UserError("a lattice with a state that no arc leads to", hint="decode again")
        yield slice(begin, end)
        begin, last = end, int(arcs[begin:end, 1].max())


def state_scores(arcs: Array, scores: Array, log: bool, native: bool = True) -> tuple[Array, Array]:
    """Of each state, float64 [S]: the score of the paths from the first state to it, and of those from it to the last.

    Args:
        arcs: int32 [A, 3], A > 0.
        scores: [A], natural logarithms.
        log: of all paths, the logarithm of the sum of their exponentials; else of the best one.
        native: use the compiled form where it can be had.
    """
    states, scores = int(arcs[:, 1].max()) + 1, np.ascontiguousarray(scores, np.float64)
    if native and (lib := compiled()):
        arcs, forward, backward = np.ascontiguousarray(arcs, np.int32), np.empty(states), np.empty(states)
        lib.lstmp_lattice_scores(array_at(arcs), _int(len(arcs)), _int(states), array_at(scores), _int(log),
                                 array_at(forward), array_at(backward))
        return forward, backward
    add = np.logaddexp if log else np.maximum
    forward, backward = np.full(states, -np.inf), np.full(states, -np.inf)
    forward[0] = backward[-1] = 0.0
    frames = list(frame_slices(arcs))
    for part in frames:
        add.at(forward, arcs[part, 1], forward[arcs[part, 0]] + scores[part])
    for part in reversed(frames):
        add.at(backward, arcs[part, 0], scores[part] + backward[arcs[part, 1]])
    return forward, backward


def path_scores(arcs: Array, scores: Array, native: bool = True) -> tuple[Array, Array, Array]:
    """Of each arc, float64 [A]: the score of the best path up to and with it, from it on, and through it."""
    forward, backward = state_scores(arcs, scores, False, native)
    into, out_of = forward[arcs[:, 0]] + scores, scores + backward[arcs[:, 1]]
    return into, out_of, into + backward[arcs[:, 1]]


def arc_posteriors(lattice: Lattice, acoustic_scale: float, native: bool = True) -> Array:
    """float64 [A]: the probability of each arc, that of a path being the exponential of its score."""
    scores = (lattice.acoustic * np.float32(acoustic_scale) + lattice.graph).astype(np.float64)
    forward, backward = state_scores(lattice.arcs, scores, True, native)
    posteriors: Array = np.exp(forward[lattice.arcs[:, 0]] + scores + backward[lattice.arcs[:, 1]] - backward[0])
    return posteriors


def best_paths(lattice: Lattice, points: Sequence[tuple[float, float]], native: bool = True) -> Array:
    """The best path of a lattice, which must have one, under each point of a grid.

    As in Kaldi, a path's score is  acoustic / LMWT + graph - WIP · (number of words):  the LM weight scales the graph's
    scores against the acoustic ones.

    Args:
        lattice: of one utterance of T frames.
        points: pairs (LM weight, word insertion penalty).

    Returns:
        int32 [points, T + 1]: the numbers of the path's arcs. Of equally good paths it is the one that k2 takes.

    Raises:
        UserError: the lattice has no path.
    """
    weights, penalties = np.array(points, np.float64).reshape(-1, 2).astype(np.float32).T.copy()
    length = sum(1 for _ in frame_slices(lattice.arcs))
    out = np.empty((len(weights), length), np.int32)
    if native and (lib := compiled()):
        parts = [np.ascontiguousarray(x) for x in (lattice.arcs, lattice.acoustic, lattice.graph, lattice.num_words)]
        failed = lib.lstmp_lattice_best(
            array_at(parts[0]), _int(lattice.num_arcs), _int(lattice.num_states), *map(array_at, parts[1:]),
            _int(len(out)), array_at(weights), array_at(penalties), _int(length), array_at(out))
    else:
        failed = not all(_best_path(lattice, w, p, row) for w, p, row in zip(weights, penalties, out, strict=True))
    if failed or not length:
        raise UserError("a lattice without a path", hint="decode again")
    return out


def _best_path(lattice: Lattice, lm_weight: np.float32, penalty: np.float32, out: Array) -> bool:
    """Fill ``out`` with the arcs of the best path; False: there is none."""
    arcs, states = lattice.arcs, lattice.num_states
    scores = (lattice.acoustic / lm_weight + lattice.graph) - penalty * lattice.num_words.astype(np.float32)
    best, by = np.full(states, -np.inf), np.full(states, -1)
    best[0] = 0.0
    for part in frame_slices(arcs):
        to, end = arcs[part, 1], best[arcs[part, 0]] + scores[part]
        order = np.lexsort((np.arange(len(to)), end, to))  # of each state the best arc last; of equals the last one
        last = order[np.flatnonzero(np.diff(to[order], append=-1))]
        best[to[last]], by[to[last]] = end[last], part.start + last
    state = states - 1
    if best[state] == -np.inf:
        return False
    for i in reversed(range(len(out))):
        out[i] = by[state]
        if out[i] < 0:
            return False
        state = arcs[out[i], 0]
    return state == 0
