"""Computes the perplexity of a language model G on sentences."""

import math
from collections.abc import Iterable

import numpy as np

from lstmp.corpus.fst import FstArrays


class Perplexity:
    """Accumulates the cost of sentences under a G with arcs sorted by input label.

    Args:
        g: an acceptor; the arc with the label ``backoff`` leads from a state to the state of the shorter history.
        backoff: the id of ``#0``.

    Attributes:
        words: number of known words.
        unknown: number of words that the model does not contain; they count neither in the perplexity nor as history.
        sentences: number of sentences; the end of each sentence is one more event.
        impossible: number of sentences that the model, for example a grammar, does not allow; not counted elsewhere.
    """

    def __init__(self, g: FstArrays, backoff: int):
        self.g, self.backoff = g, backoff
        self.first = np.searchsorted(g.src, np.arange(len(g.final) + 1))
        self.vocabulary = set(np.unique(g.ilabel).tolist()) - {0, backoff}
        self.words = self.unknown = self.sentences = self.impossible = 0
        self.cost = 0.0

    def add(self, words: Iterable[tuple[int, ...]]):
        """Add a sentence.

        Args:
            words: for each word its id, or the ids of its pieces. A word with an id that G does not contain, such as
                −1, is unknown.
        """
        words = [ids if self.vocabulary.issuperset(ids) else () for ids in words]
        known = sum(map(bool, words))
        cost = self._cost(words)
        if math.isinf(cost):
            self.impossible += 1
            return
        self.words, self.unknown = self.words + known, self.unknown + len(words) - known
        self.sentences, self.cost = self.sentences + 1, self.cost + cost

    @property
    def value(self) -> float:
        """Perplexity per event (word or end of sentence); nan if there are no events."""
        events = self.words + self.sentences
        return math.exp(self.cost / events) if events else math.nan

    def _cost(self, words: list[tuple[int, ...]]) -> float:
        state, total = self.g.start, 0.0
        for word in words:
            if not word:  # after an unknown word, the history is empty
                while (arc := self._arc(state, self.backoff)) is not None:
                    state = int(self.g.dst[arc])
            for label in word:
                while (arc := self._arc(state, label)) is None:
                    if (arc := self._arc(state, self.backoff)) is None:
                        return math.inf
                    state, total = int(self.g.dst[arc]), total + float(self.g.weight[arc])
                state, total = int(self.g.dst[arc]), total + float(self.g.weight[arc])
        while not math.isfinite(self.g.final[state]):
            if (arc := self._arc(state, self.backoff)) is None:
                return math.inf
            state, total = int(self.g.dst[arc]), total + float(self.g.weight[arc])
        return total + float(self.g.final[state])

    def _arc(self, state: int, label: int) -> int | None:
        begin, end = self.first[state:state + 2]
        arc = begin + int(np.searchsorted(self.g.ilabel[begin:end], label))
        return arc if arc < end and self.g.ilabel[arc] == label else None
