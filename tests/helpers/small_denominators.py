"""Small systems with states for a low frame rate, and sums over all paths through their graphs."""

import itertools
from dataclasses import replace

import numpy as np

from lstmp.corpus.topology import Topology
from lstmp.gmm.align import Segment
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel
from lstmp.graph.denominator import Denominator, make_denominator
from lstmp.graph.numerator import Numerator
from lstmp.graph.phone_lm import PhoneLmConfig, estimate

from .random_hmms import SIL, random_lang, random_transitions, random_tree


class SmallSystem:
    """A random tree of ``width`` phones, phone sequences, and the graph of their language model.

    With ``chain`` the beginning of a phone has a state of its own.

    Attributes:
        sequences: phones of each utterance, without two equal phones in a row.
    """

    def __init__(self, seed, width=2, order=4, extra_states=3, phones=3, utts=6, longest=6, chain=False):
        self.rng = rng = np.random.default_rng(seed)
        lang = random_lang(rng, phones=phones)
        topology = Topology.chain if chain else Topology.one_state
        self.lang = lang = replace(lang, topology=topology(lang.topology.entries))
        tree = random_tree(lang, rng, width)
        # the probabilities of the topology of chain models are never estimated
        transitions = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence) if chain else \
            random_transitions(lang, tree, rng)
        self.model = AcousticModel(transitions, tree, None, None)
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


def arcs_of(graph: Denominator):
    """A denominator graph for walks through it.

    Returns:
        starts: {state: log-probability} before the first frame, arcs: {state: [(state, pdf, log-probability)]}.
    """
    arcs: dict[int, list] = {}
    for source, target, pdf, weight in zip(*graph.arcs(), strict=True):
        arcs.setdefault(int(source), []).append((int(target), int(pdf), float(weight)))
    return {i: w for i, w in enumerate(graph.initial.tolist()) if w > -np.inf}, arcs


def denominator_paths(graph: Denominator, frames: int, leaky: float = 0.0):
    """Yield (pdf of each frame, log-probability) of every path of a chunk."""
    starts, arcs = arcs_of(graph)
    leaks = [(j, np.log(leaky) + w) for j, w in starts.items()] if leaky else []

    def walk(state, path, weight):
        if len(path) == frames:
            yield tuple(path), weight
            return
        for at, leak in [(state, 0.0), *(leaks if path else [])]:
            for to, pdf, w in arcs.get(at, ()):
                yield from walk(to, [*path, pdf], weight + leak + w)

    for state, weight in starts.items():
        yield from walk(state, [], weight)


def numerator_paths(numerator: Numerator):
    """Yield (phone index in each frame, pdf of each frame, log-probability) of every path of a numerator."""
    n = numerator
    for path in itertools.product(range(len(n.pdf)), repeat=n.frames):
        steps = np.diff(path)
        if ((steps < 0) | (steps > 1)).any() or any(not n.first[k] <= t <= n.last[k] for t, k in enumerate(path)):
            continue
        weight = sum(n.enter[b] if b > a else n.stay[b] for a, b in itertools.pairwise(path))
        pdfs = [n.pdf[b] if b > a else n.loop_pdf[b] for a, b in itertools.pairwise(path)]
        for pdf, start in ((n.pdf, n.start), (n.loop_pdf, n.start_inside)):
            if start[path[0]] > -np.inf:
                yield path, (int(pdf[path[0]]), *map(int, pdfs)), start[path[0]] + weight


def total(paths, scores):
    """Log of the sum over paths, (pdf of each frame, log-probability), and the posteriors [T, pdfs], of scores."""
    rows = [(pdfs, weight + sum(scores[t, p] for t, p in enumerate(pdfs))) for pdfs, weight in paths]
    log_prob = np.logaddexp.reduce([w for _, w in rows]) if rows else -np.inf
    posteriors = np.zeros(scores.shape)
    for pdfs, weight in rows:
        for t, p in enumerate(pdfs):
            posteriors[t, p] += np.exp(weight - log_prob)
    return log_prob, posteriors
