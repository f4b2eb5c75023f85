"""Minimum Bayes risk: the words with the least expected number of word errors under one or several lattices.

The best path of a lattice is the most probable sentence, while the word error rate counts words. The expected number of
errors of a hypothesis is the average of its edit distance from all paths, weighted by their probabilities. Xu, Povey,
Mangu and Zhu 2011, "Minimum Bayes Risk decoding and system combination based on a recursion for edit distance", compute
it by one pass over the lattice (an upper bound: paths that meet in a state have their alignments averaged). The same
pass backwards gives the probability of each word at each place of the hypothesis; taking the most probable word at each
place cannot increase the expectation, and is repeated until nothing changes.

A hypothesis of n words has 2n + 1 *bins*: its words, and an empty word before, between and after them, which takes up a
word that is missing. With several systems, expectations and probabilities are averages over the systems.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import state_scores
from lstmp.native import array_at, library

_INSERTED = 1 + 1e-5  # cost of a word without a bin: slightly more than that of a word in an empty bin
_EQUAL = 1e-9  # rounding must not decide between alignments with the same errors
_MAX_ROUNDS = 20
_int = ctypes.c_int64


@dataclass(frozen=True, eq=False)
class Paths:
    """A lattice with the scores that make a distribution over its paths.

    Attributes:
        lattice: with at least one path.
        scores: float64 [A], scores of its arcs; a path's probability is proportional to the exponential of its score.
        weight: of its system; the weights of all systems sum to 1.
    """

    lattice: Lattice
    scores: Array
    weight: float = 1.0


def least_risk(systems: Sequence[Paths], words: Sequence[int], native: bool = True) -> tuple[list[int], float]:
    """Find the words with the least expected number of errors.

    Args:
        systems: the lattices of one utterance.
        words: word ids of a hypothesis to begin with, such as the best path.
        native: use the compiled form if it is available.

    Returns:
        the word ids, and their expected number of errors.
    """
    names = np.unique(np.concatenate([[0, *words], *(s.lattice.words for s in systems)]).astype(np.int64))
    arc_words = [np.searchsorted(names, s.lattice.words).astype(np.int32) for s in systems]
    states = [state_scores(s.lattice.arcs, s.scores, True, native) for s in systems]
    found: list[int] = []
    risk = np.inf
    current = np.searchsorted(names, np.array(words, np.int64))
    for _ in range(_MAX_ROUNDS):
        bins = np.zeros(2 * len(current) + 1, np.int32)
        bins[1::2] = current
        posteriors, new_risk = np.zeros((len(bins), len(names))), 0.0
        for system, ids, scores in zip(systems, arc_words, states, strict=True):
            new_risk += system.weight * align(system, ids, scores, bins, posteriors, native)
        if new_risk >= risk:
            break
        found, risk = names[current].tolist(), new_risk
        best = posteriors.argmax(1)
        at = np.arange(len(bins))
        best = np.where(posteriors[at, bins] >= posteriors[at, best] - _EQUAL, bins, best)  # a tie changes nothing
        if np.array_equal(best[best > 0], current):
            break
        current = best[best > 0]
    return found, risk


def align(paths: Paths, arc_words: Array, states: tuple[Array, Array], bins: Array, posteriors: Array,
          native: bool = True) -> float:
    """Align a hypothesis with all paths of a lattice.

    Args:
        paths: the lattice.
        arc_words: int32 [W], the words on its arcs in turn, numbered from 1 in any way.
        states: forward and backward log-probabilities of its states, float64 [S] each.
        bins: int32 [Q], the words of the hypothesis by the same numbers, and 0 for the empty word.
        posteriors: float64 [Q, words]; the probability of each word in each bin, times the weight of the system, is
            added to it.
        native: use the compiled form if it is available.

    Returns:
        the expected number of errors, not weighted.
    """
    lattice, scores = paths.lattice, np.ascontiguousarray(paths.scores, np.float64)
    if native and (lib := library("decode/mbr.cpp", "-ffp-contract=off")):
        lib.lstmp_lattice_bins.restype = ctypes.c_double
        parts = [np.ascontiguousarray(x) for x in (lattice.arcs, scores, lattice.num_words, arc_words, *states, bins)]
        arcs, *rest, hypothesis = map(array_at, parts)
        return float(lib.lstmp_lattice_bins(
            arcs, _int(lattice.num_arcs), _int(lattice.num_states), *rest, hypothesis, _int(len(bins)),
            _int(posteriors.shape[1]), ctypes.c_double(paths.weight), array_at(posteriors)))
    return _align(paths, arc_words, states, bins, posteriors)


def _align(paths: Paths, arc_words: Array, states: tuple[Array, Array], bins: Array, posteriors: Array) -> float:
    lattice, (forward, backward) = paths.lattice, states
    splits = lattice.word_splits
    source, to = lattice.arcs[:, 0], lattice.arcs[:, 1]
    possible = np.isfinite(forward[source] + paths.scores + backward[to])
    share = np.where(possible, np.exp(forward[source] + paths.scores - np.where(possible, forward[to], 0.0)), 0.0)
    costs, occupied = np.zeros((2, lattice.num_states, len(bins) + 1))
    costs[0, 1:] = np.cumsum(bins != 0)
    used = np.flatnonzero(share)
    for a in used:
        after = costs[source[a]]
        for word in arc_words[splits[a]:splits[a + 1]]:
            after, _ = _one_word(after, word, bins)
        costs[to[a]] += share[a] * after
    occupied[-1, -1] = paths.weight
    for a in used[::-1]:
        words, after, steps = arc_words[splits[a]:splits[a + 1]], costs[source[a]], []
        for word in words:
            after, step = _one_word(after, word, bins)
            steps.append(step)
        left = share[a] * occupied[to[a]]
        for word, step in zip(words[::-1], steps[::-1], strict=True):
            before = np.zeros_like(left)
            for q in range(len(bins), -1, -1):
                if step[q] == "insert":
                    before[q] += left[q]
                elif step[q] == "match":
                    posteriors[q - 1, word] += left[q]
                    before[q - 1] += left[q]
                else:
                    posteriors[q - 1, 0] += left[q]
                    left[q - 1] += left[q]
            left = before
        occupied[source[a]] += left
    for q in range(len(bins), 0, -1):
        posteriors[q - 1, 0] += occupied[0, q]
        occupied[0, q - 1] += occupied[0, q]
    return float(costs[-1, -1])


def _one_word(before: Array, word: int, bins: Array) -> tuple[Array, list[str]]:
    """The cost of a path up to each bin after one more word, from that before it; and the last step to each bin."""
    after, steps = [before[0] + _INSERTED], ["insert"]
    for q, own in enumerate(bins, 1):
        cost, step = before[q - 1] + (word != own), "match"
        for other, other_step in ((before[q] + _INSERTED, "insert"), (after[-1] + (own != 0), "delete")):
            if other < cost - _EQUAL:
                cost, step = other, other_step
        after.append(cost)
        steps.append(step)
    return np.array(after), steps
