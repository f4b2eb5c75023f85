"""State-level lattices for training: all paths of the graph near the best one, and the path of an alignment."""

from dataclasses import dataclass

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.search import searched
from lstmp.decode.search_graph import SearchGraph

# for the path of an alignment, whose states alone limit the search
_ALL = SearchConfig(acoustic_scale=1.0, search_beam=1e6, output_beam=1.0, max_word_arcs=1, min_active=0,
                    max_active=2**23, retries=0)


@dataclass(frozen=True, eq=False)
class StateLattice:
    """The lattice of an utterance of T frames, with A arcs.

    Attributes:
        arcs: int32 [A, 3], from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state), ordered as in
            :mod:`lstmp.decode.lattice_paths`.
        arc: int32 [A], the arc of the graph that each of them is.
        frame: int32 [A]; T for arcs into the last state.
    """

    arcs: Array
    arc: Array
    frame: Array

    def scores(self, graph: SearchGraph, rows: Array) -> Array:
        """float64 [A]: the scores of the arcs; ``rows``: [T, P], scaled acoustic scores, of any dtype."""
        label = self.arcs[:, 2]
        acoustic = rows[np.minimum(self.frame, len(rows) - 1), np.maximum(label - 1, 0)].astype(np.float64)
        return np.where(label > 0, acoustic, 0.0) + graph.chosen(self.arc).scores


def make_lattice(graph: SearchGraph, rows: Array, cfg: SearchConfig, native: bool = True) -> StateLattice | None:
    """Search an utterance; None if no path survives the widest beam.

    Args:
        graph: the decoding graph.
        rows: [T, P], scaled acoustic scores, of any dtype.
        cfg: beams and limits.
        native: use the compiled search if it is available.
    """
    rows = np.ascontiguousarray(rows, np.float32)
    for attempt in cfg.attempts():
        links = searched(graph, rows, attempt, attempt.output_beam, native).links()
        if links is not None:
            source, to, arc, frame, _ = links
            return StateLattice(np.stack([source, to, graph.chosen(arc).labels], 1).astype(np.int32), arc, frame)
    return None


def aligned_path(graph: SearchGraph, pdfs: Array, native: bool = True) -> Array | None:
    """The best path of the graph, by its own scores, whose states are those of an alignment: int32 [T + 1], its arcs;
    None if there is none.

    Args:
        graph: the decoding graph.
        pdfs: int [T].
        native: use the compiled search if it is available.
    """
    rows = np.full((len(pdfs), graph.num_pdfs), -np.inf, np.float32)
    rows[np.arange(len(pdfs)), pdfs] = 0.0
    path = searched(graph, rows, _ALL, -1.0, native).path(True, len(pdfs))
    return None if path is None else path.arcs


def with_path(lattice: StateLattice, path: Array, graph: SearchGraph) -> StateLattice:
    """The lattice, to which a path of the graph is added where it is missing.

    Args:
        lattice: of T frames.
        path: int [T + 1], arcs of the graph.
        graph: the decoding graph.
    """
    times, source = np.arange(len(path)), lattice.arcs[:, 0]
    missing = np.ones(len(path), bool)
    missing[lattice.frame[lattice.arc == path[lattice.frame]]] = False
    if not missing.any():
        return lattice
    # the states of the path: those of the lattice that are the same states of the graph in the same frames, or new ones
    count = int(lattice.arcs[:, 1].max()) + 1
    at = np.append(count + times, count - 1)
    shared = np.flatnonzero(graph.chosen(lattice.arc).ends[:, 0] == graph.chosen(path).ends[lattice.frame, 0])
    at[lattice.frame[shared]] = source[shared]
    frame_of = np.zeros(count + len(path), np.int64)
    frame_of[source] = lattice.frame
    frame_of[count:], frame_of[count - 1] = times, len(path)
    used, number = np.zeros(len(frame_of), bool), np.zeros(len(frame_of), np.int64)
    used[lattice.arcs[:, :2]] = used[at] = True
    by_frame = np.argsort(frame_of, kind="stable")  # the last state stays the last one
    number[by_frame] = np.cumsum(used[by_frame]) - 1
    added = np.stack([at[:-1], at[1:], graph.chosen(path).labels], 1)[missing]
    arcs = np.concatenate([lattice.arcs, added])
    arcs[:, :2] = number[arcs[:, :2]]
    order = np.argsort(arcs[:, 0], kind="stable")
    return StateLattice(arcs[order].astype(np.int32), np.append(lattice.arc, path[missing])[order].astype(np.int32),
                        np.append(lattice.frame, times[missing])[order].astype(np.int32))
