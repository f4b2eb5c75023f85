"""HCLG for the search: labels are pdf-id + 1, no epsilon is left, scores are log-probabilities.

The search takes an arc a frame, so all arcs that consume none must go first. In their place every state gets the arcs
of those that it reaches by epsilons, which may then write several words on one arc. In an HCLG the way along epsilons
is short (the back-off of an n-gram model, and what determinization has put off), a step for each order of the model.
"""

from dataclasses import dataclass, replace

import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError
from lstmp.graph.ranges import pairs

_LONGEST = 100  # epsilons in a row; more is a cycle of them
_LEAST_WAYS, _GROWTH = 1_000_000, 30  # ways along epsilons, for each arc; in real graphs there are less than arcs


@dataclass(frozen=True)
class SearchArcs:
    """The graph as the search and its file have it: state 0 is the start, the last state the one end.

    Attributes:
        arcs: int32 [A, 4], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of
            the float32 score; sorted by from-state and label.
        word_splits, words: int32; the words of arc a are words[word_splits[a]:word_splits[a + 1]].
    """

    arcs: np.ndarray
    word_splits: np.ndarray
    words: np.ndarray


@dataclass
class _Ways:
    """Ways along epsilons: from a state to a state, with their cost and the words they write, [ways, places], 0 where
    there is none."""

    src: np.ndarray
    to: np.ndarray
    cost: np.ndarray
    words: np.ndarray


def epsilon_free(hclg: FstArrays, pdf_of: np.ndarray) -> SearchArcs:
    """Convert a graph.

    Args:
        hclg: input labels are transition-ids; costs.
        pdf_of: int, pdf-id by transition-id.

    Raises:
        UserError: the graph has a transition-id that the model has not, a cycle of epsilons, or no path.
    """
    if len(hclg.ilabel) and int(hclg.ilabel.max()) >= len(pdf_of):
        raise UserError(f"the graph has transition-id {int(hclg.ilabel.max())}, the model {len(pdf_of) - 1} of them",
                        hint="make the graph again from this model")
    weight, final = (x.astype(np.float32, copy=False) for x in (hclg.weight, hclg.final))  # as its file has them
    hclg = replace(hclg, weight=weight, final=final)
    num_states = len(hclg.final)
    speaks = np.flatnonzero(hclg.ilabel > 0)
    ways = _ways(hclg, np.flatnonzero(hclg.ilabel == 0))
    entered = np.zeros(num_states + 1, bool)
    entered[hclg.dst[speaks]] = entered[hclg.start] = True  # other states are passed by now
    first = np.searchsorted(hclg.src[speaks], np.arange(num_states + 1))
    mine = np.flatnonzero(entered[ways.src])
    way, arc = pairs(mine, first[ways.to[mine]], first[ways.to[mine] + 1])
    arc = speaks[arc]
    own = speaks[entered[hclg.src[speaks]]]
    ends = np.flatnonzero(np.isfinite(hclg.final))
    own_ends = ends[entered[ends]]
    far_ends = mine[np.isfinite(hclg.final[ways.to[mine]])]

    src = np.concatenate([hclg.src[own], ways.src[way], own_ends, ways.src[far_ends]])
    dst = np.concatenate([hclg.dst[own], hclg.dst[arc], np.full(len(own_ends) + len(far_ends), num_states)])
    label = np.concatenate([pdf_of[hclg.ilabel[own]] + 1, pdf_of[hclg.ilabel[arc]] + 1,
                            np.full(len(own_ends) + len(far_ends), -1)]).astype(np.int32)
    cost = np.concatenate([hclg.weight[own], ways.cost[way] + hclg.weight[arc], hclg.final[own_ends],
                           ways.cost[far_ends] + hclg.final[ways.to[far_ends]]])
    if not (label < 0).any():
        raise UserError("the graph has no path from its start to an end", hint="check lexicon and language model")
    places = ways.words.shape[1]
    words = np.zeros((len(src), places + 1), np.int32)
    a, b = len(own), len(own) + len(arc)
    words[:a, 0] = hclg.olabel[own]
    words[a:b, :places], words[a:b, places] = ways.words[way], hclg.olabel[arc]
    words[b + len(own_ends):, :places] = ways.words[far_ends]

    number = np.cumsum(entered, dtype=np.int32) - 1  # in order, but the start is 0
    number[num_states] = entered.sum()
    number[:num_states][number[:num_states] < number[hclg.start]] += 1
    number[hclg.start] = 0
    src, dst = number[src], number[dst]
    order = np.argsort(src.astype(np.int64) * (int(label.max()) + 2) + np.where(label < 0, label.max() + 1, label),
                       kind="stable")
    arcs = np.stack([src[order], dst[order], label[order], (-cost).astype(np.float32).view(np.int32)[order]], axis=1)
    words = words[order]
    splits = np.zeros(len(arcs) + 1, np.int32)
    np.cumsum((words > 0).sum(axis=1), out=splits[1:])
    return SearchArcs(arcs.astype(np.int32, copy=False), splits, words[words > 0])


def _ways(hclg: FstArrays, epsilons: np.ndarray) -> _Ways:
    """All ways along one or more epsilons."""
    src, dst, cost, word = (x[epsilons] for x in (hclg.src, hclg.dst, hclg.weight, hclg.olabel))
    first = np.searchsorted(src, np.arange(len(hclg.final) + 1))
    found = [_Ways(src, dst, cost, word[:, None])]
    while len((last := found[-1]).src):
        if len(found) == _LONGEST or sum(len(w.src) for w in found) > _LEAST_WAYS + _GROWTH * len(hclg.src):
            raise UserError(f"more than {_LONGEST} epsilons in a row, or too many ways along them: a cycle of epsilons",
                            hint="check lexicon and language model")
        way, arc = pairs(np.arange(len(last.src)), first[last.to], first[last.to + 1])
        found.append(_Ways(last.src[way], dst[arc], last.cost[way] + cost[arc],
                           np.concatenate([last.words[way], word[arc, None]], axis=1)))
    places = max(int((w.words > 0).any(axis=0).sum()) for w in found)
    words = np.zeros((sum(len(w.src) for w in found), max(places, 1)), np.int32)
    at = 0
    for w in found:
        used = w.words[:, (w.words > 0).any(axis=0)] if len(w.src) else w.words[:, :0]
        words[at:at + len(w.src), :used.shape[1]] = used
        at += len(w.src)
    src, dst, cost = (np.concatenate([getattr(w, name) for w in found]) for name in ("src", "to", "cost"))
    return _Ways(src, dst, cost, words)
