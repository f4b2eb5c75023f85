"""The search for an utterance's lattice: beam-pruned intersection of the decoding graph with its scores.

It keeps, at every frame, the graph states within ``search_beam`` of the best one, and after the last frame what lies
within ``output_beam`` of the best path. It is done by :mod:`lstmp.decode.engine` where that can be compiled, and else
by k2's ``intersect_dense_pruned``, whose rules are the same.
"""

import os
from pathlib import Path

import k2
import numpy as np
import torch

from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import NEAR_END, Compiled, SearchGraph, check_scores, compiled
from lstmp.decode.lattice import Lattice
from lstmp.errors import UserError
from lstmp.graph import k2_graph
from lstmp.graph.graph_file import NAME

_searched_by: int | None = None  # process id of the last search


def check_graph(graph: k2.Fsa, num_pdfs: int, file=None):
    """Insist on what k2 does not check: labels within the columns of the scores, and no epsilon.

    Raises:
        UserError: the graph is of another model, or holds epsilons.
    """
    labels = graph.arcs.values()[:, 2]
    highest = int(labels.max()) if len(labels) else 0
    if highest > num_pdfs:
        raise UserError(f"the graph has pdf-id {highest - 1}, the model has {num_pdfs} of them", file=file,
                        mend="make the graph from this model")
    if highest < 1 or bool((labels == 0).any()):
        raise UserError("a graph without labels, or with epsilons left in it", file=file, mend="make the graph again")
    graph.checked_pdfs = num_pdfs


def load_graph(graph_dir, num_pdfs: int) -> SearchGraph | k2.Fsa:
    """The graph of a folder, as the fastest search that there is here takes it.

    Raises:
        UserError: it is missing, damaged, or of another model.
    """
    if compiled() is None:
        graph = k2_graph.load_k2_graph(graph_dir)
        check_graph(graph, num_pdfs, file=Path(graph_dir) / NAME)
        return graph
    graph = SearchGraph.load(graph_dir)
    _check_pdfs(graph, num_pdfs, Path(graph_dir) / NAME)
    return graph


def decode_utterance(graph: SearchGraph | k2.Fsa, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice:
    """Search one utterance.

    Args:
        graph: for the compiled search a :class:`SearchGraph`; for k2 an FsaVec of one graph, on the CPU: labels pdf-id
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
        find = _by_engine
    else:
        if getattr(graph, "checked_pdfs", None) != loglikes.shape[1]:
            check_graph(graph, loglikes.shape[1])
        _one_process()
        find = _by_k2
    for attempt in range(cfg.retries + 1):
        if (lattice := find(graph, loglikes, cfg)) is not None:
            return lattice
        if attempt < cfg.retries:
            cfg = cfg.wider()
    raise UserError(f"no path survives a search beam of {cfg.search_beam:g}", mend="raise search_beam or retries, or "
                    "look whether the utterance is too short for its words")


def _check_pdfs(graph: SearchGraph, num_pdfs: int, file=None):
    if graph.num_pdfs != num_pdfs:
        raise UserError(f"the graph is of a model with {graph.num_pdfs} pdfs, this one has {num_pdfs}", file=file,
                        mend="make the graph from this model")


def _by_engine(graph: SearchGraph, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice | None:
    rows = (loglikes.float() * cfg.acoustic_scale).contiguous().numpy()
    search = Compiled(graph, cfg, cfg.output_beam)
    sure = max(len(rows) - NEAR_END, 0)
    search.advance(rows[:sure], 0)
    search.advance(rows[sure:], len(rows) - sure)
    if (found := search.links()) is None:
        return None
    source, to, arc, frame, extra = found
    arcs = np.stack([source, to, graph.arcs[arc, 2]], axis=1)
    begin = graph.word_splits[arc]
    num_words = graph.word_splits[arc + 1] - begin
    worth = -extra.astype(np.float64)  # what is left to choose is relative to the best path
    kept = word_paths(arcs, (worth, worth, worth), num_words, cfg.max_word_arcs * len(rows))
    arcs, begin, num_words = arcs[kept], begin[kept], num_words[kept]
    seen = loglikes.numpy()[np.minimum(frame[kept], len(rows) - 1), np.maximum(arcs[:, 2] - 1, 0)]
    acoustic = np.where(arcs[:, 2] < 0, 0, seen)
    ends = np.cumsum(num_words)
    at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begin - ends + num_words, num_words)
    return _assembled(arcs, acoustic, graph.scores[arc[kept]], num_words, graph.words[at])


def _by_k2(graph: k2.Fsa, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice | None:
    # Column 0 stands for label 0, which k2 does not take as epsilon; the graph has none.
    scores = torch.full((1, len(loglikes), loglikes.shape[1] + 1), float("-inf"))
    torch.mul(loglikes, cfg.acoustic_scale, out=scores[0, :, 1:])
    dense = k2.DenseFsaVec(scores, torch.tensor([[0, 0, len(loglikes)]], dtype=torch.int32))
    try:
        found = k2.intersect_dense_pruned(graph, dense, cfg.search_beam, cfg.output_beam, cfg.min_active,
                                          cfg.max_active, frame_idx_name="frame")
    except RuntimeError as e:  # a check of k2's own
        raise UserError(f"k2 gave up: {e}", mend="lower search_beam or max_active") from None
    # where no end is reached, arcs of early frames may be left nevertheless, but no path
    lattice = _lattice(found, loglikes, cfg.max_word_arcs * len(loglikes)) if found.num_arcs else Lattice.empty()
    return lattice if lattice.num_arcs else None


def _lattice(found: k2.Fsa, loglikes: torch.Tensor, max_word_arcs: int) -> Lattice:
    splits, words = found.aux_labels.shape.row_splits(1).numpy(), found.aux_labels.values.numpy()
    # k2 marks final arcs by an output label of -1, and 0 is epsilon
    real = words > 0
    ends = np.concatenate([[0], np.cumsum(real)])[splits]
    arcs = found.arcs.values()[:, :3].numpy()
    kept = word_paths(arcs, path_scores(found), np.diff(ends), max_word_arcs)
    arcs = arcs[kept]
    label = torch.from_numpy(arcs[:, 2]).long()
    last = label < 0
    frame = found.frame[torch.from_numpy(kept)].long().masked_fill(last, 0)
    acoustic = loglikes[frame, (label - 1).clamp(min=0)].masked_fill(last, 0.0)
    return _assembled(arcs, acoustic.numpy(), found.graph_scores.numpy()[kept], np.diff(ends)[kept],
                      words[real & np.repeat(kept, np.diff(splits))])


def _assembled(arcs, acoustic, graph, num_words, words) -> Lattice:
    if len(num_words) and num_words.max() > 255:
        raise UserError(f"{num_words.max()} words on one arc of the graph", mend="make the graph again")
    return Lattice(np.ascontiguousarray(arcs, np.int32), acoustic.astype(np.float32), graph.astype(np.float32),
                   num_words.astype(np.uint8), words.astype(np.int32))


def path_scores(found: k2.Fsa) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each arc of a lattice, float64: the score of the best path up to and with it, from it on, and through it."""
    arcs, scores = found.arcs.values().long().numpy(), found.scores.numpy().astype(np.float64)
    forward = found.get_forward_scores(use_double_scores=True, log_semiring=False).numpy()
    backward = found.get_backward_scores(use_double_scores=True, log_semiring=False).numpy()
    into, out_of = forward[arcs[:, 0]] + scores, scores + backward[arcs[:, 1]]
    return into, out_of, into + backward[arcs[:, 1]]


def word_paths(arcs: np.ndarray, scores, num_words: np.ndarray, most: int) -> np.ndarray:
    """bool [A]: the arcs of the best path through every arc that emits words, and to every end.

    A state-level lattice holds each sequence of words with every way to divide the frames among their states; what is
    left here is a thirtieth, and has every word that it had, each in its best surroundings. (The word graphs of
    Ortmanns, Ney, Aubert, Computer Speech and Language 11, 1997, keep the best boundary of each word pair.)

    Args:
        arcs: int [A, 3], from-state, to-state, label; sorted by from-state.
        scores: as :func:`path_scores` gives them, but for a constant of each to-state, from-state, and of the lattice.
        num_words: int [A], words on each arc.
        most: of the arcs with words, so many are considered, those of the best paths.
    """
    into, out_of, worth = scores
    states = int(arcs[:, 1].max()) + 1 if len(arcs) else 0
    by_target = np.argsort(arcs[:, 1], kind="stable")
    before = _best_of_runs(into[by_target], arcs[by_target, 1], by_target, states)
    after = _best_of_runs(out_of, arcs[:, 0], np.arange(len(arcs)), states)
    with_words = np.flatnonzero((num_words > 0) & (worth > -np.inf))
    if len(with_words) > most:
        with_words = with_words[np.argpartition(-worth[with_words], most)[:most]]
    chosen = np.concatenate([with_words, np.flatnonzero((arcs[:, 2] < 0) & (worth > -np.inf))])
    return _linked(chosen, before, arcs[:, 0]) | _linked(chosen, after, arcs[:, 1])


def _linked(arcs: np.ndarray, links: np.ndarray, end: np.ndarray) -> np.ndarray:
    """bool [A]: ``arcs``, the arc that ``links`` gives for the state ``end`` of each, and so on to the last."""
    kept = np.zeros(len(end), dtype=bool)
    while len(arcs):
        kept[arcs] = True
        arcs = links[np.unique(end[arcs])]
        arcs = arcs[arcs >= 0]
        arcs = arcs[~kept[arcs]]  # where a chain meets another, the rest is there already
    return kept


def _best_of_runs(score: np.ndarray, state: np.ndarray, arc: np.ndarray, num_states: int) -> np.ndarray:
    """int64 [num_states]: the arc of the best score of each state, -1 where it has none; equal states are in runs."""
    out = np.full(num_states, -1)
    first = np.flatnonzero(np.diff(state, prepend=-1))
    top = np.repeat(np.maximum.reduceat(score, first), np.diff(np.append(first, len(state))))
    best = np.flatnonzero(score == top)
    out[state[best]] = arc[best]
    return out


def _one_process():
    """k2 starts a thread in the first search; a process forked after that lacks it and would wait for ever."""
    global _searched_by
    if _searched_by not in (None, os.getpid()):
        raise RuntimeError("this process was forked from one that has searched already: fork first, then search")
    _searched_by = os.getpid()
