"""Reading, checking and writing ``HCLG.k2.safetensors``, the graph file for the search. This does not need k2.

Tensors: ``arcs`` int32 [A, 4] (from-state, to-state, label, bits of the float32 score), ``word_splits`` int32 [A + 1],
``words`` int32 [W]; the words of arc a are words[word_splits[a]:word_splits[a + 1]]. Metadata: ``num_pdfs``.
"""

from pathlib import Path

import torch

from lstmp.errors import UserError
from lstmp.graph.epsilon_free import SearchArcs
from lstmp.tensors import are, opened, write_tensors

NAME = "HCLG.k2.safetensors"
_HINT = "remove it and run steps/make_graph.sh again"


def write_graph_file(graph: SearchArcs, graph_dir, num_pdfs: int):
    """Write a graph to a folder, atomically."""
    tensors = {"arcs": graph.arcs, "word_splits": graph.word_splits, "words": graph.words}
    write_tensors(Path(graph_dir) / NAME, {name: torch.from_numpy(x) for name, x in tensors.items()},
                  {"num_pdfs": str(num_pdfs)})


def read_graph_file(graph_dir) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """(arcs, word_splits, words, num_pdfs) of the graph in a folder.

    Raises:
        UserError: it is missing or damaged, or a label is not a pdf of the model that it was made for.
    """
    path = Path(graph_dir) / NAME
    with opened(path, "not a k2 graph, or cut off", _HINT, ("no such file", "run steps/make_graph.sh")) as f:
        num_pdfs = int(f.metadata()["num_pdfs"])
        arcs, splits, words = (f.get_tensor(name) for name in ("arcs", "word_splits", "words"))
    if error := _error(arcs, splits, words, num_pdfs):
        raise UserError(error, file=path, hint=_HINT)
    return arcs, splits, words, num_pdfs


def _error(arcs: torch.Tensor, splits: torch.Tensor, words: torch.Tensor, num_pdfs: int) -> str | None:
    """The first error in the arrays of a graph, or None. The search itself does not check them."""
    shapes_ok = are("int32", arcs, dims=2) and are("int32", splits, words) and len(arcs) and arcs.shape[1] == 4
    if not shapes_ok or len(splits) != len(arcs) + 1:
        return "its tensors are not consistent with each other"
    if splits[0] != 0 or splits[-1] != len(words) or bool((splits.diff() < 0).any()) or bool((words < -1).any()):
        return "its words do not match its arcs"
    source, to, label = arcs[:, :3].t()
    if int(label.max()) > num_pdfs or int(label.min()) < -1 or bool((label == 0).any()):
        return f"its labels are not the {num_pdfs} pdfs of the model"
    last = int(arcs[:, :2].max())
    if int(arcs[:, :2].min()) < 0 or last > len(arcs):  # each state except the first has an incoming arc
        return f"it has negative state numbers, or too many states for {len(arcs)} arcs"
    if bool((source.diff() < 0).any()):
        return "its arcs are not sorted by state"
    if not torch.equal(label < 0, to == last) or int(source[-1]) == last:
        return "its final arcs do not match its last state"
    scores = arcs[:, 3].contiguous().view(torch.float32)
    return None if bool(scores.isfinite().all()) else "it has a score that is not a finite number"
