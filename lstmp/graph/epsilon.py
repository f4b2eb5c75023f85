"""Removal of those epsilon arcs whose removal costs nothing: each takes an arc with it and adds none.

A full removal would multiply arcs (a back-off arc stands for all arcs behind it). This one does what matters of
Kaldi's ``fstrmepslocal``.
"""

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order

from lstmp.corpus.fst import FstArrays, bypass, sole_exits


def remove_epsilon_locally(fst: FstArrays) -> FstArrays:
    """Remove epsilon arcs that are their state's only way out, or their target's only way in.

    Args:
        fst: connected; costs over the tropical semiring.

    Returns:
        an equivalent FST, connected; its states are renumbered.
    """
    fst = bypass(fst, sole_exits(fst) & (fst.ilabel == 0) & (fst.olabel == 0))
    fst = _reached(fst)
    return _reached(_fold(fst))


def _fold(fst: FstArrays) -> FstArrays:
    """Move the arcs of a state that is entered by one epsilon arc alone to that arc's source."""
    num_states = len(fst.final)
    entered = np.bincount(fst.dst, minlength=num_states)
    fold = (fst.ilabel == 0) & (fst.olabel == 0) & (entered[fst.dst] == 1) & (fst.dst != fst.start)
    home, cost = np.arange(num_states), np.zeros(num_states)
    home[fst.dst[fold]], cost[fst.dst[fold]] = fst.src[fold], fst.weight[fold]
    while (home[home] != home).any():
        cost, home = cost + cost[home], home[home]
    keep = ~fold
    src = home[fst.src[keep]]
    order = np.argsort(src, kind="stable")
    moved = np.flatnonzero(home != np.arange(num_states))
    final = fst.final.copy()
    final[moved] = np.inf
    np.minimum.at(final, home[moved], (fst.final + cost)[moved].astype(np.float32))
    return FstArrays(fst.start, final, src[order].astype(np.int32), fst.ilabel[keep][order],
                     fst.olabel[keep][order], (fst.weight[keep] + cost[fst.src[keep]])[order].astype(np.float32),
                     fst.dst[keep][order])


def _reached(fst: FstArrays) -> FstArrays:
    """Without the states that cannot be reached from the start. From all others an end still can."""
    num_states = len(fst.final)
    first = np.zeros(num_states + 1, np.int32)
    np.cumsum(np.bincount(fst.src, minlength=num_states), out=first[1:])
    ways = csr_matrix((np.ones(len(fst.dst), np.float64), fst.dst, first), shape=(num_states, num_states))
    reached = np.zeros(num_states, bool)
    reached[breadth_first_order(ways, fst.start, return_predecessors=False)] = True
    number = (np.cumsum(reached) - 1).astype(np.int32)
    arc = reached[fst.src]
    return FstArrays(int(number[fst.start]), fst.final[reached], number[fst.src[arc]], fst.ilabel[arc], fst.olabel[arc],
                     fst.weight[arc], number[fst.dst[arc]])
