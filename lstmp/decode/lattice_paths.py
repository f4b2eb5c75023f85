"""Best paths and scores of lattices: compiled (lattice.cpp), and in NumPy, with the same results.

The arcs of a lattice are sorted by from-state and lead from the states of one frame to those of the next, state 0 being
the first and the highest the last. The NumPy form works frame by frame; it is the reference of the compiled one, and
does its work where there is no compiler.
"""

import ctypes
from collections.abc import Iterator

import numpy as np

from lstmp.decode.engine import array_at
from lstmp.decode.lattice import Lattice
from lstmp.errors import UserError
from lstmp.native import library

_EXACT = "-ffp-contract=off"  # scores are rounded as NumPy's and k2's are
_int = ctypes.c_int64


def compiled() -> ctypes.CDLL | None:
    """The compiled form, or None where it cannot be had."""
    return library("decode/lattice.cpp", _EXACT)


def frame_slices(arcs: np.ndarray) -> Iterator[slice]:
    """The arcs of each frame of a lattice, [A, 3], in turn."""
    source, begin, last = arcs[:, 0], 0, 0  # `last`: the highest state of the frame
    while begin < len(arcs):
        end = int(np.searchsorted(source, last, "right"))
        if end == begin:
            raise UserError("a lattice with a state that no arc leads to", mend="decode again")
        yield slice(begin, end)
        begin, last = end, int(arcs[begin:end, 1].max())


def state_scores(arcs: np.ndarray, scores: np.ndarray, log: bool, native: bool = True) -> tuple[np.ndarray, np.ndarray]:
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


def path_scores(arcs: np.ndarray, scores: np.ndarray, native: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each arc, float64 [A]: the score of the best path up to and with it, from it on, and through it."""
    forward, backward = state_scores(arcs, scores, False, native)
    into, out_of = forward[arcs[:, 0]] + scores, scores + backward[arcs[:, 1]]
    return into, out_of, into + backward[arcs[:, 1]]


def arc_posteriors(lattice: Lattice, acoustic_scale: float, native: bool = True) -> np.ndarray:
    """float64 [A]: the probability of each arc, that of a path being the exponential of its score."""
    scores = (lattice.acoustic * np.float32(acoustic_scale) + lattice.graph).astype(np.float64)
    forward, backward = state_scores(lattice.arcs, scores, True, native)
    return np.exp(forward[lattice.arcs[:, 0]] + scores + backward[lattice.arcs[:, 1]] - backward[0])


def best_paths(lattice: Lattice, points, native: bool = True) -> np.ndarray:
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
        raise UserError("a lattice without a path", mend="decode again")
    return out


def _best_path(lattice: Lattice, lm_weight: np.float32, penalty: np.float32, out: np.ndarray) -> bool:
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
    for i in reversed(range(len(out))):
        out[i] = by[state]
        if out[i] < 0:
            return False
        state = arcs[out[i], 0]
    return state == 0


def word_paths(arcs: np.ndarray, scores, num_words: np.ndarray, most: int) -> np.ndarray:
    """bool [A]: the arcs of the best path through every arc that emits words, and to every end.

    A state-level lattice holds each sequence of words with every way to divide the frames among their states; what is
    left here is a thirtieth, and has every word that it had, each in its best surroundings. (The word graphs of
    Ortmanns, Ney, Aubert, Computer Speech and Language 11, 1997, keep the best boundary of each word pair.)

    Args:
        arcs: int [A, 3], from-state, to-state, label; sorted by from-state.
        scores: as :func:`path_scores` gives them, but for a constant of each to-state, from-state, and of the lattice.
        num_words: int [A], words on each arc.
        most: of the arcs with words, so many are considered, those of the best paths.
    """
    into, out_of, worth = scores
    states = int(arcs[:, 1].max()) + 1 if len(arcs) else 0
    by_target = np.argsort(arcs[:, 1], kind="stable")
    before = _best_of_runs(into[by_target], arcs[by_target, 1], by_target, states)
    after = _best_of_runs(out_of, arcs[:, 0], np.arange(len(arcs)), states)
    with_words = np.flatnonzero((num_words > 0) & (worth > -np.inf))
    if len(with_words) > most:
        with_words = with_words[np.argpartition(-worth[with_words], most)[:most]]
    chosen = np.concatenate([with_words, np.flatnonzero((arcs[:, 2] < 0) & (worth > -np.inf))])
    return _linked(chosen, before, arcs[:, 0]) | _linked(chosen, after, arcs[:, 1])


def _linked(arcs: np.ndarray, links: np.ndarray, end: np.ndarray) -> np.ndarray:
    """bool [A]: ``arcs``, the arc that ``links`` gives for the state ``end`` of each, and so on to the last."""
    kept = np.zeros(len(end), dtype=bool)
    while len(arcs):
        kept[arcs] = True
        arcs = links[np.unique(end[arcs])]
        arcs = arcs[arcs >= 0]
        arcs = arcs[~kept[arcs]]  # where a chain meets another, the rest is there already
    return kept


def _best_of_runs(score: np.ndarray, state: np.ndarray, arc: np.ndarray, num_states: int) -> np.ndarray:
    """int64 [num_states]: the arc of the best score of each state, -1 where it has none; equal states are in runs."""
    out = np.full(num_states, -1)
    first = np.flatnonzero(np.diff(state, prepend=-1))
    top = np.repeat(np.maximum.reduceat(score, first), np.diff(np.append(first, len(state))))
    best = np.flatnonzero(score == top)
    out[state[best]] = arc[best]
    return out
