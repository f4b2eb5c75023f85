"""How well a language model G foretells sentences."""

import math
from collections.abc import Iterable

import numpy as np

from lstmp.corpus.fst import FstArrays


class Perplexity:
    """Sums over sentences, under a G whose arcs are sorted by their input label.

    Args:
        g: an acceptor; from a state the arc with ``backoff`` leads to that of the shorter history.
        backoff: the id of ``#0``.

    Attributes:
        words, unknown: words that the model has, and those that it lacks, which count neither here nor in the history.
        sentences: how many there were; the end of each is one event more.
        impossible: those that the model does not allow, as a grammar may; they count nowhere else.
    """

    def __init__(self, g: FstArrays, backoff: int):
        self.g, self.backoff = g, backoff
        self.first = np.searchsorted(g.src, np.arange(len(g.final) + 1))
        self.vocabulary = set(np.unique(g.ilabel).tolist()) - {0, backoff}
        self.words = self.unknown = self.sentences = self.impossible = 0
        self.cost = 0.0

    def add(self, words: Iterable[tuple[int, ...]]):
        """Count a sentence: of each word the ids of which G is made, itself or its pieces. Ids that G lacks, such as
        −1, make the word unknown."""
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
        """Of a word or the end of a sentence; nan without any."""
        events = self.words + self.sentences
        return math.exp(self.cost / events) if events else math.nan

    def _cost(self, words: list[tuple[int, ...]]) -> float:
        state, total = self.g.start, 0.0
        for word in words:
            if not word:  # an unknown word says nothing of what follows it: the shortest history
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
        at = begin + int(np.searchsorted(self.g.ilabel[begin:end], label))
        return at if at < end and self.g.ilabel[at] == label else None
