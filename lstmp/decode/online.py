"""The search while the speech comes in: frames in pieces of any length, the best path so far at any time.

The result is that of :mod:`lstmp.decode.search` for the whole utterance with the same beams. As the last frames are
pruned less, four are held back until it is known that more follow.

k2 has an ``OnlineDenseIntersecter`` of its own. In 1.23.4, the release that PyPI has, it loses the best path at the
borders of the pieces (k2 issue 1194), and it works through all frames since the start with every piece. Here only the
best arc into each living state is kept, and what no living state comes from is forgotten from time to time: a second of
speech costs the same after an hour as at the start. Lattices are the price: for these, search the whole utterance.
"""

import numpy as np
import torch

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, BestPath, Compiled, Plain, SearchGraph, check_scores, compiled
from lstmp.errors import UserError


class OnlineSearch:
    """One search; :meth:`accept` any number of times, then :meth:`finish`; then it may begin anew with :meth:`reset`.

    Args:
        graph: where to search.
        cfg: beams and acoustic scale; ``output_beam`` and ``retries`` have no meaning here.
        native: use the compiled search where it can be had; the other one is slower, and its reference.
    """

    def __init__(self, graph: SearchGraph, cfg: SearchConfig, native: bool = True):
        self.graph, self.cfg = graph, cfg
        self._engine = (Compiled if native and compiled() else Plain)(graph, cfg)
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._engine.reset()
        self._held = torch.zeros(0, self.graph.num_pdfs)
        self.frames = 0  # accepted

    def accept(self, loglikes: torch.Tensor) -> None:
        """Take more frames: [T, P] acoustic log-likelihoods, unscaled; T may be 0.

        Raises:
            UserError: NaN among them, or another number of pdfs than the graph's.
        """
        if loglikes.dim() != 2 or loglikes.shape[1] != self.graph.num_pdfs:
            raise UserError(f"scores of shape {list(loglikes.shape)}, the graph has {self.graph.num_pdfs} pdfs",
                            hint="give the graph of this model")
        check_scores(loglikes)
        self.frames += len(loglikes)
        rows = torch.cat([self._held, loglikes.float() * self.cfg.acoustic_scale])
        sure = max(len(rows) - NEAR_END, 0)
        self._engine.advance(rows[:sure].contiguous().numpy(), 0)
        self._held = rows[sure:].clone()

    def best(self) -> BestPath:
        """The best path so far, four frames behind what was accepted; it need not end in a final state."""
        return self._engine.path(False, self.frames) or BestPath(np.zeros(0, np.int32), 0.0, False)

    def finish(self) -> BestPath:
        """The best path to a final state, after the last frame; where none is reached, the best path of all.

        Raises:
            UserError: no frame was accepted, or no path is left.
        """
        if not self.frames:
            raise UserError("no frame to decode")
        self._engine.advance(self._held.contiguous().numpy(), len(self._held))
        self._held = self._held[:0]
        found = self._engine.path(True, self.frames) or self._engine.path(False, self.frames)
        if found is None:
            raise UserError(f"no path survives a search beam of {self.cfg.search_beam:g}", hint="raise search_beam")
        return found

    def sizes(self) -> tuple[int, int]:
        """Living states, and entries of the history that are kept: what the memory goes with."""
        return self._engine.sizes()
