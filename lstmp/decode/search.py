"""Search for the lattice of an utterance: beam-pruned intersection of the decoding graph with the acoustic scores.

At every frame, the search keeps the graph states within ``search_beam`` of the best one. After the last frame, it keeps
the paths within ``output_beam`` of the best one. There are two engines with the same rules and the same lattices:
``native`` (:mod:`lstmp.decode.engine`) and ``k2`` (:mod:`lstmp.decode.k2_search`), which is imported only if it is
used.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, CompiledSearch, check_scores, search_library
from lstmp.decode.lattice import Lattice
from lstmp.decode.numpy_search import NumpySearch
from lstmp.decode.search_graph import SearchGraph
from lstmp.decode.thinning import MARGIN, Links, lattice_of
from lstmp.errors import UserError
from lstmp.graph.graph_file import NAME


def choose_engine(engine: str) -> str:
    """The engine to use, ``native`` or ``k2``, for the setting ``engine`` of conf/decode.yaml.

    ``auto`` chooses the native search if it can be compiled, else k2 if it can be imported, else the native search in
    NumPy.

    Raises:
        UserError: the setting is ``k2``, but k2 cannot be imported.
    """
    if engine == "auto":
        return "k2" if search_library() is None and not _why_no_k2() else "native"
    if engine == "k2" and (why := _why_no_k2()):
        raise UserError(f"decode.engine is k2, which cannot be imported: {why}",
                        hint="set decode.engine to auto or native, which gives the same words, or install k2 "
                             "(LSTMP_ENV=k2 local/env.sh on Python 3.11)")
    return engine


@functools.cache
def _why_no_k2() -> str | None:
    try:
        import k2  # noqa: F401
    except Exception as e:  # a k2 built for another torch fails in many ways
        return (str(e).strip().splitlines() or [type(e).__name__])[0]
    return None


def load_graph(graph_dir: Path | str, num_pdfs: int, engine: str = "auto") -> Any:
    """Load the graph of a folder for an engine: a :class:`SearchGraph`, or for k2 a ``k2.Fsa``.

    Raises:
        UserError: the graph is missing, damaged, or for another model, or ``engine`` is ``k2``, which cannot be
            imported.
    """
    if choose_engine(engine) == "k2":
        from lstmp.decode import k2_search

        return k2_search.load_graph(graph_dir, num_pdfs)
    graph = SearchGraph.load(graph_dir)
    _check_pdfs(graph, num_pdfs, Path(graph_dir) / NAME)
    if search_library() is None:
        graph.flat, graph.first  # noqa: B018 - what the search in NumPy needs, also before a fork
    return graph


def decode_utterance(graph: Any, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice:
    """Search one utterance.

    Args:
        graph: for the native search, a :class:`SearchGraph`; for k2, an FsaVec with one graph, on the CPU: labels are
            pdf-id + 1 and -1, there are no epsilons, arcs are sorted, and it has the attributes ``aux_labels`` (ragged
            words) and ``graph_scores`` (a copy of ``scores``).
        loglikes: [T, P] acoustic log-likelihoods, unscaled; -inf is allowed.
        cfg: beams and limits.

    Returns:
        the lattice, with at least one path.

    Raises:
        UserError: there is no frame, there is NaN among the scores, no path survives the widest beam, or k2 fails.
    """
    if not len(loglikes):
        raise UserError("no frame to decode")
    check_scores(loglikes)
    if isinstance(graph, SearchGraph):
        _check_pdfs(graph, loglikes.shape[1])
        search_once: Callable[[Any, torch.Tensor, SearchConfig], Lattice | None] = search_natively
    else:
        from lstmp.decode import k2_search

        k2_search.check_before_search(graph, loglikes.shape[1])
        search_once = k2_search.search
    for attempt in cfg.attempts():
        if (lattice := search_once(graph, loglikes, attempt)) is not None:
            return lattice
    raise UserError(f"no path survives a search beam of {attempt.search_beam:g}", hint="raise search_beam or retries, "
                    "or check whether the utterance is too short for any word sequence")


def _check_pdfs(graph: SearchGraph, num_pdfs: int, file: Path | str | None = None) -> None:
    if graph.num_pdfs != num_pdfs:
        raise UserError(f"the graph is for a model with {graph.num_pdfs} pdfs, this one has {num_pdfs}", file=file,
                        hint="make the graph from this model")


def search_natively(graph: SearchGraph, loglikes: torch.Tensor, cfg: SearchConfig, native: bool = True
                    ) -> Lattice | None:
    """One search for :func:`decode_utterance`. Returns the lattice; None if no path survives.

    ``native``: use the compiled search if it is available.
    """
    rows = (loglikes.float() * cfg.acoustic_scale).contiguous().numpy()
    links = searched(graph, rows, cfg, cfg.output_beam + MARGIN, native).links()
    if links is None:
        return None
    source, to, arc, frame, _ = links
    return lattice_of(Links(np.stack([source, to], 1), arc, frame), graph, loglikes, cfg)


def searched(graph: SearchGraph, rows: Array, cfg: SearchConfig, output_beam: float,
             native: bool = True) -> CompiledSearch | NumpySearch:
    """Search a whole utterance.

    Args:
        rows: float32 [T, P], C-contiguous: acoustic scores, multiplied by the acoustic scale.
        cfg: beams and limits.
        output_beam: of the lattice; negative: only a best path is wanted.
        native: use the compiled search if it is available.

    Returns:
        the search after the last frame.
    """
    search = (CompiledSearch if native and search_library() else NumpySearch)(graph, cfg, output_beam)
    near_end = max(len(rows) - NEAR_END, 0)
    search.advance(rows[:near_end], 0)
    search.advance(rows[near_end:], len(rows) - near_end)
    return search
