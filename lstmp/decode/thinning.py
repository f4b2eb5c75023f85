"""Thinning of lattices: of the result of a search, keep only the best path through each word arc.

The result of a search contains each word sequence with every possible alignment of its states to frames. Thinning
reduces the lattice to about a thirtieth of its size. It keeps every word arc, each with the best path through it.
(The word graphs of Ortmanns, Ney, Aubert, Computer Speech and Language 11, 1997, keep the best boundary of each word
pair.)
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import path_scores
from lstmp.decode.search_graph import SearchGraph

MARGIN = 0.01  # added to the output beam of a search to allow for rounding, as it adds scores in float32


@dataclass(frozen=True, eq=False)
class Links:
    """The result of a search in an utterance of T frames: L links, each an arc of the graph at a frame.

    Attributes:
        ends: int32 [L, 2], from-state and to-state in the result, numbered frame by frame; sorted by from-state.
        arc: [L], the arc of the graph.
        frame: [L], the frame of its acoustic score; T for arcs into the last state.
    """

    ends: Array
    arc: Array
    frame: Array


def lattice_of(links: Links, graph: SearchGraph, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice:
    """Make the lattice from the result of a search. Engines that find the same links give bitwise the same lattice.

    Args:
        links: at least all links on paths within ``cfg.output_beam`` of the best one.
        graph: the graph that was searched.
        loglikes: [T, P], the unscaled scores of the search.
        cfg: the configuration of the search.
    """
    of_graph = graph.chosen(links.arc)
    label, scores, num_words = of_graph.labels, of_graph.scores, of_graph.num_words
    last = label < 0
    acoustic = loglikes.float().numpy()[np.where(last, 0, links.frame), np.maximum(label - 1, 0)]
    acoustic[last] = 0
    arcs = np.column_stack([links.ends, label]).astype(np.int32)
    up_to, onwards, through = path_scores(arcs, acoustic * np.float32(cfg.acoustic_scale) + scores)
    through[through < through.max() - cfg.output_beam] = -np.inf
    kept = np.flatnonzero(word_paths(arcs, (up_to, onwards, through), num_words, cfg.max_word_arcs * len(loglikes),
                                     links.arc))
    kept = kept[np.lexsort((links.arc[kept], links.frame[kept]))]
    of_graph, frame = of_graph[kept], links.frame[kept].astype(np.int64)
    states = np.stack([frame, frame + 1], 1) * graph.num_states + of_graph.ends  # (frame, state) as one key
    ends = np.unique(states, return_inverse=True)[1].reshape(-1, 2)
    return Lattice.assembled(np.column_stack([ends, label[kept]]), acoustic[kept], scores[kept], num_words[kept],
                             of_graph.words)


def word_paths(arcs: Array, scores: tuple[Array, Array, Array], num_words: Array, most: int,
               rank: Array | None = None) -> Array:
    """The arcs of the best paths through all word arcs, and of the best path to each final arc.

    Args:
        arcs: int32 [A, 3], from-state, to-state, label; sorted by from-state.
        scores: the result of :func:`lstmp.decode.lattice_paths.path_scores`. Arcs with a third score of -inf are
            ignored.
        num_words: int [A], words on each arc.
        most: maximum number of word arcs, those on the best paths; more if some of them are equally good.
        rank: [A], for ties: of equally good arcs the one of the highest rank is taken; None: the last one.

    Returns:
        bool [A], true for the arcs to keep.
    """
    up_to, onwards, through = scores
    rank = np.arange(len(arcs)) if rank is None else rank
    states = int(arcs[:, 1].max()) + 1 if len(arcs) else 0
    by_target = np.argsort(arcs[:, 1], kind="stable")
    best_in = _best_of_runs(up_to[by_target], arcs[by_target, 1], by_target, states, rank)
    best_out = _best_of_runs(onwards, arcs[:, 0], np.arange(len(arcs)), states, rank)
    with_words = np.flatnonzero((num_words > 0) & (through > -np.inf))
    if len(with_words) > most:
        with_words = with_words[through[with_words] >= -np.partition(-through[with_words], most - 1)[most - 1]]
    chosen = np.concatenate([with_words, np.flatnonzero((arcs[:, 2] < 0) & (through > -np.inf))])
    return _follow(chosen, best_in, arcs[:, 0]) | _follow(chosen, best_out, arcs[:, 1])


def _follow(arcs: Array, best: Array, end: Array) -> Array:
    """Mark, as bool [A], the arcs on the best paths from ``arcs`` on in one direction.

    Args:
        arcs: arc numbers to start with.
        best: [S], the best arc to continue with in each state; -1 if there is none.
        end: [A], the state in which each arc ends, in the direction of the paths.
    """
    kept = np.zeros(len(end), dtype=bool)
    while len(arcs):
        kept[arcs] = True
        arcs = best[np.unique(end[arcs])]
        arcs = arcs[arcs >= 0]
        arcs = arcs[~kept[arcs]]  # if a path joins another one, its continuation is marked already
    return kept


def _best_of_runs(score: Array, state: Array, arc: Array, num_states: int, rank: Array) -> Array:
    """The arc with the best score of each state, int64 [num_states]; -1 if it has none. Equal states are adjacent."""
    out = np.full(num_states, -1)
    first = np.flatnonzero(np.diff(state, prepend=-1))
    top = np.repeat(np.maximum.reduceat(score, first), np.diff(np.append(first, len(state))))
    best = np.flatnonzero(score == top)
    out[state[best]] = arc[best]
    tied = np.flatnonzero(np.diff(state[best]) == 0)
    if len(tied):
        best = best[np.union1d(tied, tied + 1)]
        best = best[np.argsort(rank[arc[best]], kind="stable")]
        out[state[best]] = arc[best]  # NumPy keeps the last one, which has the highest rank
    return out
