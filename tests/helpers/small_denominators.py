"""Small systems with one HMM state for each phone, and sums over all paths through their graphs."""

import itertools
from dataclasses import replace

import numpy as np

from lstmp.corpus.topology import Topology
from lstmp.gmm.align import Segment
from lstmp.gmm.model import AcousticModel
from lstmp.graph.denominator import Denominator, make_denominator
from lstmp.graph.numerator import Numerator
from lstmp.graph.phone_lm import PhoneLmConfig, estimate

from .random_hmms import SIL, random_lang, random_transitions, random_tree


class SmallSystem:
    """A random tree of ``width`` phones, phone sequences, and the graph of their language model.

    Attributes:
        sequences: phones of each utterance, without two equal phones in a row.
    """

    def __init__(self, seed, width=2, order=4, extra_states=3, phones=3, utts=6, longest=6):
        self.rng = rng = np.random.default_rng(seed)
        lang = random_lang(rng, phones=phones)
        self.lang = lang = replace(lang, topology=Topology.one_state(lang.topology.entries))
        tree = random_tree(lang, rng, width)
        self.model = AcousticModel(random_transitions(lang, tree, rng), tree, None, None)
        self.sequences = [self._sequence(int(rng.integers(1, longest + 1))) for _ in range(utts)]
        self.lm = estimate(self.sequences, PhoneLmConfig(order, extra_states))
        self.denominator = make_denominator(self.lm, self.model)

    def _sequence(self, length):
        out = [SIL]
        while len(out) < length:
            out.append(int(self.rng.choice([p for p in (*self.lang.nonsilence, SIL) if p != out[-1]])))
        return out

    def aligned(self, number, shortest=1, longest=9, seed=0):
        """The segments of utterance ``number`` with random lengths."""
        phones = self.sequences[number]
        lengths = np.random.default_rng([seed, number]).integers(shortest, longest + 1, len(phones)).tolist()
        starts = np.cumsum([0, *lengths[:-1]]).tolist()
        return [Segment(*row) for row in zip(phones, starts, lengths, strict=True)]


def arcs_of(graph: Denominator | Numerator):
    """A graph as (log-probabilities of the first state, first pdf and frame-dependent arcs) for :func:`all_paths`.

    Returns:
        starts: {state: log-probability} before the first frame, arcs: {state: [(state, log-probability)]}.
    """
    arcs: dict[int, list] = {}
    for source, target, weight in zip(*graph.arcs(), strict=True):
        arcs.setdefault(int(source), []).append((int(target), float(weight)))
    return {i: w for i, w in enumerate(graph.initial.tolist()) if w > -np.inf}, arcs


def denominator_paths(graph: Denominator, frames: int, leaky: float = 0.0):
    """Yield (states after each frame, log-probability) of every path of a chunk."""
    starts, arcs = arcs_of(graph)
    leaks = [(j, np.log(leaky) + w) for j, w in starts.items()] if leaky else []

    def walk(state, path, weight):
        if len(path) == frames:
            yield tuple(path), weight
            return
        for at, leak in [(state, 0.0), *(leaks if path else [])]:
            for to, w in arcs.get(at, ()):
                yield from walk(to, [*path, to], weight + leak + w)

    for state, weight in starts.items():
        yield from walk(state, [], weight)


def numerator_paths(numerator: Numerator):
    """Yield (phone index in each frame, log-probability) of every path of a numerator."""
    n = numerator
    for path in itertools.product(range(len(n.pdf)), repeat=n.frames):
        steps = np.diff(path)
        if ((steps < 0) | (steps > 1)).any() or n.start[path[0]] == -np.inf:
            continue
        if all(n.first[k] <= t <= n.last[k] for t, k in enumerate(path)):
            yield path, n.start[path[0]] + sum(n.enter[b] if b > a else n.stay[b] for a, b in itertools.pairwise(path))


def total(paths, pdf, scores):
    """Log of the sum over paths, and the posteriors [T, pdfs], of scores [T, pdfs]; ``pdf`` is that of each state."""
    rows = [(path, weight + sum(scores[t, pdf[s]] for t, s in enumerate(path))) for path, weight in paths]
    log_prob = np.logaddexp.reduce([w for _, w in rows]) if rows else -np.inf
    posteriors = np.zeros(scores.shape)
    for path, weight in rows:
        for t, s in enumerate(path):
            posteriors[t, pdf[s]] += np.exp(weight - log_prob)
    return log_prob, posteriors
