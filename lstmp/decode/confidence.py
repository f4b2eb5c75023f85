"""Word posterior probabilities, frame by frame, from a lattice.

A word is *present* at a frame on every path on which it is the last word emitted up to that frame. The probability that
a word came last is passed forwards through the lattice, only for the words in question. There is a compiled form
(lattice.cpp) and one in NumPy, with the same results.
"""

import ctypes

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import frame_slices, lattice_library, state_scores
from lstmp.native import array_at

_int = ctypes.c_int64


def word_presence(lattice: Lattice, scores: Array, words: Array, native: bool = True) -> Array:
    """The probability of each word to be present at each frame.

    Args:
        lattice: of T frames, with at least one path.
        scores: float64 [A], scores of its arcs; a path's probability is proportional to the exponential of its score.
        words: int [K], word ids without repetition.
        native: use the compiled form if it is available.

    Returns:
        float64 [K, T + 1]; the last column belongs to the arcs into the last state.
    """
    scores = np.ascontiguousarray(scores, np.float64)
    forward, backward = state_scores(lattice.arcs, scores, True, native)
    order = np.argsort(words)
    place = np.minimum(np.searchsorted(words, lattice.words, sorter=order), len(words) - 1)
    # the row of `words` of each word on an arc, or -1
    row_of = np.where(words[order[place]] == lattice.words, order[place], -1).astype(np.int32)
    frames = list(frame_slices(lattice.arcs))
    out = np.zeros((len(words), len(frames)))
    if native and (lib := lattice_library()):
        parts = [np.ascontiguousarray(x) for x in (lattice.arcs, scores, lattice.num_words, row_of)]
        lib.lstmp_lattice_words(array_at(parts[0]), _int(len(scores)), _int(lattice.num_states),
                                *map(array_at, (*parts[1:], forward, backward)), _int(len(words)), _int(len(frames)),
                                array_at(out))
        return out
    last = np.zeros((lattice.num_states, len(words)))  # probability of each word to be the last one before a state
    for t, part in enumerate(frames):
        for a in range(part.start, part.stop):
            source, to, _ = lattice.arcs[a]
            if not (np.isfinite(forward[source]) and np.isfinite(backward[to])):
                continue
            present = last[source]
            if lattice.num_words[a]:
                rows = row_of[lattice.word_splits[a]:lattice.word_splits[a + 1]]
                present = np.zeros(len(words))
                present[rows[rows >= 0]] = 1.0
            up_to = forward[source] + scores[a]
            last[to] += np.exp(up_to - forward[to]) * present
            out[:, t] += np.exp(up_to + backward[to] - backward[0]) * present
    return out
