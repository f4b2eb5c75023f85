"""The decoding graph without epsilons, for the search: states, and bundles of arcs that many states share.

The search takes one arc per frame, so an arc that consumes no frame must be removed: a state gets the arcs of all
states that it reaches by epsilons. Most of these paths are back-offs of the n-gram model, and from thousands of states
they lead to the same few. So the arcs that leave such a state together, a *bundle*, are stored once, and a state has
*ways*, each to a bundle, with the score and the words of the path. The arcs of a state are those of all its ways, in
their order; the score of an arc is that of its way plus that in its bundle.
"""

from dataclasses import dataclass

import numpy as np

from lstmp.aliases import Array
from lstmp.graph.ranges import pairs, ranges

MOST_ARCS = 2 ** 31 - 1  # their numbers are int32


@dataclass(frozen=True, eq=False)
class BundledGraph:
    """A graph. State 0 is the start, the last state is the only final one.

    Attributes:
        ways: int32 [W, 3], state, bundle, and the bits of the float32 score; sorted by state.
        way_splits, way_words: int32; the words of way w are way_words[way_splits[w]:way_splits[w + 1]].
        first: int32 [B + 1], the arcs of bundle b are first[b] to first[b + 1] - 1.
        arcs: int32 [N, 3], to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of the float32
            score.
        splits, words: int32; the words of arc n of the bundles are words[splits[n]:splits[n + 1]].
    """

    ways: Array
    way_splits: Array
    way_words: Array
    first: Array
    arcs: Array
    splits: Array
    words: Array

    @classmethod
    def of_flat(cls, arcs: Array, splits: Array, words: Array) -> "BundledGraph":
        """The graph of the arrays of :meth:`flat`: each state has one way, of score 0, to a bundle of its own.

        Words may be -1 or 0, as k2 has them on arcs into the last state; they are left out.
        """
        is_word = words > 0
        splits, words = splits_of(is_word)[splits], words[is_word]
        state, first = np.unique(arcs[:, 0], return_index=True)
        ways = np.stack([state, np.arange(len(state)), np.zeros_like(state)], 1).astype(np.int32)
        return cls(ways, np.zeros(len(state) + 1, np.int32), np.zeros(0, np.int32),
                   np.append(first, len(arcs)).astype(np.int32), np.ascontiguousarray(arcs[:, 1:]), splits, words)

    @property
    def num_states(self) -> int:
        """Number of states, with the final one."""
        return int(self.arcs[:, 0].max()) + 1

    @property
    def sizes(self) -> Array:
        """int32 [W], number of arcs of each way."""
        return np.diff(self.first)[self.ways[:, 1]]

    @property
    def num_arcs(self) -> int:
        """Number of arcs of all states."""
        return int(self.sizes.sum(dtype=np.int64))

    def flat(self) -> tuple[Array, Array, Array]:
        """All arcs of all states: int32 [A, 4], from-state, to-state, label, bits of the score; splits; words."""
        return self._arcs_of(np.arange(len(self.ways)))

    def inlined(self, most: int) -> "BundledGraph":
        """An equal graph in which each state has a bundle of its own, the first one, with the arcs of all its ways to
        bundles of at most ``most`` arcs, or that no other way leads to. So they are next to each other in memory."""
        bundle, sizes = self.ways[:, 1], np.diff(self.first)
        alone = np.bincount(bundle, minlength=len(sizes))[bundle] == 1
        inline = alone | (self.sizes <= most)
        kept = np.flatnonzero(~inline)
        shared = np.unique(bundle[kept])
        # the bundles: first those of the states, with their arcs in the order of their scores, then the shared ones
        arcs, splits, words = self._arcs_of(np.flatnonzero(inline))
        order = np.argsort((arcs[:, 0].astype(np.uint64) << np.uint64(32)) | descending(scores_in(arcs)), kind="stable")
        arcs, (splits, words) = arcs[order], rows_of(order, splits, words)
        states, own_sizes = np.unique(arcs[:, 0], return_counts=True)
        shared_arcs = ranges(self.first[shared], sizes[shared])
        shared_splits, shared_words = rows_of(shared_arcs, self.splits, self.words)
        first = splits_of(np.concatenate([own_sizes, sizes[shared]]))
        # the ways: those to the states' own bundles have no score and no words
        number = np.zeros(len(sizes), np.int32)
        number[shared] = len(states) + np.arange(len(shared))
        ways = np.concatenate([np.column_stack([states, np.arange(len(states)), np.zeros(len(states), np.int32)]),
                               np.column_stack([self.ways[kept, 0], number[bundle[kept]], self.ways[kept, 2]])])
        counts = np.concatenate([np.zeros(len(states), np.int32), np.diff(self.way_splits)[kept]])
        way_splits = splits_of(counts)
        by_state = np.argsort(ways[:, 0], kind="stable")
        way_splits, way_words = rows_of(by_state, way_splits, rows_of(kept, self.way_splits, self.way_words)[1])
        return BundledGraph(ways[by_state].astype(np.int32), way_splits, way_words, first,
                            np.concatenate([arcs[:, 1:], self.arcs[shared_arcs]]),
                            np.concatenate([splits, splits[-1] + shared_splits[1:]]),
                            np.concatenate([words, shared_words]))

    def _arcs_of(self, ways: Array) -> tuple[Array, Array, Array]:
        """:meth:`flat`, only the arcs of some ways, in their order."""
        begin = self.first[self.ways[ways, 1]]
        way, arc = pairs(ways, begin, begin + self.sizes[ways])
        score = scores_in(self.ways)[way] + scores_in(self.arcs)[arc]
        arcs = np.column_stack([self.ways[way, 0], self.arcs[arc, :2], score.view(np.int32)])
        return arcs.astype(np.int32, copy=False), *self.words_of(way, arc)

    def words_of(self, way: Array, arc: Array) -> tuple[Array, Array]:
        """(splits, words) of arcs, each given by its way and its number among the arcs of the bundles."""
        of_way = self.way_splits[way + 1] - self.way_splits[way]
        of_arc = self.splits[arc + 1] - self.splits[arc]
        splits = splits_of(of_way + of_arc)
        words = np.empty(splits[-1], np.int32)
        words[ranges(splits[:-1], of_way)] = self.way_words[ranges(self.way_splits[way], of_way)]
        words[ranges(splits[:-1] + of_way, of_arc)] = self.words[ranges(self.splits[arc], of_arc)]
        return splits, words


def rows_of(chosen: Array, splits: Array, words: Array) -> tuple[Array, Array]:
    """(splits, words) of some of the rows that splits and words describe."""
    counts = splits[chosen + 1] - splits[chosen]
    return splits_of(counts), words[ranges(splits[chosen], counts)]


def splits_of(counts: Array) -> Array:
    """int32 [N + 1]: where each of N rows of so many items begins, one after the other, and where the last one ends."""
    splits = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=splits[1:])
    return splits


def scores_in(rows: Array) -> Array:
    """float32, of rows whose last value is the bits of a score."""
    return rows[:, -1].view(np.float32)


def descending(x: Array) -> Array:
    """uint64 below 2³² in the opposite order of the finite float32 values ``x``."""
    bits = x.view(np.uint32)
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (~ascending).astype(np.uint64)
