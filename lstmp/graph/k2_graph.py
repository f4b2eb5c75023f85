"""Loads the graph file for the search as a k2.Fsa."""

import k2
import torch

from lstmp.graph.graph_file import read_graph_file


def load_k2_graph(graph_dir) -> k2.Fsa:
    """Read the graph of a folder that ``make_graph`` wrote.

    Returns:
        an FsaVec of one graph, arc-sorted and epsilon-free, with attributes ``scores``, ``aux_labels`` (ragged word
        ids) and ``graph_scores``, a copy of ``scores`` that k2 propagates through intersection.

    Raises:
        UserError: it is missing or damaged, or a label is not a pdf of the model that it was made for.
    """
    graph, _ = read_graph_file(graph_dir)
    arcs, splits, words = map(torch.from_numpy, graph.flat())
    fsa = k2.Fsa(arcs)
    fsa.aux_labels = k2.RaggedTensor(k2.ragged.create_ragged_shape2(splits, cached_tot_size=len(words)), words)
    fsa.graph_scores = fsa.scores.clone()
    return k2.create_fsa_vec([fsa])

