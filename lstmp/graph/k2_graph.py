"""HCLG for k2: labels are pdf-id + 1, no epsilon is left, scores are log-probabilities; kept on disk as plain arrays.

k2's search takes label 0 for a symbol like any other, so all arcs that consume no frame must go first. A path may then
write several words on one arc, which makes the output labels ragged. The removal takes half a minute for 14 million
arcs, so it is done once; reading the arrays back takes seconds.
"""

from pathlib import Path

import k2
import numpy as np
import torch

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError
from lstmp.graph.graph_file import NAME, read_graph_file
from lstmp.tensors import write_tensors


def to_k2(hclg: FstArrays, tid_pdf: torch.Tensor) -> k2.Fsa:
    """Convert a graph.

    Args:
        hclg: input labels are transition-ids; costs.
        tid_pdf: pdf-id by transition-id, as :class:`lstmp.gmm.transition.TransitionModel` has it.

    Returns:
        an arc-sorted FSA, epsilon-free: labels pdf-id + 1 and −1, ragged ``aux_labels`` of word ids.

    Raises:
        UserError: the graph has a transition-id that the model has not, or no path.
    """
    if len(hclg.ilabel) and int(hclg.ilabel.max()) >= len(tid_pdf):
        raise UserError(f"the graph has transition-id {int(hclg.ilabel.max())}, the model {len(tid_pdf) - 1} of them",
                        mend="make the graph again from this model")
    label = np.where(hclg.ilabel > 0, tid_pdf.numpy()[hclg.ilabel] + 1, 0)
    num_states = len(hclg.final)
    ends = np.flatnonzero(np.isfinite(hclg.final))
    # k2 wants the start to be state 0 and one final state, the last, entered by arcs with label −1
    src, dst = np.concatenate([hclg.src, ends]), np.concatenate([hclg.dst, np.full(len(ends), num_states)])
    swap = np.arange(num_states + 1)
    swap[[0, hclg.start]] = swap[[hclg.start, 0]]
    src, dst = swap[src], swap[dst]
    order = np.argsort(src, kind="stable")
    score = -np.concatenate([hclg.weight, hclg.final[ends]]).astype(np.float32)
    arcs = np.stack([src, dst, np.concatenate([label, np.full(len(ends), -1)]), score.view(np.int32)], axis=1)
    words = np.concatenate([hclg.olabel, np.full(len(ends), -1)])
    fsa = k2.Fsa(torch.from_numpy(arcs[order].astype(np.int32)),
                 aux_labels=torch.from_numpy(words[order].astype(np.int32)))
    fsa = k2.arc_sort(k2.connect(k2.remove_epsilon(fsa)))
    if not fsa.num_arcs:
        raise UserError("the graph has no path from its start to an end", mend="check lexicon and language model")
    if bool((fsa.labels == 0).any()):
        raise UserError("epsilons are left in the graph", mend="this is a fault of the program; please report it")
    return fsa


def save_k2_graph(fsa: k2.Fsa, graph_dir, num_pdfs: int):
    """Write what :func:`to_k2` made to ``graph_dir/HCLG.k2.safetensors``, under a temporary name first."""
    aux = fsa.aux_labels
    tensors = {"arcs": fsa.arcs.values(), "word_splits": aux.shape.row_splits(1), "words": aux.values}
    write_tensors(Path(graph_dir) / NAME, {name: t.to(torch.int32) for name, t in tensors.items()},
                  {"num_pdfs": str(num_pdfs)})


def load_k2_graph(graph_dir) -> k2.Fsa:
    """Read the graph of a folder that ``make_graph`` wrote.

    Returns:
        an FsaVec of one graph, arc-sorted and epsilon-free, with attributes ``scores``, ``aux_labels`` (ragged word
        ids, −1 on final arcs) and ``graph_scores``, a copy of ``scores`` that intersection carries along.

    Raises:
        UserError: it is missing or damaged, or a label is not a pdf of the model it was made for.
    """
    arcs, splits, words, _ = read_graph_file(graph_dir)
    fsa = k2.Fsa(arcs)
    fsa.aux_labels = k2.RaggedTensor(k2.ragged.create_ragged_shape2(splits, cached_tot_size=len(words)), words)
    fsa.graph_scores = fsa.scores.clone()
    return k2.create_fsa_vec([fsa])
