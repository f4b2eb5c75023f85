"""What of a search's result becomes the lattice: the best path through every arc with words.

A state-level lattice holds each sequence of words with every way to divide the frames among their states. What is left
here is a thirtieth, and has every word that it had, each in its best surroundings. (The word graphs of Ortmanns, Ney,
Aubert, Computer Speech and Language 11, 1997, keep the best boundary of each word pair.)
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.decode.config import SearchConfig
from lstmp.decode.engine import SearchGraph
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import path_scores
from lstmp.graph.ranges import ranges

MARGIN = 0.01  # so much more than the output beam a search is asked for, as it adds scores in float32


@dataclass(frozen=True, eq=False)
class Links:
    """What a search has found in an utterance of T frames: arcs of the graph, each between two states of the result.

    Attributes:
        ends: int32 [L, 2], from-state and to-state, numbered frame by frame; sorted by from-state.
        arc: [L], the arc of the graph.
        frame: [L], the frame whose score it takes; T for arcs into the last state.
    """

    ends: Array
    arc: Array
    frame: Array


def lattice_of(links: Links, graph: SearchGraph, loglikes: torch.Tensor, cfg: SearchConfig) -> Lattice:
    """The lattice of what a search has found; the same, to the bit, from every engine that has found the same.

    Args:
        links: all that lies within ``cfg.output_beam`` of the best path, or more.
        loglikes: [T, P], as they were searched with.
    """
    label = graph.arcs[links.arc, 2]
    last = label < 0
    acoustic = loglikes.float().numpy()[np.where(last, 0, links.frame), np.maximum(label - 1, 0)]
    acoustic[last] = 0
    arcs = np.column_stack([links.ends, label]).astype(np.int32)
    into, out_of, through = path_scores(arcs, acoustic * np.float32(cfg.acoustic_scale) + graph.scores[links.arc])
    through[through < through.max() - cfg.output_beam] = -np.inf
    num_words = graph.word_splits[links.arc + 1] - graph.word_splits[links.arc]
    kept = np.flatnonzero(word_paths(arcs, (into, out_of, through), num_words, cfg.max_word_arcs * len(loglikes),
                                     links.arc))
    kept = kept[np.lexsort((links.arc[kept], links.frame[kept]))]
    arc, frame = links.arc[kept], links.frame[kept].astype(np.int64)
    states = np.stack([frame, frame + 1], 1) * (len(graph.first) - 1) + graph.arcs[arc, :2]  # of which frame, and which
    ends = np.unique(states, return_inverse=True)[1].reshape(-1, 2)
    counts = num_words[kept]
    return Lattice.assembled(np.column_stack([ends, label[kept]]), acoustic[kept], graph.scores[arc], counts,
                             graph.words[ranges(graph.word_splits[arc], counts)])


def word_paths(arcs: Array, scores: tuple[Array, Array, Array], num_words: Array, most: int,
               rank: Array | None = None) -> Array:
    """bool [A]: the arcs of the best path through every arc that emits words, and to every end.

    Args:
        arcs: int32 [A, 3], from-state, to-state, label; sorted by from-state.
        scores: as :func:`lstmp.decode.lattice_paths.path_scores` gives them; arcs whose third is -inf do not count.
        num_words: int [A], words on each arc.
        most: of the arcs with words, so many are considered, those of the best paths; more where some are equally good.
        rank: [A], of equally good arcs the one that has more is taken; None: the later one.
    """
    into, out_of, worth = scores
    rank = np.arange(len(arcs)) if rank is None else rank
    states = int(arcs[:, 1].max()) + 1 if len(arcs) else 0
    by_target = np.argsort(arcs[:, 1], kind="stable")
    before = _best_of_runs(into[by_target], arcs[by_target, 1], by_target, states, rank)
    after = _best_of_runs(out_of, arcs[:, 0], np.arange(len(arcs)), states, rank)
    with_words = np.flatnonzero((num_words > 0) & (worth > -np.inf))
    if len(with_words) > most:
        with_words = with_words[worth[with_words] >= -np.partition(-worth[with_words], most - 1)[most - 1]]
    chosen = np.concatenate([with_words, np.flatnonzero((arcs[:, 2] < 0) & (worth > -np.inf))])
    return _linked(chosen, before, arcs[:, 0]) | _linked(chosen, after, arcs[:, 1])


def _linked(arcs: Array, links: Array, end: Array) -> Array:
    """bool [A]: ``arcs``, the arc that ``links`` gives for the state ``end`` of each, and so on to the last."""
    kept = np.zeros(len(end), dtype=bool)
    while len(arcs):
        kept[arcs] = True
        arcs = links[np.unique(end[arcs])]
        arcs = arcs[arcs >= 0]
        arcs = arcs[~kept[arcs]]  # where a chain meets another, the rest is there already
    return kept


def _best_of_runs(score: Array, state: Array, arc: Array, num_states: int, rank: Array) -> Array:
    """int64 [num_states]: the arc of the best score of each state, -1 where it has none; equal states are in runs."""
    out = np.full(num_states, -1)
    first = np.flatnonzero(np.diff(state, prepend=-1))
    top = np.repeat(np.maximum.reduceat(score, first), np.diff(np.append(first, len(state))))
    best = np.flatnonzero(score == top)
    out[state[best]] = arc[best]
    tied = np.flatnonzero(np.diff(state[best]) == 0)
    if len(tied):
        best = best[np.union1d(tied, tied + 1)]
        best = best[np.argsort(rank[arc[best]], kind="stable")]
        out[state[best]] = arc[best]  # the last counts
    return out
