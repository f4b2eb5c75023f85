"""The file of a graph for the search, ``HCLG.k2.safetensors``: written, and read and checked, without k2.

Tensors: ``arcs`` int32 [A, 4] (from-state, to-state, label, bits of the float32 score), ``word_splits`` int32 [A + 1],
``words`` int32 [W]: the words of arc a are words[word_splits[a]:word_splits[a + 1]]; metadata: ``num_pdfs``.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lstmp.errors import UserError
from lstmp.graph.epsilon_free import SearchArcs
from lstmp.tensors import write_tensors

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
    if not path.is_file():
        raise UserError("no such file", file=path, mend="run steps/make_graph.sh")
    try:
        with safe_open(str(path), "pt") as f:
            num_pdfs = int(f.metadata()["num_pdfs"])
            arcs, splits, words = (f.get_tensor(name) for name in ("arcs", "word_splits", "words"))
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise UserError("not a k2 graph, or cut off", file=path, mend=MEND) from None
    fits = arcs.ndim == 2 and len(arcs) and arcs.shape[1] == 4 and len(splits) == len(arcs) + 1
    if not fits or splits[-1] != len(words):
        raise UserError("its parts do not fit together", file=path, mend=MEND)
    label, states = arcs[:, 2], arcs[:, :2]
    if int(label.max()) > num_pdfs or int(label.min()) < -1 or bool((label == 0).any()) or int(states.min()) < 0:
        raise UserError(f"its labels are not the {num_pdfs} pdfs of the model", file=path, mend=MEND)
    return arcs, splits, words, num_pdfs
