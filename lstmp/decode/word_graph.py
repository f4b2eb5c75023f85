"""Word graphs: lattices reduced to words, without the arcs of single frames.

A lattice has an arc for every frame. In a word graph, a node is an arc of the lattice that emits words, and a link is
the best path between two such arcs. Which path is best depends on the scale of the acoustic scores. Word graphs are
used for n-best lists (lstmp.decode.nbest), posterior probabilities, and the export of lattices to other programs.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lstmp.aliases import Array
from lstmp.decode.lattice import Lattice
from lstmp.decode.lattice_paths import path_scores
from lstmp.graph.ranges import pairs


@dataclass(frozen=True, eq=False)
class WordGraph:
    """A word graph. Node 0 is the start, node N is the end; links lead from lower to higher nodes.

    Attributes:
        words: the word ids that each node emits; none at start and end.
        frame: int64 [N + 1], the frame at which each node emits its words; for the end, the number of frames.
        links: int64 [L, 2], from-node and to-node, sorted; there is at most one link from one node to another.
        acoustic, graph: float64 [L], the sum of the scores on each link, including the arc of its to-node.
        labels: for each link, pdf-id + 1 of each of its frames, int32; None if they were not requested.
    """

    words: list[tuple[int, ...]]
    frame: Array
    links: Array
    acoustic: Array
    graph: Array
    labels: list[Array] | None = None

    @property
    def end(self) -> int:
        return len(self.words) - 1

    @cached_property
    def leaving(self) -> Array:
        """The links from node n are leaving[n] to leaving[n + 1] - 1, int64 [N + 2]."""
        return np.searchsorted(self.links[:, 0], np.arange(len(self.words) + 1))

    @cached_property
    def num_words(self) -> Array:
        """Number of words of each node, int64 [N + 1]."""
        return np.array([len(w) for w in self.words])

    def scores(self, lm_weight: float, word_penalty: float) -> Array:
        """Scores of the links as in scoring, float64 [L]:  acoustic / LM weight + graph - penalty · number of words."""
        scores: Array = self.acoustic / lm_weight + self.graph - word_penalty * self.num_words[self.links[:, 1]]
        return scores

    def to_end(self, scores: Array) -> Array:
        """Score of the best path from each node to the end, float64 [N + 1]."""
        out = np.full(len(self.words), -np.inf)
        out[self.end] = 0.0
        for node in range(self.end - 1, -1, -1):
            links = slice(self.leaving[node], self.leaving[node + 1])
            if links.start < links.stop:
                out[node] = (scores[links] + out[self.links[links, 1]]).max()
        return out


def near_best(lattice: Lattice, lm_weight: float, word_penalty: float, beam: float) -> Lattice:
    """The part of a lattice that is on paths with a score at most ``beam`` below that of the best path."""
    score = lattice.acoustic / lm_weight + lattice.graph - word_penalty * lattice.num_words
    through = path_scores(lattice.arcs, score.astype(np.float32))[2]
    return lattice.pruned(through >= through.max() - beam)


def word_graph(lattice: Lattice, lm_weight: float, labels: bool = False) -> WordGraph:
    """Make the word graph of a lattice. The lattice must have a path.

    Args:
        lattice: the lattice.
        lm_weight: acoustic scores are divided by it when the best path between two words is chosen.
        labels: whether to keep the label of each frame.
    """
    emitting = np.flatnonzero(lattice.num_words)
    node_of = np.zeros(lattice.num_arcs, np.int64)
    node_of[emitting] = np.arange(1, len(emitting) + 1)
    end = len(emitting) + 1
    first = np.searchsorted(lattice.arcs[:, 0], np.arange(lattice.num_states + 1))
    score = lattice.acoustic.astype(np.float64) / lm_weight + lattice.graph
    last = lattice.arcs[:, 2] < 0
    frame = np.zeros(end + 1, np.int64)
    links: list[tuple[Array, ...]] = []
    history: list[tuple[Array, Array]] = []
    # At each frame: the best path for each pair of a node (the last emitting arc) and a state of the lattice.
    node, state, path_sums = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((1, 3))
    t = 0
    while len(node):
        source, arc = pairs(np.arange(len(state)), first[state], first[state + 1])
        sums = path_sums[source] + np.stack([score[arc], lattice.acoustic[arc], lattice.graph[arc]], 1)
        emits, ends = node_of[arc] > 0, last[arc]
        to = np.where(emits, node_of[arc], np.where(ends, end, -1))
        linked = np.flatnonzero(to >= 0)
        linked = linked[_best(node[source[linked]] * (end + 1) + to[linked], sums[linked, 0])]
        links.append((node[source[linked]], to[linked], sums[linked, 1:], np.full(len(linked), t), source[linked],
                      arc[linked]))
        last_words = emits & ends  # words on an arc into the last state: a link without arcs from them to the end
        count = last_words.sum()
        links.append((node_of[arc[last_words]], np.full(count, end), np.zeros((count, 2)), np.full(count, t + 1),
                      np.full(count, -1), arc[last_words]))
        frame[node_of[arc[emits]]] = t
        if ends.any():
            frame[end] = t
        inner = np.flatnonzero(~ends)
        starts = emits[inner]  # a path starts at this arc
        next_node = np.where(starts, node_of[arc[inner]], node[source[inner]])
        sums[inner[starts]] = 0.0
        next_state = lattice.arcs[arc[inner], 1].astype(np.int64)
        kept = _best(next_node * lattice.num_states + next_state, sums[inner, 0])
        if labels:
            history.append((np.where(starts, -1, source[inner])[kept], arc[inner][kept]))
        node, state, path_sums = next_node[kept], next_state[kept], sums[inner][kept]
        t += 1
    return _assemble(lattice, emitting, frame, links, history if labels else None)


def _best(key: Array, score: Array) -> Array:
    """The index of the highest score for each distinct key."""
    order: Array = np.lexsort((-score, key))
    return np.asarray(order[np.flatnonzero(np.diff(key[order], prepend=-1))]) if len(key) else order


def _assemble(lattice: Lattice, emitting: Array, frame: Array, links: list[tuple[Array, ...]],
              history: list[tuple[Array, Array]] | None) -> WordGraph:
    source, to, sums, when, path, arc = (np.concatenate(x) for x in zip(*links, strict=True))
    order = np.lexsort((to, source))
    splits = lattice.word_splits
    words = [(), *(tuple(lattice.words[splits[a]:splits[a + 1]].tolist()) for a in emitting), ()]
    labels = None if history is None else [_labels(lattice, history, int(when[i]), int(path[i]), int(arc[i]))
                                           for i in order]
    return WordGraph(words, frame, np.stack([source, to], 1)[order], sums[order, 0], sums[order, 1], labels)


def _labels(lattice: Lattice, history: list[tuple[Array, Array]], when: int, path: int, arc: int) -> Array:
    """The labels (pdf-id + 1) of the frames of a link.

    Args:
        lattice: the lattice.
        history: for each frame, (previous path, arc) of each path after that frame; -1: the path starts with the arc.
        when, path, arc: the link ends with ``arc`` at frame ``when``, and continues the path of that number there.
    """
    arcs = [arc] if path >= 0 else []
    while path >= 0 and when > 0:
        when -= 1
        previous, last_arc = history[when]
        if previous[path] >= 0:  # otherwise it is the arc of the link's from-node, which belongs to the previous link
            arcs.append(int(last_arc[path]))
        path = int(previous[path])
    labels = lattice.arcs[arcs[::-1], 2]
    return labels[labels > 0]
