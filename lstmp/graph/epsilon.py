"""Local epsilon removal: remove only those epsilon arcs whose removal adds no other arcs.

Full removal would multiply the number of arcs, because a back-off arc stands for all arcs of the state that it leads
to. This module does the essential part of Kaldi's ``fstrmepslocal``.
"""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order

from lstmp.corpus.fst import FstArrays, bypass, sole_exits


def remove_epsilon_locally(fst: FstArrays) -> FstArrays:
    """Remove epsilon arcs that are the only arc out of their source or the only arc into their target.

    Args:
        fst: connected; weights are costs over the tropical semiring.

    Returns:
        an equivalent connected FST with renumbered states.
    """
    fst = bypass(fst, sole_exits(fst) & (fst.ilabel == 0) & (fst.olabel == 0))
    fst = _reached(fst)
    return _reached(_fold(fst))


def _fold(fst: FstArrays) -> FstArrays:
    """If the only arc into a state is an epsilon arc, move the state's arcs to the source of the epsilon arc."""
    num_states = len(fst.final)
    num_incoming = np.bincount(fst.dst, minlength=num_states)
    fold = (fst.ilabel == 0) & (fst.olabel == 0) & (num_incoming[fst.dst] == 1) & (fst.dst != fst.start)
    merged_into, cost = np.arange(num_states), np.zeros(num_states)
    merged_into[fst.dst[fold]], cost[fst.dst[fold]] = fst.src[fold], fst.weight[fold]
    while (merged_into[merged_into] != merged_into).any():
        cost, merged_into = cost + cost[merged_into], merged_into[merged_into]
    keep = ~fold
    src = merged_into[fst.src[keep]]
    order = np.argsort(src, kind="stable")
    moved = np.flatnonzero(merged_into != np.arange(num_states))
    final = fst.final.copy()
    final[moved] = np.inf
    np.minimum.at(final, merged_into[moved], (fst.final + cost)[moved].astype(np.float32))
    return FstArrays(fst.start, final, src[order].astype(np.int32), fst.ilabel[keep][order],
                     fst.olabel[keep][order], (fst.weight[keep] + cost[fst.src[keep]])[order].astype(np.float32),
                     fst.dst[keep][order])


def _reached(fst: FstArrays) -> FstArrays:
    """Remove the states that cannot be reached from the start. A final state can still be reached from all others."""
    num_states = len(fst.final)
    first = np.zeros(num_states + 1, np.int32)
    np.cumsum(np.bincount(fst.src, minlength=num_states), out=first[1:])
    adjacency = csr_matrix((np.ones(len(fst.dst), np.float64), fst.dst, first), shape=(num_states, num_states))
    reached = np.zeros(num_states, bool)
    reached[breadth_first_order(adjacency, fst.start, return_predecessors=False)] = True
    number = (np.cumsum(reached) - 1).astype(np.int32)
    arc = reached[fst.src]
    return FstArrays(int(number[fst.start]), fst.final[reached], number[fst.src[arc]], fst.ilabel[arc], fst.olabel[arc],
                     fst.weight[arc], number[fst.dst[arc]])
