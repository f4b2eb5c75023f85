"""Word graphs: a lattice with all that lies between two words drawn together.

A lattice has an arc for every frame. Here a node stands for an arc that emits words, and a link for the best way from
one such arc to the next; what is best, the scale of the acoustic scores decides. On words alone one can search, count
and sum: n-best lists (lstmp.decode.nbest), posterior probabilities, and lattices that other programs read.
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
    """Nodes 0, the start, to N, the end; links lead from lower to higher nodes.

    Attributes:
        words: of each node the word ids it emits; of start and end none.
        frame: int64 [N + 1], the frame at which a node emits them; of the end, the number of frames.
        links: int64 [L, 2], from-node and to-node, sorted; at most one link from one node to another.
        acoustic, graph: float64 [L], scores of the arcs of a link, the arc of its to-node being the last of them.
        labels: of each link pdf-id + 1 of each of its frames, int32; None where they were not asked for.
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
        """int64 [N + 2]: the links from node n are leaving[n] to leaving[n + 1] - 1."""
        return np.searchsorted(self.links[:, 0], np.arange(len(self.words) + 1))

    @cached_property
    def num_words(self) -> Array:
        """int64 [N + 1], words of each node."""
        return np.array([len(w) for w in self.words])

    def scores(self, lm_weight: float, word_penalty: float) -> Array:
        """float64 [L]: as in scoring, acoustic / LM weight + graph - penalty · words."""
        scores: Array = self.acoustic / lm_weight + self.graph - word_penalty * self.num_words[self.links[:, 1]]
        return scores

    def to_end(self, scores: Array) -> Array:
        """float64 [N + 1]: score of the best way from each node to the end."""
        out = np.full(len(self.words), -np.inf)
        out[self.end] = 0.0
        for node in range(self.end - 1, -1, -1):
            mine = slice(self.leaving[node], self.leaving[node + 1])
            if mine.start < mine.stop:
                out[node] = (scores[mine] + out[self.links[mine, 1]]).max()
        return out


def near_best(lattice: Lattice, lm_weight: float, word_penalty: float, beam: float) -> Lattice:
    """The part of a lattice that lies on paths with a score at most ``beam`` below the best path's."""
    score = lattice.acoustic / lm_weight + lattice.graph - word_penalty * lattice.num_words
    through = path_scores(lattice.arcs, score.astype(np.float32))[2]
    return lattice.pruned(through >= through.max() - beam)


def word_graph(lattice: Lattice, lm_weight: float, labels: bool = False) -> WordGraph:
    """The word graph of a lattice that has a path.

    Args:
        lm_weight: acoustic scores count one so-many-th when the best way between two words is chosen.
        labels: whether to keep the states on each link.
    """
    emitting = np.flatnonzero(lattice.num_words)
    node_of = np.zeros(lattice.num_arcs, np.int64)
    node_of[emitting] = np.arange(1, len(emitting) + 1)
    end = len(emitting) + 1
    first = np.searchsorted(lattice.arcs[:, 0], np.arange(lattice.num_states + 1))
    score = lattice.acoustic.astype(np.float64) / lm_weight + lattice.graph
    last = lattice.arcs[:, 2] < 0
    frame = np.zeros(end + 1, np.int64)
    found: list[tuple[Array, ...]] = []
    history: list[tuple[Array, Array]] = []
    # At each frame: ways (node, state) from the last emitting arc to a state, the best of each kind.
    node, state, here = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((1, 3))
    t = 0
    while len(node):
        source, arc = pairs(np.arange(len(state)), first[state], first[state + 1])
        sums = here[source] + np.stack([score[arc], lattice.acoustic[arc], lattice.graph[arc]], 1)
        emits, ends = node_of[arc] > 0, last[arc]
        to = np.where(emits, node_of[arc], np.where(ends, end, -1))
        linked = np.flatnonzero(to >= 0)
        linked = linked[_best(node[source[linked]] * (end + 1) + to[linked], sums[linked, 0])]
        found.append((node[source[linked]], to[linked], sums[linked, 1:], np.full(len(linked), t), source[linked],
                      arc[linked]))
        new = emits & ends  # words on the arc into the last state: no frame is left after them
        found.append((node_of[arc[new]], np.full(new.sum(), end), np.zeros((new.sum(), 2)), np.full(new.sum(), t + 1),
                      np.full(new.sum(), -1), arc[new]))
        frame[node_of[arc[emits]]] = t
        if ends.any():
            frame[end] = t
        on = np.flatnonzero(~ends)
        begun = emits[on]
        node_on = np.where(begun, node_of[arc[on]], node[source[on]])
        sums[on[begun]] = 0.0
        state_on = lattice.arcs[arc[on], 1].astype(np.int64)
        kept = _best(node_on * lattice.num_states + state_on, sums[on, 0])
        if labels:
            history.append((np.where(begun, -1, source[on])[kept], arc[on][kept]))
        node, state, here = node_on[kept], state_on[kept], sums[on][kept]
        t += 1
    return _assemble(lattice, emitting, frame, found, history if labels else None)


def _best(key: Array, score: Array) -> Array:
    """Of each run of equal keys the index with the highest score."""
    order: Array = np.lexsort((-score, key))
    return np.asarray(order[np.flatnonzero(np.diff(key[order], prepend=-1))]) if len(key) else order


def _assemble(lattice: Lattice, emitting: Array, frame: Array, found: list[tuple[Array, ...]],
              history: list[tuple[Array, Array]] | None) -> WordGraph:
    source, to, sums, when, way, arc = (np.concatenate(x) for x in zip(*found, strict=True))
    order = np.lexsort((to, source))
    splits = lattice.word_splits
    words = [(), *(tuple(lattice.words[splits[a]:splits[a + 1]].tolist()) for a in emitting), ()]
    labels = None if history is None else [_labels(lattice, history, int(when[i]), int(way[i]), int(arc[i]))
                                           for i in order]
    return WordGraph(words, frame, np.stack([source, to], 1)[order], sums[order, 0], sums[order, 1], labels)


def _labels(lattice: Lattice, history: list[tuple[Array, Array]], when: int, way: int, arc: int) -> Array:
    """pdf-id + 1 of the frames of a link: that to the arc ``arc``, at frame ``when``, from place ``way`` in the list of
    that frame. ``history`` says of each place of the next frame's list where it came from (-1: it began there) and by
    which arc."""
    arcs = [arc] if way >= 0 else []
    while way >= 0 and when > 0:
        when -= 1
        before, by = history[when]
        if before[way] >= 0:  # else it is the arc of the link's from-node, which belongs to the link before
            arcs.append(int(by[way]))
        way = int(before[way])
    labels = lattice.arcs[arcs[::-1], 2]
    return labels[labels > 0]
