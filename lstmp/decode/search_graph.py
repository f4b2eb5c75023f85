"""The decoding graph as the searches read it, and a path through it."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmp.aliases import Array
from lstmp.errors import UserError
from lstmp.graph.graph_file import read_graph_file


@dataclass(frozen=True, eq=False)
class SearchGraph:
    """The arrays of a decoding graph, shared by all searches in it.

    Attributes:
        arcs: int32 [A, 4], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), and the bits of
            the float32 score; sorted by from-state, as in :class:`lstmp.graph.epsilon_free.SearchArcs`.
        first: int32 [S + 1], the arcs out of state s are first[s] to first[s + 1] - 1.
        word_splits, words: int32, the words of arc a are words[word_splits[a]:word_splits[a + 1]].
        num_pdfs: number of pdf-ids of the model.
        slack: no arc of a state has a score that is higher than that of an arc before it by more than this: 0 if they
            are in the order of their scores, infinity if in any order.
    """

    arcs: Array
    first: Array
    word_splits: Array
    words: Array
    num_pdfs: int
    slack: float = np.inf

    @classmethod
    def of(cls, arcs: Array, word_splits: Array, words: Array, num_pdfs: int) -> "SearchGraph":
        """Make a graph from the arrays of a graph file or of a ``k2.Fsa``."""
        arcs, word_splits, words = (np.ascontiguousarray(x, dtype=np.int32) for x in (arcs, word_splits, words))
        source = arcs[:, 0]
        if (np.diff(source) < 0).any():
            raise UserError("its arcs are not sorted by state", hint="make the graph again")
        states = int(arcs[:, :2].max()) + 1
        first = np.zeros(states + 1, dtype=np.int32)
        np.cumsum(np.bincount(source, minlength=states), out=first[1:])
        is_word = words > 0  # k2 has -1 on the arcs into the last state, and may have 0
        words_before = np.concatenate([[0], np.cumsum(is_word, dtype=np.int32)])
        rises = (np.diff(arcs[:, 3].view(np.float32)) > 0) & (source[1:] == source[:-1])
        return cls(arcs, first, words_before[word_splits].astype(np.int32), words[is_word], num_pdfs,
                   np.inf if rises.any() else 0.0)

    @classmethod
    def load(cls, graph_dir: Path | str) -> "SearchGraph":
        """Read the graph of a folder that ``make_graph`` wrote.

        Raises:
            UserError: it is missing or damaged.
        """
        arcs, splits, words, num_pdfs = read_graph_file(Path(graph_dir))
        # copied from the mapped file to memory with large pages, as the search accesses it at random
        return cls.of(arcs.numpy().copy(), splits.numpy(), words.numpy(), num_pdfs)

    @functools.cached_property
    def scores(self) -> Array:
        """float32 [A]."""
        return self.arcs[:, 3].view(np.float32)

    def words_on(self, path: Array) -> list[tuple[int, int]]:
        """(position in the path, word id) of every word on the arcs of a path."""
        out = []
        begin, end = self.word_splits[path], self.word_splits[path + 1]
        for i in np.flatnonzero(end > begin):
            out += [(int(i), int(w)) for w in self.words[begin[i]:end[i]]]
        return out

    def with_penalty(self, word_penalty: float) -> "SearchGraph":
        """The same graph with a penalty subtracted from the score for each word."""
        if not word_penalty:
            return self
        arcs, words = self.arcs.copy(), np.diff(self.word_splits)
        arcs[:, 3].view(np.float32)[:] -= np.float32(word_penalty) * words.astype(np.float32)
        # the scores of arcs with the most words are lowered most; a little more for the rounding
        return dataclasses.replace(self, arcs=arcs, slack=self.slack + abs(word_penalty) * int(words.max()) + 1e-3)


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
