"""The search for an utterance's lattice: beam-pruned intersection of the decoding graph with its scores.

It keeps, at every frame, the graph states within ``search_beam`` of the best one, and after the last frame what lies
within ``output_beam`` of the best path. Two engines do it, by the same rules: ``native`` (:mod:`lstmp.decode.engine`)
and ``k2`` (:mod:`lstmp.decode.k2_search`), which is imported only where it is used. Their lattices are the same.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, Compiled, Plain, SearchGraph, check_scores, compiled
from lstmp.decode.lattice import Lattice
from lstmp.decode.thinning import MARGIN, Links, lattice_of
from lstmp.errors import UserError
from lstmp.graph.graph_file import NAME


def choose_engine(engine: str) -> str:
    """``native`` or ``k2``, for the ``engine`` of conf/decode.yaml.

    ``auto`` is the native search where it can be compiled, else k2 where that can be imported, else the native one in
    NumPy.

    Raises:
        UserError: k2 is asked for, and cannot be imported.
    """
    if engine == "auto":
        return "k2" if compiled() is None and not _why_no_k2() else "native"
    if engine == "k2" and (why := _why_no_k2()):
        raise UserError(f"decode.engine is k2, which cannot be imported: {why}",
                        hint="set decode.engine to auto or native, which finds the same words, or install k2 "
                             "(LSTMP_ENV=k2 local/env.sh on Python 3.11)")
    return engine


@functools.cache
def _why_no_k2() -> str | None:
    try:
        import k2  # noqa: F401
    except Exception as e:  # a k2 of another torch fails in many ways
        return (str(e).strip().splitlines() or [type(e).__name__])[0]
    return None


def load_graph(graph_dir: Path | str, num_pdfs: int, engine: str = "auto") -> Any:
    """The graph of a folder, as the engine takes it: a :class:`SearchGraph`, or for k2 a ``k2.Fsa``.

    Raises:
        UserError: it is missing, damaged, or of another model, or k2 is asked for and absent.
    """
    if choose_engine(engine) == "k2":
        from lstmp.decode import k2_search

        return k2_search.load_graph(graph_dir, num_pdfs)
    graph = SearchGraph.load(graph_dir)
    _check_pdfs(graph, num_pdfs, Path(graph_dir) / NAME)
    return graph


def decode_utterance(graph: Any, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice:
    """Search one utterance.

    Args:
        graph: for the native search a :class:`SearchGraph`; for k2 an FsaVec of one graph, on the CPU: labels pdf-id
            + 1 and -1, no epsilons, arc-sorted, with attributes ``aux_labels`` (ragged words) and ``graph_scores`` (a
            copy of ``scores``).
        loglikes: [T, P] acoustic log-likelihoods, unscaled; -inf is allowed.

    Returns:
        The lattice, with at least one path.

    Raises:
        UserError: no frame, NaN among the scores, no path survives the widest beam, or k2 gives up.
    """
    if not len(loglikes):
        raise UserError("no frame to decode")
    check_scores(loglikes)
    if isinstance(graph, SearchGraph):
        _check_pdfs(graph, loglikes.shape[1])
        find: Callable[[Any, torch.Tensor, SearchConfig], Lattice | None] = search_natively
    else:
        from lstmp.decode import k2_search

        k2_search.check_before_search(graph, loglikes.shape[1])
        find = k2_search.search
    for attempt in range(cfg.retries + 1):
        if (lattice := find(graph, loglikes, cfg)) is not None:
            return lattice
        if attempt < cfg.retries:
            cfg = cfg.wider()
    raise UserError(f"no path survives a search beam of {cfg.search_beam:g}", hint="raise search_beam or retries, or "
                    "look whether the utterance is too short for its words")


def _check_pdfs(graph: SearchGraph, num_pdfs: int, file: Path | str | None = None) -> None:
    if graph.num_pdfs != num_pdfs:
        raise UserError(f"the graph is of a model with {graph.num_pdfs} pdfs, this one has {num_pdfs}", file=file,
                        hint="make the graph from this model")


def search_natively(graph: SearchGraph, loglikes: torch.Tensor, cfg: SearchConfig, native: bool = True
                    ) -> Lattice | None:
    """The lattice of :func:`decode_utterance` by one search, None where no path survives; ``native``: use the compiled
    form where it can be had."""
    rows = (loglikes.float() * cfg.acoustic_scale).contiguous().numpy()
    search = (Compiled if native and compiled() else Plain)(graph, cfg, cfg.output_beam + MARGIN)
    sure = max(len(rows) - NEAR_END, 0)
    search.advance(rows[:sure], 0)
    search.advance(rows[sure:], len(rows) - sure)
    if (found := search.links()) is None:
        return None
    source, to, arc, frame, _ = found
    return lattice_of(Links(np.stack([source, to], 1), arc, frame), graph, loglikes, cfg)
