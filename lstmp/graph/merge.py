"""States that are alike made one: minimization of a graph as far as it goes without looking at cycles.

Two states are alike if they end with the same cost and have the same arcs: equal labels, equal costs, equal targets.
Making them one makes the targets of other arcs equal, and so on until nothing changes. Of a determinized graph that is
the minimal one but for states that are alike only if one takes it that they are, going around in cycles; in HCLGs
there are hardly any. As in Kaldi's ``fstminimizeencoded``, costs count as equal that are within 1/1024.
"""

import numpy as np

from lstmp.corpus.fst import FstArrays

_STEP = 1024.0
_ODD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)


def merge_states(fst: FstArrays) -> FstArrays:
    """Merge until no two states are alike.

    Args:
        fst: connected; costs over the tropical semiring.

    States are told apart by 64-bit sums over their arcs: among ten million, two different ones are taken for alike once
    in some hundred thousand graphs.
    """
    if not (num_states := len(fst.final)):
        return fst
    label = _mixed(_mixed(fst.ilabel.astype(np.uint64) * _ODD[0] + fst.olabel.astype(np.uint64)) + _steps(fst.weight))
    dst = fst.dst.copy()
    first = np.searchsorted(fst.src, np.arange(num_states + 1))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_to(label, dst))])
    sign = sums[first[1:]] - sums[first[:-1]] + _mixed(_steps(fst.final))
    one = np.arange(num_states, dtype=np.int32)  # what each state becomes: of those alike the first
    known, changed = _Signs(sign), None  # in the first round all are compared
    while len(gone := known.duplicates(changed, one)):
        is_gone = np.zeros(num_states, bool)
        is_gone[gone] = True
        moved = np.flatnonzero(is_gone[dst])
        before = _to(label[moved], dst[moved])
        dst[moved] = one[dst[moved]]
        np.add.at(sign, fst.src[moved], _to(label[moved], dst[moved]) - before)
        changed = np.unique(fst.src[moved])
        changed = changed[one[changed] == changed]
    while (one[one] != one).any():
        one = one[one]
    start = int(one[fst.start])
    alive = np.flatnonzero(one == np.arange(num_states))
    number = np.zeros(num_states, np.int32)
    number[alive] = np.arange(len(alive), dtype=np.int32)
    lives = np.zeros(num_states, bool)
    lives[alive] = True
    keep = lives[fst.src]
    return FstArrays(int(number[start]), fst.final[alive], number[fst.src[keep]], fst.ilabel[keep], fst.olabel[keep],
                     fst.weight[keep], number[dst[keep]])


class _Signs:
    """The states by their sums, to find equal ones: sorted once, and beside them those that have changed since."""

    def __init__(self, sign: np.ndarray):
        self.sign = sign  # changes while this exists
        self.states = np.argsort(sign, kind="stable")
        self.sorted = sign[self.states]
        self.others = np.zeros(0, np.int64)

    def duplicates(self, changed: np.ndarray | None, one: np.ndarray) -> np.ndarray:
        """The states that equal others now; ``one`` is told what they become.

        Args:
            changed: states, still alive, whose sums have changed since the last call; None: compare all.
        """
        if changed is None:
            return self._of_runs(self.states, one)
        place = np.minimum(np.searchsorted(self.sorted, self.sign[changed]), len(self.sorted) - 1)
        twin = self.states[place]  # one of those that had this sum at first, which they may have no longer
        same = (self.sorted[place] == self.sign[changed]) & (self.sign[twin] == self.sign[changed]) & (twin != changed)
        same &= one[twin] == twin
        one[changed[same]] = twin[same]
        self.others = np.union1d(self.others, changed[~same])
        self.others = self.others[one[self.others] == self.others]
        rest = self._of_runs(self.others[np.argsort(self.sign[self.others], kind="stable")], one)
        return np.concatenate([changed[same], rest])

    def _of_runs(self, states: np.ndarray, one: np.ndarray) -> np.ndarray:
        """Of states in the order of their sums, those that equal the one before."""
        sums = self.sign[states]
        begins = np.flatnonzero(np.concatenate([[True], sums[1:] != sums[:-1]])) if len(sums) else np.zeros(0, int)
        first = np.repeat(states[begins], np.diff(np.append(begins, len(states))))
        one[states] = first
        return states[first != states]


def _to(label: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """What arcs with these labels to these states add to the sum of their state."""
    return _mixed(label + (dst.astype(np.uint64) + np.uint64(1)) * _ODD[1])


def _steps(cost: np.ndarray) -> np.ndarray:
    """Costs in steps of 1/1024, as 64-bit numbers; infinite ones as a number that no other has."""
    steps = np.rint(np.where(np.isfinite(cost), cost, 2.0**40).astype(np.float64) * _STEP)
    return steps.astype(np.int64).view(np.uint64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """Every bit of x in every bit of the result."""
    x = (x ^ (x >> np.uint64(32))) * _ODD[1]
    x = (x ^ (x >> np.uint64(29))) * _ODD[2]
    return x ^ (x >> np.uint64(32))
