"""Frame-synchronous beam search in the decoding graph: compiled (search.cpp).

The pruning rules are those of k2's ``intersect_dense_pruned``: the same states survive, with scores that are equal to
the last bit. A state survives (is *active*) if its score is above  best - beam.  The beam changes from frame to frame:

- if the frame begins with more than ``max_active`` states, it is multiplied by 0.8;
- if it begins with fewer than ``min_active`` states, it is multiplied by 1.25;
- otherwise it moves a fifth of the way back to ``search_beam``.

In the last four frames (``NEAR_END``) the minimum number of states is raised to at least half of ``max_active`` and
the beam is not reduced, so that a final state is reached. Scores are added in float32 and in k2's order.

As with k2, a lattice holds the arcs between active states that are on paths within ``output_beam`` of the best one.
This includes arcs whose own score is below the beam if another arc has brought their target state above it; Kaldi does
not keep these arcs.

The same search in NumPy (:mod:`lstmp.decode.numpy_search`) is its reference, and replaces it if there is no compiler.

The compiled search takes less than half of k2's time. It keeps one token per state in plain arrays, while k2, which is
made for many utterances at once on a GPU, builds ragged tensors for every frame. And it looks at the arcs of a bundle
(:mod:`lstmp.graph.bundles`) once a frame, along the best path into it, however many active states lead there.
"""

import ctypes

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.search_graph import BestPath, SearchGraph
from lstmp.errors import UserError
from lstmp.native import array_at, library

NEAR_END = 4  # frames
_int = ctypes.c_int64


def check_scores(loglikes: torch.Tensor) -> None:
    """Check the log-likelihoods of an utterance; -inf is allowed.

    Raises:
        UserError: there is NaN or +infinity among them.
    """
    if bool(loglikes.isnan().any()) or bool((loglikes == float("inf")).any()):
        raise UserError("NaN or +infinity among the acoustic scores")


def search_library() -> ctypes.CDLL | None:
    """search.cpp, compiled; None if it cannot be compiled."""
    lib = library("decode/search.cpp", "-ffp-contract=off")  # so that sums are rounded as in NumPy
    if lib is not None:
        lib.lstmp_search_new.restype = ctypes.c_void_p
        lib.lstmp_search_path.restype = lib.lstmp_search_lattice.restype = ctypes.c_int64
        lib.lstmp_search_settled.restype = lib.lstmp_search_shares.restype = ctypes.c_int64
    return lib


class CompiledSearch:
    """The search in search.cpp. With an ``output_beam`` of 0 or more it makes a lattice, otherwise only a best path."""

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, output_beam: float = -1.0):
        lib = search_library()
        assert lib is not None
        self._lib, self._arrays = lib, graph.for_search  # which must outlive the search
        self._search = ctypes.c_void_p(self._lib.lstmp_search_new(
            *map(array_at, self._arrays), ctypes.c_float(cfg.search_beam), _int(cfg.min_active),
            _int(cfg.max_active), ctypes.c_float(output_beam), ctypes.c_float(graph.slack)))

    def __del__(self) -> None:
        if getattr(self, "_search", None):
            self._lib.lstmp_search_free(self._search)

    def reset(self) -> None:
        self._lib.lstmp_search_reset(self._search)

    def advance(self, rows: Array, near_end: int) -> None:
        self._lib.lstmp_search_advance(self._search, array_at(rows), *map(_int, rows.shape), _int(near_end))

    def path(self, to_end: bool, frames: int) -> BestPath | None:
        arcs, score = np.empty(frames + 1, np.int32), ctypes.c_float()
        n = self._lib.lstmp_search_path(self._search, _int(to_end), _int(len(arcs)), array_at(arcs),
                                        ctypes.byref(score))
        return None if n < 0 else BestPath(arcs[:n][::-1].copy(), score.value, to_end)

    def settled(self) -> int:
        """Number of arcs at the beginning of the best path that no longer change."""
        return int(self._lib.lstmp_search_settled(self._search))

    def shares(self, to_end: bool, frames: int) -> Array:
        """float32 [T]: for each arc of ``path()``, the weight of the active paths with this arc and state after it.

        The weights of active paths, the exponentials of their scores, sum to 1.
        """
        out = np.empty(frames, np.float32)
        n = self._lib.lstmp_search_shares(self._search, _int(to_end), _int(frames), array_at(out))
        return out[:n][::-1].copy()

    def links(self) -> tuple[Array, ...] | None:
        """The arcs of the lattice, after the last frame; None if no path reaches a final state.

        Returns:
            arrays [arcs of the lattice]: from-state, to-state, arc of the graph, frame, and the score difference
            between the best path and the best path through the arc.
        """
        n = self._lib.lstmp_search_lattice(self._search)
        if n < 0:
            return None
        out = [np.empty(n, np.int32) for _ in range(4)] + [np.empty(n, np.float32)]
        self._lib.lstmp_search_links(self._search, *map(array_at, out))
        return tuple(out)

    def sizes(self) -> tuple[int, int]:
        out = np.zeros(2, np.int64)
        self._lib.lstmp_search_sizes(self._search, array_at(out))
        return int(out[0]), int(out[1])
