"""How sure a recognizer is of its words: their posterior probabilities in the lattice, frame by frame.

A word is *there* at a frame on every path whose last word, up to that frame, it is. Which word came last is followed
forwards through the lattice, as probabilities, for the words that are asked for alone. Compiled (lattice.cpp), and in
NumPy, with the same results.
"""

import ctypes

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.engine import array_at
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import compiled, frame_slices, state_scores

_int = ctypes.c_int64


def word_presence(lattice: Lattice, scores: Array, words: Array, native: bool = True) -> Array:
    """The probability that a word is there at a frame.

    Args:
        lattice: of T frames, with a path.
        scores: float64 [A], of its arcs; a path's probability is proportional to the exponential of its score.
        words: int [K], different word ids.
        native: use the compiled form where it can be had.

    Returns:
        float64 [K, T + 1]; the last column is of the arcs into the last state.
    """
    scores = np.ascontiguousarray(scores, np.float64)
    forward, backward = state_scores(lattice.arcs, scores, True, native)
    order = np.argsort(words)
    place = np.minimum(np.searchsorted(words, lattice.words, sorter=order), len(words) - 1)
    which = np.where(words[order[place]] == lattice.words, order[place], -1).astype(np.int32)  # of each word on an arc
    frames = list(frame_slices(lattice.arcs))
    out = np.zeros((len(words), len(frames)))
    if native and (lib := compiled()):
        parts = [np.ascontiguousarray(x) for x in (lattice.arcs, scores, lattice.num_words, which)]
        lib.lstmp_lattice_words(array_at(parts[0]), _int(len(scores)), _int(lattice.num_states),
                                *map(array_at, (*parts[1:], forward, backward)), _int(len(words)), _int(len(frames)),
                                array_at(out))
        return out
    last = np.zeros((lattice.num_states, len(words)))  # of each state: the probability that the word came last before
    for t, part in enumerate(frames):
        for a in range(part.start, part.stop):
            source, to, _ = lattice.arcs[a]
            if not (np.isfinite(forward[source]) and np.isfinite(backward[to])):
                continue
            now = last[source]
            if lattice.num_words[a]:
                found = which[lattice.word_splits[a]:lattice.word_splits[a + 1]]
                now = np.zeros(len(words))
                now[found[found >= 0]] = 1.0
            upto = forward[source] + scores[a]
            last[to] += np.exp(upto - forward[to]) * now
            out[:, t] += np.exp(upto + backward[to] - backward[0]) * now
    return out
