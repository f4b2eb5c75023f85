"""The decoding graph as the searches read it, and a path through it."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmp.aliases import Array
from lstmp.errors import UserError
from lstmp.graph.bundles import BundledGraph, scores_in, splits_of
from lstmp.graph.graph_file import read_graph_file


@dataclass(frozen=True, eq=False)
class SearchGraph:
    """A decoding graph, shared by all searches in it. Its arcs are numbered as :meth:`.BundledGraph.flat` has them.

    Attributes:
        bundled: the graph.
        num_pdfs: number of pdf-ids of the model.
        slack: no arc of a bundle has a score that is higher than that of an arc before it by more than this: 0 if they
            are in the order of their scores, infinity if in any order.
    """

    bundled: BundledGraph
    num_pdfs: int
    slack: float = np.inf

    @classmethod
    def of(cls, arcs: Array, word_splits: Array, words: Array, num_pdfs: int) -> "SearchGraph":
        """Make a graph from the arrays of all arcs, as those of a ``k2.Fsa``."""
        arcs, word_splits, words = (np.ascontiguousarray(x, dtype=np.int32) for x in (arcs, word_splits, words))
        if (np.diff(arcs[:, 0]) < 0).any():
            raise UserError("its arcs are not sorted by state", hint="make the graph again")
        return cls._of_bundled(BundledGraph.of_flat(arcs, word_splits, words), num_pdfs)

    @classmethod
    def _of_bundled(cls, graph: BundledGraph, num_pdfs: int) -> "SearchGraph":
        rises = np.diff(scores_in(graph.arcs)) > 0
        rises[graph.first[1:-1] - 1] = False
        return cls(graph, num_pdfs, np.inf if rises.any() else 0.0)

    @classmethod
    def load(cls, graph_dir: Path | str, word_penalty: float = 0.0) -> "SearchGraph":
        """Read the graph of a folder that ``make_graph`` wrote, and compute what the compiled search needs: before
        processes are forked, or threads begin to search.

        Args:
            graph_dir: the folder.
            word_penalty: see :meth:`with_penalty`.

        Raises:
            UserError: it is missing or damaged.
        """
        graph, num_pdfs = read_graph_file(Path(graph_dir))
        # copied from the mapped file to memory with large pages, as the search accesses it at random
        graph = dataclasses.replace(graph, arcs=graph.arcs.copy())
        loaded = cls._of_bundled(graph, num_pdfs).with_penalty(word_penalty)
        for name in ("begin", "is_flat", "for_search"):
            getattr(loaded, name)
        return loaded

    @functools.cached_property
    def num_states(self) -> int:
        """Number of states, with the last one."""
        return self.bundled.num_states

    @functools.cached_property
    def begin(self) -> Array:
        """int32 [W + 1]: the arcs of way w have the numbers begin[w] to begin[w + 1] - 1."""
        return splits_of(self.bundled.sizes)

    @functools.cached_property
    def first(self) -> Array:
        """int32 [S + 1]: the arcs out of state s have the numbers first[s] to first[s + 1] - 1."""
        return self.begin[np.searchsorted(self.bundled.ways[:, 0], np.arange(self.num_states + 1))]

    @functools.cached_property
    def for_search(self) -> tuple[Array, Array, Array]:
        """States int32 [S + 1, 4], ways int32 [W', 4] and arcs int32 [N, 3], as search.cpp has them."""
        graph, begin = self.bundled, self.begin[:-1]
        state, bundle, score = graph.ways.T
        first, end = graph.first[bundle], graph.first[bundle + 1]
        several = np.bincount(bundle, minlength=len(graph.first) - 1)[bundle] > 1
        # the first way of a state, if no other one leads to its bundle, and it has no score
        own = (np.diff(state, prepend=-1) > 0) & ~several & (score == 0)
        states = np.zeros((self.num_states + 1, 4), np.int32)
        states[state[own], :3] = np.stack([first, end, begin], 1)[own]
        others = np.bincount(state[~own], minlength=self.num_states)
        np.cumsum(others, out=states[1:, 3])
        ways = np.stack([first, np.where(several, -1 - end, end), begin, score], 1)[~own]
        return states, ways.astype(np.int32, copy=False), graph.arcs

    @functools.cached_property
    def flat(self) -> tuple[Array, Array, Array]:
        """:meth:`.BundledGraph.flat`, for a search that needs all arcs of all states."""
        return self.bundled.flat()

    @functools.cached_property
    def is_flat(self) -> bool:
        """Whether each state has one way, without score and words: then an arc has the same number in its bundle."""
        graph = self.bundled
        own = np.array_equal(graph.ways[:, 1], np.arange(len(graph.first) - 1))
        return own and bool((np.diff(graph.ways[:, 0]) > 0).all()) and not graph.ways[:, 2].any() \
            and not len(graph.way_words)

    def chosen(self, arcs: Array) -> "ChosenArcs":
        """Some arcs, int [A], in any order."""
        if self.is_flat:
            return ChosenArcs(self, arcs, np.arange(len(arcs)))
        return ChosenArcs(self, *np.unique(arcs, return_inverse=True))  # in order, each is found near the one before it

    def words_on(self, path: Array) -> list[tuple[int, int]]:
        """(position in the path, word id) of every word on the arcs of a path."""
        arcs = self.chosen(path)
        positions = np.repeat(np.arange(len(path)), arcs.num_words)
        return [(int(i), int(w)) for i, w in zip(positions, arcs.words, strict=True)]

    @property
    def vocabulary(self) -> Array:
        """The word ids that occur in it."""
        return np.union1d(self.bundled.way_words, self.bundled.words)

    def with_penalty(self, word_penalty: float) -> "SearchGraph":
        """The same graph with a penalty subtracted from the score for each word."""
        if not word_penalty:
            return self
        graph, changed = self.bundled, {}
        for rows, splits in (("ways", "way_splits"), ("arcs", "splits")):
            changed[rows] = getattr(graph, rows).copy()
            changed[rows][:, 2] = (scores_in(changed[rows]) - np.float32(word_penalty) *
                                   np.diff(getattr(graph, splits)).astype(np.float32)).view(np.int32)
        # the scores of arcs with the most words are lowered most; a little more for the rounding
        most = int(np.diff(graph.splits).max())
        return SearchGraph(dataclasses.replace(graph, **changed), self.num_pdfs,
                           self.slack + abs(word_penalty) * most + 1e-3)


@dataclass(frozen=True, eq=False)
class ChosenArcs:
    """Some arcs of a graph.

    Attributes:
        graph: the graph.
        numbers: numbers of arcs.
        index: [A], the place of each of the arcs among these.
    """

    graph: SearchGraph
    numbers: Array
    index: Array

    def __getitem__(self, kept: Array) -> "ChosenArcs":
        if self.graph.is_flat:
            return self.graph.chosen(self.numbers[kept])
        return ChosenArcs(self.graph, self.numbers, self.index[kept])

    @functools.cached_property
    def _way(self) -> Array:
        way: Array = np.searchsorted(self.graph.begin, self.numbers, side="right") - 1
        return way

    @functools.cached_property
    def _place(self) -> Array:
        """Among the arcs of the bundles."""
        graph = self.graph.bundled
        if self.graph.is_flat:
            return self.numbers
        place: Array = graph.first[graph.ways[self._way, 1]] + self.numbers - self.graph.begin[self._way]
        return place

    @property
    def ends(self) -> Array:
        """int32 [A, 2], from-state and to-state."""
        graph = self.graph.bundled
        ends: Array = np.column_stack([graph.ways[self._way, 0], graph.arcs[self._place, 0]])
        return ends[self.index]

    @property
    def labels(self) -> Array:
        """int32 [A], pdf-id + 1; -1 on arcs into the last state."""
        labels: Array = self.graph.bundled.arcs[self._place, 1]
        return labels[self.index]

    @property
    def scores(self) -> Array:
        """float32 [A]."""
        graph = self.graph.bundled
        scores = scores_in(graph.arcs[self._place])
        return (scores if self.graph.is_flat else scores_in(graph.ways[self._way]) + scores)[self.index]

    @property
    def num_words(self) -> Array:
        """int32 [A], the number of words on each."""
        splits, way_splits = self.graph.bundled.splits, self.graph.bundled.way_splits
        counts: Array = splits[self._place + 1] - splits[self._place]
        if not self.graph.is_flat:
            counts += way_splits[self._way + 1] - way_splits[self._way]
        return counts[self.index]

    @property
    def words(self) -> Array:
        """int32, the words of all of them."""
        return self.graph.bundled.words_of(self._way[self.index], self._place[self.index])[1]


@dataclass(frozen=True)
class BestPath:
    """A path through the graph.

    Attributes:
        arcs: int32 [T], or [T + 1] if it ends in a final state.
        score: scaled acoustic score plus graph score.
        final: whether it ends in a final state.
    """

    arcs: Array
    score: float
    final: bool
