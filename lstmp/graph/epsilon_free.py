"""Conversion of HCLG for the search: epsilons are removed, labels are pdf-id + 1, scores are log-probabilities.

The search takes one arc per frame, so arcs that consume no frame must be removed first. Instead, every state gets the
arcs of all states that it reaches by epsilons; such an arc may emit several words. In an HCLG, epsilon paths are short:
they are the back-off arcs of the n-gram model and outputs that determinization has delayed, about one arc for each
order of the model.
"""

from dataclasses import dataclass, replace

import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.fst_cycles import state_of_cycle
from lstmp.errors import UserError
from lstmp.graph.ranges import pairs

_HINT = "check lexicon and language model, then make the graph again"
_MAX_LENGTH = 100  # arcs of an epsilon path
# at most _MIN_PATHS + _GROWTH · (number of arcs) epsilon paths; real graphs have fewer paths than arcs
_MIN_PATHS, _GROWTH = 1_000_000, 30
# at most _MIN_ARCS + _ARC_GROWTH · (number of arcs) arcs without epsilons; real graphs have one or two times as many
_MIN_ARCS, _ARC_GROWTH = 4_000_000, 100


@dataclass(frozen=True)
class SearchArcs:
    """The graph in the form of the search and of its file. State 0 is the start, the last state is the only final one.

    Attributes:
        arcs: int32 [A, 4], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of
            the float32 score; sorted by from-state, the arcs of a state by score, the highest first.
        word_splits, words: int32; the words of arc a are words[word_splits[a]:word_splits[a + 1]].
    """

    arcs: np.ndarray
    word_splits: np.ndarray
    words: np.ndarray


@dataclass
class _EpsilonPaths:
    """Paths along epsilon arcs: from-state, to-state, cost, and the words on them, [paths, positions] padded with 0."""

    src: np.ndarray
    to: np.ndarray
    cost: np.ndarray
    words: np.ndarray


def epsilon_free(hclg: FstArrays, pdf_of: np.ndarray) -> SearchArcs:
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
    first = np.searchsorted(hclg.src[emitting], np.arange(num_states + 1))
    used = np.flatnonzero(entered[paths.src])
    num_arcs = int((first[paths.to[used] + 1] - first[paths.to[used]]).sum())
    if num_arcs > _MIN_ARCS + _ARC_GROWTH * len(hclg.src):
        raise UserError(f"{len(hclg.src):,} arcs would become {num_arcs:,} by the removal of epsilons", hint=_HINT)
    path, arc = pairs(used, first[paths.to[used]], first[paths.to[used] + 1])
    arc = emitting[arc]
    direct = emitting[entered[hclg.src[emitting]]]
    finals = np.flatnonzero(np.isfinite(hclg.final))
    direct_finals = finals[entered[finals]]
    path_finals = used[np.isfinite(hclg.final[paths.to[used]])]

    src = np.concatenate([hclg.src[direct], paths.src[path], direct_finals, paths.src[path_finals]])
    dst = np.concatenate([hclg.dst[direct], hclg.dst[arc], np.full(len(direct_finals) + len(path_finals), num_states)])
    label = np.concatenate([pdf_of[hclg.ilabel[direct]] + 1, pdf_of[hclg.ilabel[arc]] + 1,
                            np.full(len(direct_finals) + len(path_finals), -1)]).astype(np.int32)
    cost = np.concatenate([hclg.weight[direct], paths.cost[path] + hclg.weight[arc], hclg.final[direct_finals],
                           paths.cost[path_finals] + hclg.final[paths.to[path_finals]]])
    if not (label < 0).any():
        raise UserError("the graph has no path from its start to a final state",
                        hint="check lexicon and language model")
    positions = paths.words.shape[1]
    words = np.zeros((len(src), positions + 1), np.int32)
    a, b = len(direct), len(direct) + len(arc)
    words[:a, 0] = hclg.olabel[direct]
    words[a:b, :positions], words[a:b, positions] = paths.words[path], hclg.olabel[arc]
    words[b + len(direct_finals):, :positions] = paths.words[path_finals]

    number = np.cumsum(entered, dtype=np.int32) - 1  # in the old order, except that the start becomes 0
    number[num_states] = entered.sum()
    number[:num_states][number[:num_states] < number[hclg.start]] += 1
    number[hclg.start] = 0
    src, dst = number[src], number[dst]
    score = (-cost).astype(np.float32) + np.float32(0)  # without -0
    order = np.argsort((src.astype(np.uint64) << np.uint64(32)) | _descending(score), kind="stable")
    arcs = np.stack([src[order], dst[order], label[order], score.view(np.int32)[order]], axis=1)
    words = words[order]
    splits = np.zeros(len(arcs) + 1, np.int32)
    np.cumsum((words > 0).sum(axis=1), out=splits[1:])
    return SearchArcs(arcs.astype(np.int32, copy=False), splits, words[words > 0])


def _descending(x: np.ndarray) -> np.ndarray:
    """uint64 below 2³² in the opposite order of the finite float32 values ``x``."""
    bits = x.view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (~ascending).astype(np.uint64)


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
