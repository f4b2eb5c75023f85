"""The file of a graph for the search, ``HCLG.k2.safetensors``: written, and read and checked, without k2.

Tensors: ``arcs`` int32 [A, 4] (from-state, to-state, label, bits of the float32 score), ``word_splits`` int32 [A + 1],
``words`` int32 [W]: the words of arc a are words[word_splits[a]:word_splits[a + 1]]; metadata: ``num_pdfs``.
"""

from pathlib import Path

import torch

from lstmp.errors import UserError
from lstmp.graph.epsilon_free import SearchArcs
from lstmp.tensors import are, opened, write_tensors

NAME = "HCLG.k2.safetensors"
MEND = "remove it and run steps/make_graph.sh again"


def write_graph_file(graph: SearchArcs, graph_dir, num_pdfs: int):
    """Write a graph to a folder, under a temporary name first."""
    tensors = {"arcs": graph.arcs, "word_splits": graph.word_splits, "words": graph.words}
    write_tensors(Path(graph_dir) / NAME, {name: torch.from_numpy(x) for name, x in tensors.items()},
                  {"num_pdfs": str(num_pdfs)})


def read_graph_file(graph_dir) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """(arcs, word_splits, words, num_pdfs) of the graph in a folder.

    Raises:
        UserError: it is missing or damaged, or a label is not a pdf of the model it was made for.
    """
    path = Path(graph_dir) / NAME
    with opened(path, "not a k2 graph, or cut off", MEND, ("no such file", "run steps/make_graph.sh")) as f:
        num_pdfs = int(f.metadata()["num_pdfs"])
        arcs, splits, words = (f.get_tensor(name) for name in ("arcs", "word_splits", "words"))
    if why := _fault(arcs, splits, words, num_pdfs):
        raise UserError(why, file=path, hint=MEND)
    return arcs, splits, words, num_pdfs


def _fault(arcs: torch.Tensor, splits: torch.Tensor, words: torch.Tensor, num_pdfs: int) -> str | None:
    """What the search, which looks at nothing itself, could trip over, before anything is made of it."""
    fits = are("int32", arcs, dims=2) and are("int32", splits, words) and len(arcs) and arcs.shape[1] == 4
    if not fits or len(splits) != len(arcs) + 1:
        return "its parts do not fit together"
    if splits[0] != 0 or splits[-1] != len(words) or bool((splits.diff() < 0).any()) or bool((words < -1).any()):
        return "its words do not fit its arcs"
    source, to, label = arcs[:, :3].t()
    if int(label.max()) > num_pdfs or int(label.min()) < -1 or bool((label == 0).any()):
        return f"its labels are not the {num_pdfs} pdfs of the model"
    last = int(arcs[:, :2].max())
    if int(arcs[:, :2].min()) < 0 or last > len(arcs):  # each state but the first has an arc that leads to it
        return f"its states are not those of {len(arcs)} arcs"
    if bool((source.diff() < 0).any()):
        return "its arcs are not sorted by state"
    if not torch.equal(label < 0, to == last) or int(source[-1]) == last:
        return "its last arcs do not lead to its last state"
    return None if bool(arcs[:, 3].contiguous().view(torch.float32).isfinite().all()) else "a score that is no number"
