"""Minimization of a graph by merging equal states, without analysis of cycles.

Two states are equal if they have the same final cost and the same arcs: equal labels, costs and targets. Merging them
makes the targets of other arcs equal, and so on until nothing changes. For a determinized graph the result is minimal,
except for states on cycles whose equality depends on itself; an HCLG has very few of them. As in Kaldi's
``fstminimizeencoded``, costs are compared after rounding to multiples of 1/1024.
"""

import numpy as np

from lstmp.corpus.fst import FstArrays

_RESOLUTION = 1024.0
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)


def merge_states(fst: FstArrays) -> FstArrays:
    """Merge states until no two of them are equal.

    Args:
        fst: connected; weights are costs over the tropical semiring.

    States are compared by 64-bit hashes, which are sums over their arcs. In a graph of ten million states, the
    probability that two different states are merged is about one in some hundred thousand.
    """
    if not (num_states := len(fst.final)):
        return fst
    label = _mix(_mix(fst.ilabel.astype(np.uint64) * _FACTORS[0] + fst.olabel.astype(np.uint64)) + _rounded(fst.weight))
    dst = fst.dst.copy()
    first = np.searchsorted(fst.src, np.arange(num_states + 1))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_arc_hash(label, dst))])
    hashes = sums[first[1:]] - sums[first[:-1]] + _mix(_rounded(fst.final))
    merged_into = np.arange(num_states, dtype=np.int32)  # the state that each state is replaced by
    index, changed = _HashIndex(hashes), None  # in the first round, all states are compared
    while len(duplicates := index.merge_duplicates(changed, merged_into)):
        is_duplicate = np.zeros(num_states, bool)
        is_duplicate[duplicates] = True
        redirected = np.flatnonzero(is_duplicate[dst])
        old_hash = _arc_hash(label[redirected], dst[redirected])
        dst[redirected] = merged_into[dst[redirected]]
        np.add.at(hashes, fst.src[redirected], _arc_hash(label[redirected], dst[redirected]) - old_hash)
        changed = np.unique(fst.src[redirected])
        changed = changed[merged_into[changed] == changed]
    while (merged_into[merged_into] != merged_into).any():
        merged_into = merged_into[merged_into]
    start = int(merged_into[fst.start])
    kept = np.flatnonzero(merged_into == np.arange(num_states))
    number = np.zeros(num_states, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    is_kept = np.zeros(num_states, bool)
    is_kept[kept] = True
    arcs = is_kept[fst.src]
    return FstArrays(int(number[start]), fst.final[kept], number[fst.src[arcs]], fst.ilabel[arcs], fst.olabel[arcs],
                     fst.weight[arcs], number[dst[arcs]])


class _HashIndex:
    """Finds states with equal hashes. All states are sorted once; those that have changed since are kept separately."""

    def __init__(self, hashes: np.ndarray):
        self.hashes = hashes  # the caller updates this array
        self.states = np.argsort(hashes, kind="stable")
        self.sorted = hashes[self.states]
        self.others = np.zeros(0, np.int64)

    def merge_duplicates(self, changed: np.ndarray | None, merged_into: np.ndarray) -> np.ndarray:
        """Find the states that are now equal to others, record them in ``merged_into``, and return them.

        Args:
            changed: states, not merged so far, whose hashes have changed since the last call; None: compare all states.
            merged_into: the state that each state is replaced by.
        """
        if changed is None:
            return self._merge_runs(self.states, merged_into)
        place = np.minimum(np.searchsorted(self.sorted, self.hashes[changed]), len(self.sorted) - 1)
        twin = self.states[place]  # a state that had this hash at the start; its hash may have changed since
        same = (self.sorted[place] == self.hashes[changed]) & (self.hashes[twin] == self.hashes[changed])
        same &= (twin != changed) & (merged_into[twin] == twin)
        merged_into[changed[same]] = twin[same]
        self.others = np.union1d(self.others, changed[~same])
        self.others = self.others[merged_into[self.others] == self.others]
        rest = self._merge_runs(self.others[np.argsort(self.hashes[self.others], kind="stable")], merged_into)
        return np.concatenate([changed[same], rest])

    def _merge_runs(self, states: np.ndarray, merged_into: np.ndarray) -> np.ndarray:
        """Merge each run of equal hashes in ``states``, sorted by hash, into its first state. Returns the others."""
        hashes = self.hashes[states]
        starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(hashes) \
            else np.zeros(0, int)
        first = np.repeat(states[starts], np.diff(np.append(starts, len(states))))
        merged_into[states] = first
        return states[first != states]


def _arc_hash(label: np.ndarray, dst: np.ndarray) -> np.ndarray:
    """Hashes of arcs with these (mixed) labels to these states. The hash of a state is the sum over its arcs."""
    return _mix(label + (dst.astype(np.uint64) + np.uint64(1)) * _FACTORS[1])


def _rounded(cost: np.ndarray) -> np.ndarray:
    """Costs rounded to multiples of 1/1024, as 64-bit integers; an infinite cost gets a number of its own."""
    rounded = np.rint(np.where(np.isfinite(cost), cost, 2.0**40).astype(np.float64) * _RESOLUTION)
    return rounded.astype(np.int64).view(np.uint64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Mix the bits of x, so that each bit of x affects all bits of the result."""
    x = (x ^ (x >> np.uint64(32))) * _FACTORS[1]
    x = (x ^ (x >> np.uint64(29))) * _FACTORS[2]
    return x ^ (x >> np.uint64(32))
