"""A back-off n-gram language model as a deterministic automaton over words, read from the G.fst of a lang folder."""

import ctypes
from pathlib import Path

import numpy as np

from lstmp.aliases import Array
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.fst_cycles import check_backoff
from lstmp.corpus.lang import read_symbols
from lstmp.errors import UserError
from lstmp.native import array_at


class _LmArrays(ctypes.Structure):
    """The struct Lm of compose.cpp."""

    _fields_ = [("keys", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("num_keys", "width", "start")),
                *((name, ctypes.c_void_p) for name in ("to", "cost", "back_to", "back_cost", "final_cost"))]


class BackoffLm:
    """A back-off n-gram LM from G.fst. A back-off arc (``#0``) is taken only if the state has no arc for the word.

    Attributes:
        start: the state before the first word.
        num_states: number of states.
        arrays: the whole LM, in the form that compose.cpp takes.
    """

    def __init__(self, lang: Path | str):
        path = Path(lang) / "G.fst"
        if not path.is_file():
            raise UserError("no such file", file=path, hint="make it with local/prepare_lm.sh")
        g = FstArrays.read(path)
        backoff = read_symbols(Path(lang) / "words.txt").get("#0")
        check_backoff(g, backoff, path)
        self.start, self.num_states = g.start, len(g.final)
        is_backoff = g.ilabel == backoff
        self._back_to = np.full(self.num_states, -1, np.int64)
        self._back_to[g.src[is_backoff]] = g.dst[is_backoff]
        self._back_cost = np.zeros(self.num_states)
        self._back_cost[g.src[is_backoff]] = g.weight[is_backoff]
        words = ~is_backoff
        self._width = int(g.ilabel.max(initial=0)) + 1
        keys = g.src[words].astype(np.int64) * self._width + g.ilabel[words]
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        if (self._keys[1:] == self._keys[:-1]).any():
            raise UserError("a state has two arcs with the same word", file=path,
                            hint="make it with local/prepare_lm.sh")
        self._to, self._cost = g.dst[words][order].astype(np.int64), g.weight[words][order].astype(np.float64)
        self._final = g.final.astype(np.float64)
        self.arrays = _LmArrays(array_at(self._keys), len(self._keys), self._width, self.start, array_at(self._to),
                                array_at(self._cost), array_at(self._back_to), array_at(self._back_cost),
                                array_at(self._final))

    def step(self, states: Array, words: Array) -> tuple[Array, Array]:
        """Read one word in each of N states.

        Args:
            states: int [N].
            words: int [N], the word read in each state.

        Returns:
            the next states, int64 [N], and the log-probabilities of the words, float64 [N]; −inf for an unknown word.
        """
        states, words = states.astype(np.int64), words.astype(np.int64)
        to, cost = np.full(len(states), self.start, np.int64), np.zeros(len(states))
        todo = np.arange(len(states))
        while len(todo):
            key = states[todo] * self._width + words[todo]
            index = np.searchsorted(self._keys, key).clip(max=len(self._keys) - 1)
            known = (self._keys[index] == key) & (words[todo] < self._width)
            to[todo[known]] = self._to[index[known]]
            cost[todo[known]] += self._cost[index[known]]
            todo = todo[~known]
            no_backoff = self._back_to[states[todo]] < 0
            cost[todo[no_backoff]] = np.inf
            todo = todo[~no_backoff]
            cost[todo] += self._back_cost[states[todo]]
            states[todo] = self._back_to[states[todo]]
        return to, -cost

    def final(self, states: Array) -> Array:
        """Log-probability of the end of the sentence in each state, float64 [N]."""
        states, cost = states.astype(np.int64), np.zeros(len(states))
        while (more := np.isinf(self._final[states]) & (self._back_to[states] >= 0)).any():
            cost[more] += self._back_cost[states[more]]
            states[more] = self._back_to[states[more]]
        score: Array = -(cost + self._final[states])
        return score
