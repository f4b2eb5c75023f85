"""The search by k2's ``intersect_dense_pruned``, whose rules are those of :mod:`lstmp.decode.engine`."""

import os
from pathlib import Path

import k2
import numpy as np
import torch

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import SearchGraph
from lstmp.decode.lattice import Lattice
from lstmp.decode.thinning import MARGIN, Links, lattice_of
from lstmp.errors import UserError
from lstmp.graph.graph_file import NAME
from lstmp.graph.k2_graph import load_k2_graph

_searched_by: int | None = None  # process id of the last search


def check_graph(graph: k2.Fsa, num_pdfs: int, file: Path | str | None = None) -> None:
    """Insist on what k2 does not check: labels within the columns of the scores, and no epsilon. Makes it ready.

    Raises:
        UserError: the graph is of another model, or holds epsilons.
    """
    labels = graph.arcs.values()[:, 2]
    highest = int(labels.max()) if len(labels) else 0
    if highest > num_pdfs:
        raise UserError(f"the graph has pdf-id {highest - 1}, the model has {num_pdfs} of them", file=file,
                        hint="make the graph from this model")
    if highest < 1 or bool((labels == 0).any()):
        raise UserError("a graph without labels, or with epsilons left in it", file=file, hint="make the graph again")
    graph.checked_pdfs = num_pdfs
    graph.graph_arc = torch.arange(graph.num_arcs, dtype=torch.int32)  # comes along through the search
    words = graph.aux_labels
    graph.arrays = SearchGraph.of(graph.arcs.values().numpy(), words.shape.row_splits(1).numpy(), words.values.numpy(),
                                  num_pdfs)


def load_graph(graph_dir: Path | str, num_pdfs: int) -> k2.Fsa:
    """The graph of a folder, checked.

    Raises:
        UserError: it is missing, damaged, or of another model.
    """
    graph = load_k2_graph(graph_dir)
    check_graph(graph, num_pdfs, file=Path(graph_dir) / NAME)
    return graph


def check_before_search(graph: k2.Fsa, num_pdfs: int) -> None:
    """Insist on a graph of such a model, and on the process that searched first.

    k2 starts a thread in the first search; a process forked after that lacks it and would wait for ever.

    Raises:
        UserError: another model.
        RuntimeError: another process.
    """
    global _searched_by
    if getattr(graph, "checked_pdfs", None) != num_pdfs:
        check_graph(graph, num_pdfs)
    if _searched_by not in (None, os.getpid()):
        raise RuntimeError("this process was forked from one that has searched already: fork first, then search")
    _searched_by = os.getpid()


def search(graph: k2.Fsa, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice | None:
    """The lattice of :func:`lstmp.decode.search.decode_utterance` by one search, None where no path survives."""
    # Column 0 stands for label 0, which k2 does not take as epsilon; the graph has none.
    scores = torch.full((1, len(loglikes), loglikes.shape[1] + 1), float("-inf"))
    torch.mul(loglikes, cfg.acoustic_scale, out=scores[0, :, 1:])
    dense = k2.DenseFsaVec(scores, torch.tensor([[0, 0, len(loglikes)]], dtype=torch.int32))
    try:
        found = k2.intersect_dense_pruned(graph, dense, cfg.search_beam, cfg.output_beam + MARGIN,
                                          cfg.min_active, cfg.max_active, frame_idx_name="frame")
    except RuntimeError as e:  # a check of k2's own
        raise UserError(f"k2 gave up: {e}", hint="lower search_beam or max_active") from None
    label = found.labels.numpy()
    if not (label < 0).any():  # where no end is reached, arcs of early frames may be left, but no path
        return None
    frame = np.where(label < 0, len(loglikes), found.frame.numpy())
    links = Links(found.arcs.values()[:, :2].numpy(), found.graph_arc.numpy(), frame)
    return lattice_of(links, graph.arrays, loglikes, cfg)
