"""Conversion of HCLG for the search: epsilons are removed, labels are pdf-id + 1, scores are log-probabilities.

Epsilon paths become the ways of :mod:`lstmp.graph.bundles`; such a way may emit several words. In an HCLG, epsilon
paths are short: they are the back-off arcs of the n-gram model and outputs that determinization has delayed, about one
arc for each order of the model.
"""

from dataclasses import dataclass, replace

import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.fst_cycles import state_of_cycle
from lstmp.errors import UserError
from lstmp.graph.bundles import MOST_ARCS, BundledGraph, descending, splits_of
from lstmp.graph.ranges import pairs

_HINT = "check lexicon and language model, then make the graph again"
_MAX_LENGTH = 100  # arcs of an epsilon path
# at most _MIN_PATHS + _GROWTH · (number of arcs) epsilon paths; real graphs have fewer paths than arcs
_MIN_PATHS, _GROWTH = 1_000_000, 30
# at most _MIN_ARCS + _ARC_GROWTH · (number of arcs) arcs without epsilons; real graphs have one to ten times as many
_MIN_ARCS, _ARC_GROWTH = 4_000_000, 100
# Bundles of at most so many arcs are copied into each state's own bundle, which is quicker to read. All bundles are
# copied unless sharing makes the graph smaller by this factor.
_COPIED, _LEAST_SAVING = 16, 2


@dataclass
class _EpsilonPaths:
    """Paths along epsilon arcs: from-state, to-state, cost, and the words on them, [paths, positions] padded with 0."""

    src: np.ndarray
    to: np.ndarray
    cost: np.ndarray
    words: np.ndarray


def epsilon_free(hclg: FstArrays, pdf_of: np.ndarray) -> BundledGraph:
    """Remove the epsilons of a graph.

    Args:
        hclg: input labels are transition-ids, weights are costs; arcs are sorted by from-state.
        pdf_of: int, pdf-id by transition-id.

    Raises:
        UserError: the graph has a transition-id that the model does not have, a cycle of epsilons, or no path.
    """
    if len(hclg.ilabel) and int(hclg.ilabel.max()) >= len(pdf_of):
        raise UserError(f"the graph has transition-id {int(hclg.ilabel.max())}, the model only {len(pdf_of) - 1}",
                        hint="make the graph again from this model")
    weight, final = (x.astype(np.float32, copy=False) for x in (hclg.weight, hclg.final))  # the dtype of HCLG.fst
    hclg = replace(hclg, weight=weight, final=final)
    num_states = len(hclg.final)
    emitting = np.flatnonzero(hclg.ilabel > 0)
    paths = _epsilon_paths(hclg, np.flatnonzero(hclg.ilabel == 0))
    entered = np.zeros(num_states + 1, bool)
    entered[hclg.dst[emitting]] = entered[hclg.start] = True  # states with only epsilons into them are no longer needed
    final = np.isfinite(hclg.final)
    size = np.bincount(hclg.src[emitting], minlength=num_states) + final  # of the bundle of each state's own arcs
    own, used = np.flatnonzero(entered[:-1] & (size > 0)), np.flatnonzero(entered[paths.src] & (size[paths.to] > 0))
    state, to = np.concatenate([own, paths.src[used]]), np.concatenate([own, paths.to[used]])
    way_score = _score(np.concatenate([np.zeros(len(own), np.float32), paths.cost[used]]))
    way_words = np.concatenate([np.zeros((len(own), paths.words.shape[1]), np.int32), paths.words[used]])
    num_arcs = int(size[to].sum(dtype=np.int64))
    if num_arcs > _MIN_ARCS + _ARC_GROWTH * len(hclg.src):
        raise UserError(f"{len(hclg.src):,} arcs would become {num_arcs:,} by the removal of epsilons", hint=_HINT)
    if num_arcs > MOST_ARCS:
        raise UserError(f"{len(hclg.src):,} arcs would become {num_arcs:,} by the removal of epsilons, more than "
                        f"{MOST_ARCS:,}", hint="give a smaller language model")
    reached = np.zeros(num_states, bool)
    reached[to] = True
    if not (reached & final).any():
        raise UserError("the graph has no path from its start to a final state",
                        hint="check lexicon and language model")

    number = np.cumsum(entered, dtype=np.int32) - 1  # in the old order, except that the start becomes 0
    number[num_states] = entered.sum()
    number[:num_states][number[:num_states] < number[hclg.start]] += 1
    number[hclg.start] = 0
    bundle = np.cumsum(reached, dtype=np.int32) - 1
    order = np.argsort(number[state], kind="stable")
    ways = np.stack([number[state], bundle[to], way_score.view(np.int32)], axis=1)[order].astype(np.int32, copy=False)
    way_splits, way_words = _words(way_words[order])

    arc, ends = emitting[reached[hclg.src[emitting]]], np.flatnonzero(reached & final)
    src = bundle[np.concatenate([hclg.src[arc], ends])]
    score = _score(np.concatenate([hclg.weight[arc], hclg.final[ends]]))
    label = np.concatenate([pdf_of[hclg.ilabel[arc]] + 1, np.full(len(ends), -1)])
    arcs = np.stack([number[np.concatenate([hclg.dst[arc], np.full(len(ends), num_states)])], label,
                     score.view(np.int32)], axis=1)
    order = np.argsort((src.astype(np.uint64) << np.uint64(32)) | descending(score), kind="stable")
    first = splits_of(size[reached])
    splits, words = _words(np.concatenate([hclg.olabel[arc], np.zeros(len(ends), np.int32)])[order, None])
    arcs = arcs[order].astype(np.int32, copy=False)
    graph = BundledGraph(ways, way_splits, way_words, first, arcs, splits, words)
    return graph.inlined(_COPIED if num_arcs > _LEAST_SAVING * len(arcs) else num_arcs)


def _score(cost: np.ndarray) -> np.ndarray:
    """float32, without -0."""
    return (-cost).astype(np.float32) + np.float32(0)


def _words(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(splits, words) of rows of words padded with 0."""
    return splits_of((rows > 0).sum(axis=1)), rows[rows > 0].astype(np.int32, copy=False)


def _epsilon_paths(hclg: FstArrays, epsilons: np.ndarray) -> _EpsilonPaths:
    """All paths of one or more arcs of ``epsilons``."""
    if (state := state_of_cycle(hclg, hclg.ilabel == 0)) is not None:
        raise UserError(f"state {state} is on a cycle of epsilons", hint=_HINT)
    src, dst, cost, word = (x[epsilons] for x in (hclg.src, hclg.dst, hclg.weight, hclg.olabel))
    first = np.searchsorted(src, np.arange(len(hclg.final) + 1))
    by_length = [_EpsilonPaths(src, dst, cost, word[:, None])]
    while len((last := by_length[-1]).src):
        if len(by_length) == _MAX_LENGTH or sum(len(p.src) for p in by_length) > _MIN_PATHS + _GROWTH * len(hclg.src):
            raise UserError(f"more than {_MAX_LENGTH} epsilons in a row, or too many epsilon paths", hint=_HINT)
        path, arc = pairs(np.arange(len(last.src)), first[last.to], first[last.to + 1])
        by_length.append(_EpsilonPaths(last.src[path], dst[arc], last.cost[path] + cost[arc],
                                       np.concatenate([last.words[path], word[arc, None]], axis=1)))
    positions = max(int((p.words > 0).any(axis=0).sum()) for p in by_length)
    words = np.zeros((sum(len(p.src) for p in by_length), max(positions, 1)), np.int32)
    row = 0
    for p in by_length:
        used = p.words[:, (p.words > 0).any(axis=0)] if len(p.src) else p.words[:, :0]
        words[row:row + len(p.src), :used.shape[1]] = used
        row += len(p.src)
    src, to, cost = (np.concatenate([getattr(p, name) for p in by_length]) for name in ("src", "to", "cost"))
    return _EpsilonPaths(src, to, cost, words)
