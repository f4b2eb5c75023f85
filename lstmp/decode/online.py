"""Online search: accepts frames in pieces of any length, and returns the best path so far at any time.

The result is the best path of :mod:`lstmp.decode.search` for the whole utterance with the same beams. Because the last
frames of an utterance are pruned less, four frames are held back until it is known that more follow.

k2 has an ``OnlineDenseIntersecter``. In 1.23.4, the release on PyPI, it loses the best path at the boundaries of the
pieces (k2 issue 1194), and with every piece it processes all frames from the start. Here only the best arc into each
active state is kept, and history that no active state depends on is discarded from time to time. A second of speech
therefore costs the same after an hour as at the start. The disadvantage is that there are no lattices; for lattices,
search the whole utterance.
"""

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, CompiledSearch, check_scores, search_library
from lstmp.decode.numpy_search import NumpySearch
from lstmp.decode.search_graph import BestPath, SearchGraph
from lstmp.errors import UserError


class OnlineSearch:
    """Searches one utterance: call :meth:`accept` any number of times, then :meth:`finish`.

    After :meth:`reset` the same object can search another utterance.

    Args:
        graph: the decoding graph.
        cfg: beams and acoustic scale; ``output_beam`` and ``retries`` are not used.
        native: use the compiled search if it is available, otherwise the slower one in NumPy.
    """

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, native: bool = True):
        self.graph, self.cfg = graph, cfg
        self._engine = (CompiledSearch if native and search_library() else NumpySearch)(graph, cfg)
        self.reset()

    def reset(self) -> None:
        """Start a new utterance."""
        self._engine.reset()
        self._held = torch.zeros(0, self.graph.num_pdfs)
        self.frames = 0  # number of accepted frames
        self._to_end = False  # whether the utterance has been finished in a final state

    def accept(self, loglikes: torch.Tensor) -> None:
        """Search more frames: [T, P] acoustic log-likelihoods, unscaled; T may be 0.

        Raises:
            UserError: there is NaN among them, or P is not the graph's number of pdfs.
        """
        if loglikes.dim() != 2 or loglikes.shape[1] != self.graph.num_pdfs:
            raise UserError(f"scores of shape {list(loglikes.shape)}, the graph has {self.graph.num_pdfs} pdfs",
                            hint="give the graph of this model")
        check_scores(loglikes)
        self.frames += len(loglikes)
        rows = torch.cat([self._held, loglikes.float() * self.cfg.acoustic_scale])
        ready = max(len(rows) - NEAR_END, 0)
        self._engine.advance(rows[:ready].contiguous().numpy(), 0)
        self._held = rows[ready:].clone()

    def best(self) -> BestPath:
        """The best path so far, without the last four accepted frames. It need not end in a final state."""
        return self._engine.path(False, self.frames) or BestPath(np.zeros(0, np.int32), 0.0, False)

    def settled(self) -> int:
        """Number of arcs at the beginning of :meth:`best` that no longer change: all active paths begin with them."""
        return self._engine.settled()

    def shares(self) -> Array:
        """For each arc of :meth:`best`, or of :meth:`finish` after it: what part of all active paths goes through it.

        float32 [T], without the arc into the final state. Paths are weighted by the exponentials of their scores. A
        part is nearly 0 where many paths are as good as the best one, and 1 on the first :meth:`settled` arcs.
        """
        return self._engine.shares(self._to_end, self.frames)

    def finish(self) -> BestPath:
        """End the utterance. Returns the best path to a final state; if none is reached, the best path to any state.

        Raises:
            UserError: no frame was accepted, or no path survives.
        """
        if not self.frames:
            raise UserError("no frame to decode")
        self._engine.advance(self._held.contiguous().numpy(), len(self._held))
        self._held = self._held[:0]
        path = self._engine.path(True, self.frames)
        self._to_end = path is not None
        path = path or self._engine.path(False, self.frames)
        if path is None:
            raise UserError(f"no path survives a search beam of {self.cfg.search_beam:g}", hint="raise search_beam")
        return path

    def sizes(self) -> tuple[int, int]:
        """Number of active states, and of entries in the history; they determine the memory used."""
        return self._engine.sizes()
