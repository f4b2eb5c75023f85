"""Reading, checking and writing ``HCLG.k2.safetensors``, the graph file for the search. This does not need k2.

Tensors: those of :class:`.BundledGraph`; metadata: ``num_pdfs``. Files of earlier versions, with all arcs of all
states, are read too: ``arcs`` int32 [A, 4], ``word_splits``, ``words``, as :meth:`.BundledGraph.flat` gives them.
"""

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from lstmp.errors import UserError
from lstmp.graph.bundles import MOST_ARCS, BundledGraph, scores_in
from lstmp.tensors import are, opened, write_tensors

NAME = "HCLG.k2.safetensors"
_HINT = "remove it and run steps/make_graph.sh again"
_FLAT = "arcs", "word_splits", "words"
_SHAPES = "its tensors are not consistent with each other"


def write_graph_file(graph: BundledGraph, graph_dir: Path | str, num_pdfs: int) -> None:
    """Write a graph to a folder, atomically."""
    tensors = {f.name: torch.from_numpy(getattr(graph, f.name)) for f in fields(graph)}
    write_tensors(Path(graph_dir) / NAME, tensors, {"num_pdfs": str(num_pdfs)})


def read_graph_file(graph_dir: Path | str) -> tuple[BundledGraph, int]:
    """The graph of a folder, and the number of pdf-ids of its model.

    Raises:
        UserError: it is missing or damaged, or a label is not a pdf of the model that it was made for.
    """
    path = Path(graph_dir) / NAME
    what = "not a graph for the search, or cut off"
    with opened(path, what, _HINT, ("no such file", "run steps/make_graph.sh")) as f:
        num_pdfs, flat = int(f.metadata()["num_pdfs"]), "word_splits" in f.keys()
        tensors = {name: f.get_tensor(name) for name in (_FLAT if flat else [x.name for x in fields(BundledGraph)])}
    error = _flat_error(**tensors) if flat else _error(**tensors)
    if not error:
        arrays = {name: x.numpy() for name, x in tensors.items()}
        graph = BundledGraph.of_flat(*arrays.values()) if flat else BundledGraph(**arrays)
        error = _graph_error(graph, num_pdfs)
    if error:
        raise UserError(error, file=path, hint=_HINT)
    return graph, num_pdfs


def _flat_error(arcs: torch.Tensor, word_splits: torch.Tensor, words: torch.Tensor) -> str | None:
    """The first error in the arrays of all arcs, or None."""
    if not (are("int32", arcs, dims=2) and arcs.shape[1] == 4 and len(arcs)) or not are("int32", word_splits, words):
        return _SHAPES
    source = arcs[:, 0]
    if int(source[0]) < 0 or _falls(source):
        return "its arcs are not sorted by state"
    return _words_error(word_splits, words, len(arcs), -1)


def _error(ways: torch.Tensor, way_splits: torch.Tensor, way_words: torch.Tensor, first: torch.Tensor,
           arcs: torch.Tensor, splits: torch.Tensor, words: torch.Tensor) -> str | None:
    """The first error in the arrays of bundles, or None."""
    if not are("int32", ways, arcs, dims=2) or not are("int32", way_splits, way_words, first, splits, words) \
            or not len(ways) or not len(arcs) or ways.shape[1] != 3 or arcs.shape[1] != 3 or len(first) < 2:
        return _SHAPES
    state, bundle = ways[:, :2].t()
    if int(state[0]) < 0 or _falls(state):
        return "its ways are not sorted by state"
    if int(bundle.min()) < 0 or int(bundle.max()) >= len(first) - 1:
        return "its ways do not match its bundles"
    if first[0] != 0 or first[-1] != len(arcs) or bool((first[1:] <= first[:-1]).any()):
        return "its bundles do not match its arcs"
    return _words_error(way_splits, way_words, len(ways), 1) or _words_error(splits, words, len(arcs), 1)


def _falls(x: torch.Tensor) -> bool:
    """Whether a number is lower than the one before it; their difference may be too large for int32."""
    return bool((x[1:] < x[:-1]).any())


def _words_error(splits: torch.Tensor, words: torch.Tensor, rows: int, lowest: int) -> str | None:
    if len(splits) != rows + 1:
        return _SHAPES
    if splits[0] != 0 or splits[-1] != len(words) or _falls(splits) or bool((words < lowest).any()):
        return "its words do not match its arcs"
    return None


def _graph_error(graph: BundledGraph, num_pdfs: int) -> str | None:
    """The first error in a graph whose arrays match each other, or None. The search itself does not check them."""
    to, label = graph.arcs[:, 0], graph.arcs[:, 1]
    if int(label.max()) > num_pdfs or int(label.min()) < -1 or (label == 0).any():
        return f"its labels are not the {num_pdfs} pdfs of the model"
    last = int(to.max())
    if int(to.min()) < 0 or last > len(graph.arcs):  # each state except the first has an incoming arc
        return f"it has negative state numbers, or too many states for {len(graph.arcs)} arcs"
    if graph.num_arcs > MOST_ARCS:
        return f"it has {graph.num_arcs:,} arcs, more than {MOST_ARCS:,}"
    if not np.array_equal(label < 0, to == last) or int(graph.ways[-1, 0]) >= last:
        return "its final arcs do not match its last state"
    finite = all(np.isfinite(scores_in(x)).all() for x in (graph.ways, graph.arcs))
    return None if finite else "it has a score that is not a finite number"
