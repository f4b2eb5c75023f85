"""Beam search with k2's ``intersect_dense_pruned``, by the same pruning rules as :mod:`lstmp.decode.engine`."""

import os
from pathlib import Path

import k2
import numpy as np
import torch

from lstmp.decode.config import SearchConfig
from lstmp.decode.lattice import Lattice
from lstmp.decode.search_graph import SearchGraph
from lstmp.decode.thinning import MARGIN, Links, lattice_of
from lstmp.errors import UserError
from lstmp.graph.graph_file import NAME
from lstmp.graph.k2_graph import load_k2_graph

_searched_by: int | None = None  # id of the process that searched last


def check_graph(graph: k2.Fsa, num_pdfs: int, file: Path | str | None = None) -> None:
    """Check what k2 does not: labels within the columns of the scores, no epsilons. Adds attributes for the search.

    Raises:
        UserError: the graph is for another model, or has epsilons.
    """
    labels = graph.arcs.values()[:, 2]
    highest = int(labels.max()) if len(labels) else 0
    if highest > num_pdfs:
        raise UserError(f"the graph has pdf-id {highest - 1}, the model has only {num_pdfs} pdfs", file=file,
                        hint="make the graph from this model")
    if highest < 1 or bool((labels == 0).any()):
        raise UserError("the graph has no labels, or has epsilons", file=file, hint="make the graph again")
    graph.checked_pdfs = num_pdfs
    graph.graph_arc = torch.arange(graph.num_arcs, dtype=torch.int32)  # k2 copies it to the arcs of the lattice
    words = graph.aux_labels
    graph.arrays = SearchGraph.of(graph.arcs.values().numpy(), words.shape.row_splits(1).numpy(), words.values.numpy(),
                                  num_pdfs)


def load_graph(graph_dir: Path | str, num_pdfs: int) -> k2.Fsa:
    """Load and check the graph of a folder.

    Raises:
        UserError: it is missing, damaged, or for another model.
    """
    graph = load_k2_graph(graph_dir)
    check_graph(graph, num_pdfs, file=Path(graph_dir) / NAME)
    return graph


def check_before_search(graph: k2.Fsa, num_pdfs: int) -> None:
    """Check that the graph fits the model, and that this process was not forked after a first search.

    k2 starts a thread in the first search. A process forked after that does not have this thread and would hang.

    Raises:
        UserError: the graph is for another model.
        RuntimeError: another process has searched before.
    """
    global _searched_by
    if getattr(graph, "checked_pdfs", None) != num_pdfs:
        check_graph(graph, num_pdfs)
    if _searched_by not in (None, os.getpid()):
        raise RuntimeError("this process was forked from one that has searched already: fork first, then search")
    _searched_by = os.getpid()


def search(graph: k2.Fsa, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice | None:
    """One search for :func:`lstmp.decode.search.decode_utterance`. Returns the lattice; None if no path survives."""
    # Column 0 is for label 0, which k2 does not treat as epsilon. The graph does not use it.
    scores = torch.full((1, len(loglikes), loglikes.shape[1] + 1), float("-inf"))
    torch.mul(loglikes, cfg.acoustic_scale, out=scores[0, :, 1:])
    dense = k2.DenseFsaVec(scores, torch.tensor([[0, 0, len(loglikes)]], dtype=torch.int32))
    try:
        result = k2.intersect_dense_pruned(graph, dense, cfg.search_beam, cfg.output_beam + MARGIN,
                                           cfg.min_active, cfg.max_active, frame_idx_name="frame")
    except RuntimeError as e:  # a check in k2 failed
        raise UserError(f"k2 failed: {e}", hint="lower search_beam or max_active") from None
    label = result.labels.numpy()
    if not (label < 0).any():  # no final state was reached: there may be arcs of early frames, but no path
        return None
    frame = np.where(label < 0, len(loglikes), result.frame.numpy())
    links = Links(result.arcs.values()[:, :2].numpy(), result.graph_arc.numpy(), frame)
    return lattice_of(links, graph.arrays, loglikes, cfg)
