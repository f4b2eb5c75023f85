"""Forward-backward over the denominator graph by mmi.cpp, in float32 on the CPU.

Some sequences are computed together, in the lanes of vectors. In each frame, pdfs with scores more than 80 below
the best one count as impossible. With the leaky HMM this makes no difference: two leaks, to the best pdf and back, are
far more probable. A sequence that then has no path, or whose paths include some that are too improbable for float32, is
computed again in float64 by :class:`lstmp.nnet.mmi.plain.PlainDenominator`.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from lstmp.graph.denominator import Denominator
from lstmp.native import array_at, library
from lstmp.nnet.mmi.plain import PlainDenominator

# 16 sequences together; 8 if their probabilities in one frame would not stay in a processor's second cache
_LANES, _FEWER_LANES, _CACHE = 16, 8, 512 * 1024
_FLAGS = ("-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")  # so that comparisons are vectorized


def kernel() -> ctypes.CDLL | None:
    """The compiled part, or None if it cannot be compiled here."""
    return library("nnet/mmi/mmi.cpp", *_FLAGS)


class NativeDenominator:
    """The same as :class:`lstmp.nnet.mmi.plain.PlainDenominator`, for float32 on a CPU.

    Args:
        graph, leaky: as there.
        threads: number of threads that share the sequences of a batch.
    """

    def __init__(self, graph: Denominator, leaky: float, threads: int = 1):
        lib = kernel()
        assert lib is not None
        self._function, self._leaky, self.num_pdfs = lib.lstmp_mmi, leaky, graph.num_pdfs
        self._plain = PlainDenominator(graph, leaky)
        self._lanes = _LANES if 4 * _LANES * len(graph.pdf) <= _CACHE else _FEWER_LANES
        self._threads, self._pools = threads, dict[int, ThreadPoolExecutor]()
        prob, initial, stay = np.exp(graph.weight), np.exp(graph.initial), np.exp(graph.stay)
        entry = np.bincount(graph.target, initial[graph.source] * prob, minlength=len(stay))
        self._arrays = [graph.pdf.astype(np.int32), graph.loop_pdf.astype(np.int32), stay.astype(np.float32),
                        entry.astype(np.float32), (initial * stay).astype(np.float32),
                        *_rows(graph.target, graph.source, prob, len(stay)),
                        *_rows(graph.source, graph.target, prob, len(stay))]

    def __call__(self, scores: torch.Tensor, begins: torch.Tensor, lengths: torch.Tensor, factor: float = 1.0,
                 decay: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`lstmp.nnet.mmi.plain.PlainDenominator.__call__`.

        Raises:
            ValueError: the scores do not fit the graph or the lengths.
        """
        scores = scores.detach().contiguous()
        rows, sequences, pdfs = scores.shape
        if pdfs != self.num_pdfs or len(lengths) != sequences or int(lengths.min()) < 1 or int(begins.min()) < 0 \
                or int((begins + lengths).max()) > rows:
            raise ValueError(f"scores {tuple(scores.shape)} do not fit a graph of {self.num_pdfs} pdfs and the lengths")
        gradient = torch.zeros_like(scores)
        log_prob, squares = torch.zeros(2, sequences, dtype=torch.float64)
        begins, lengths = begins.long().contiguous(), lengths.long().contiguous()
        order = np.argsort(-lengths.numpy(), kind="stable").astype(np.int64)

        def run(first: int):
            which = order[first:first + self._lanes]
            self._function(
                ctypes.c_int64(len(self._arrays[0])), ctypes.c_int64(pdfs), *map(array_at, self._arrays),
                ctypes.c_float(self._leaky), ctypes.c_int64(sequences), _at(scores), _at(begins), _at(lengths),
                ctypes.c_float(factor), ctypes.c_float(decay), _at(gradient), _at(log_prob), _at(squares),
                array_at(which), ctypes.c_int64(len(which)))

        list(self._map()(run, range(0, sequences, self._lanes)))
        again = (~log_prob.isfinite()).nonzero()[:, 0]
        if len(again):
            part = scores[:, again].double(), begins[again], lengths[again]
            log_prob[again], exact, _ = self._plain(*part, factor, decay)
            gradient[:, again] = exact.to(gradient.dtype)
        return log_prob, gradient, squares

    def _map(self) -> Callable:
        """The function that runs the blocks; each process has its own threads, as those of its parent are not there."""
        if self._threads == 1:
            return map
        if os.getpid() not in self._pools:
            self._pools[os.getpid()] = ThreadPoolExecutor(self._threads)
        return self._pools[os.getpid()].map


def _rows(state: np.ndarray, other: np.ndarray, prob: np.ndarray, num_states: int) -> list[np.ndarray]:
    """The arrays of ``Arcs`` in mmi.cpp: arcs by ``state``, the states with the fewest arcs first."""
    arcs = np.bincount(state, minlength=num_states)
    states = np.argsort(arcs, kind="stable")
    rank = np.argsort(states, kind="stable")
    order = np.argsort(rank[state], kind="stable")
    return [states.astype(np.int32), np.append(0, np.cumsum(arcs[states])).astype(np.int32),
            other[order].astype(np.int32), prob[order].astype(np.float32)]


def _at(x: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())
