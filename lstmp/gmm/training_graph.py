"""The training graph of one utterance: an HMM that accepts every pronunciation of its transcript.

Words are expanded to their pronunciations, with optional silence before, between and after them (as in ``L.fst``);
phones to phones in context, also across word boundaries; phones in context to the states of their topology. The graph
has only the pdfs that this transcript can use, which makes alignment cheap.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lstmp.corpus.lang import Lang
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms
from lstmp.errors import UserError
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Tree


@dataclass(frozen=True)
class OutArcs:
    """The arcs of a training graph, including self-loops, sorted by source state.

    Attributes:
        first: int64 [S + 1]; the arcs that leave state s are first[s] … first[s + 1] − 1.
        to: int32 [A], destination states.
        tid: int64 [A], transition-ids.
        extra: float32 [A], log-probabilities of pronunciation and silence.
        loop: bool [A], True for self-loops.
    """

    first: np.ndarray
    to: np.ndarray
    tid: np.ndarray
    extra: np.ndarray
    loop: np.ndarray

    @classmethod
    def of(cls, graph: "TrainingGraph") -> "OutArcs":
        loops = np.flatnonzero(graph.self_tid > 0)
        source = np.concatenate([loops, graph.arcs[:, 0]])
        order = np.argsort(source, kind="stable")
        return cls(np.searchsorted(source[order], np.arange(len(graph.pdf) + 1)),
                   np.concatenate([loops, graph.arcs[:, 1]])[order].astype(np.int32),
                   np.concatenate([graph.self_tid[loops], graph.arcs[:, 2]])[order],
                   np.concatenate([np.zeros(len(loops), np.float32), graph.arc_extra])[order], order < len(loops))


@dataclass(frozen=True)
class TrainingGraph:
    """HMM states and the arcs between them. A path has one state per frame.

    Attributes:
        pdf: int64 [S], pdf-id of each state.
        self_tid: int64 [S], transition-id of each state's self-loop, 0 if it has none.
        arcs: int64 [A, 3] of (source, destination, transition-id of leaving the source), without self-loops.
        arc_extra: float32 [A], log-probability of pronunciation and silence on each arc.
        starts: int64 [K], start states; start_extra: float32 [K], their log-probabilities.
        finals: int64 [F, 2] of (state, transition-id of leaving it); final_extra: float32 [F], their log-probabilities.
        min_frames: length in frames of the shortest path.
    """

    pdf: np.ndarray
    self_tid: np.ndarray
    arcs: np.ndarray
    arc_extra: np.ndarray
    starts: np.ndarray
    start_extra: np.ndarray
    finals: np.ndarray
    final_extra: np.ndarray
    min_frames: int

    @cached_property
    def distinct_pdfs(self) -> np.ndarray:
        """The distinct pdfs in ascending order: the columns of the scores that :func:`.align_batch` takes."""
        return np.unique(self.pdf)

    @cached_property
    def column(self) -> np.ndarray:
        """int64 [S]: index of each state's pdf in ``distinct_pdfs``."""
        return np.searchsorted(self.distinct_pdfs, self.pdf)

    @cached_property
    def out_arcs(self) -> OutArcs:
        """All arcs, including self-loops, sorted by source state."""
        return OutArcs.of(self)


class GraphCompiler:
    """Compiles training graphs for one tree and transition model.

    Args:
        lang: lexicon and optional silence, with the same probabilities as in ``L.fst``.
        tree: a tree of monophones, left biphones or triphones.
        transitions: topology and transition-ids; the transition probabilities are not used here.
    """

    def __init__(self, lang: Lang, tree: Tree, transitions: TransitionModel):
        if (tree.context_width, tree.central_position) not in ((1, 0), (2, 1), (3, 1)):
            raise UserError(f"alignment does not support a tree of context width {tree.context_width} and central "
                            f"position {tree.central_position}", hint="use monophones, left biphones or triphones")
        self.lang, self.tree, self.transitions = lang, tree, transitions
        self.silence_model = lang.silence_model or SilenceModel.constant(lang.sil_prob)
        self._hmm_cache: dict[tuple[int, int, int], tuple] = {}
        self._context_free = {p: not tree.depends_on_context(p) for p, c in tree.roots if c == 0}
        self._self_tid = [transitions.self_loop_tid(i) for i in range(len(transitions.tuples))]
        self._first_tid = transitions.first_tid.tolist()

    def compile(self, words: list[int]) -> TrainingGraph:
        """Compile the graph of a transcript.

        Args:
            words: word ids; without words the graph has only silence.

        Raises:
            UserError: a word has no pronunciation, or one of its phones has no model.
        """
        phones, edges, starts, ends = self._phone_graph(words)
        nodes, of_instance = self._expand_context(phones, edges, starts, ends)
        return self._to_states(nodes, of_instance, phones, edges, starts, ends)

    def _phone_graph(self, words):
        """Expand words to phone instances.

        Returns:
            phones: phone id of each instance.
            edges: (instance, next instance, log-probability).
            starts, ends: (instance, log-probability).
        """
        silence, model = self.lang.optional_silence, self.silence_model
        phones, edges = [], []
        starts: list[tuple[int, float]] = []

        def connect(sources, target, extra=0.0):
            for a, weight in sources:
                if a is None:
                    starts.append((target, weight + extra))
                else:
                    edges.append((a, target, weight + extra))

        def border(previous):
            """Add the optional silence of a word boundary.

            Args:
                previous: (last instance of the previous word, probability of silence after it).

            Returns:
                Predecessors (instance, log-probability) of the next word without and with silence between.
            """
            direct = [(a, math.log(1 - p)) for a, p in previous if p < 1]
            into = [(a, math.log(p)) for a, p in previous if p > 0]
            paused = []
            if into:
                phones.append(silence)
                connect(into, len(phones) - 1)
                paused.append((len(phones) - 1, 0.0))
            return direct, paused + self._widen_border(direct + paused, phones, connect)

        # instance None is the start of the utterance; an utterance without words always has silence
        direct, paused = border([(None, model.start if words else model.start or 1.0)])
        if not words:
            direct = []
        for word in words:
            pronunciations = self.lang.lexicon.get(word)
            if not pronunciations:
                raise UserError(f"word {self.lang.word_names.get(word, word)} has no pronunciation",
                                file=self.lang.dir / "lexiconp.txt", hint="add it to the lexicon")
            lasts = []
            for prob, pronunciation in pronunciations:
                terms = self._silence_terms(word, pronunciation)
                first = len(phones)
                phones.extend(pronunciation)
                connect(direct, first, math.log(prob * terms.left_none))
                connect(paused, first, math.log(prob * terms.left_silence))
                edges.extend((i, i + 1, 0.0) for i in range(first, len(phones) - 1))
                lasts.append((len(phones) - 1, terms.after))
            direct, paused = border(lasts)
        ends = [(a, weight + math.log(model.end_none)) for a, weight in direct]
        ends += [(a, weight + math.log(model.end_silence)) for a, weight in paused]
        return phones, edges, starts, ends

    def _silence_terms(self, word: int, pronunciation) -> SilenceTerms:
        """The terms of the silence model, without silence between the pieces of one word."""
        after, *left = self.silence_model.of(word, pronunciation)
        begins, ends = self.lang.borders(word)
        return SilenceTerms(after if ends else 0.0, *(left if begins else (1.0, 1.0)))

    def _widen_border(self, previous, phones, connect) -> list[tuple[int, float]]:
        """Hook for subclasses whose graphs allow more at a word boundary than silence.

        Args:
            previous: predecessors of the next word so far: (instance or None, log-probability).
            phones: list of phone instances, to append to.
            connect: ``connect(sources, instance, log-probability)`` adds the edges into an instance.

        Returns:
            More predecessors of the next word.
        """
        return []

    def _expand_context(self, phones, edges, starts, ends):
        """Expand phone instances to phones in context.

        Returns:
            nodes: (phone, left phone, right phone).
            of_instance: for each instance its nodes as (node, left phone, right phone); a phone is None if the node
                does not depend on it.
        """
        lefts: list[set[int]] = [set() for _ in phones]
        rights: list[set[int]] = [set() for _ in phones]
        for a, b, _ in edges:
            lefts[b].add(phones[a])
            rights[a].add(phones[b])
        for a, _ in starts:
            lefts[a].add(0)
        for a, _ in ends:
            rights[a].add(0)
        nodes: list[tuple[int, int, int]] = []
        of_instance = []
        for i, phone in enumerate(phones):
            context_free = self._context_free.get(phone)
            if context_free is None:
                raise UserError(f"phone {self.lang.phone_names.get(phone, phone)} has no model",
                                file=self.lang.dir / "phones.txt", hint="train a model with this lexicon")
            contexts: list[tuple[int | None, int | None]] = [(None, None)]
            if not context_free:
                contexts = [(x, y) for x in sorted(lefts[i]) for y in sorted(rights[i])]
                if self.tree.context_width == 2:
                    contexts = [(x, None) for x in sorted(lefts[i])]
            of_instance.append([(len(nodes) + k, x, y) for k, (x, y) in enumerate(contexts)])
            nodes += [(phone, x or 0, y or 0) for x, y in contexts]
        return nodes, of_instance

    def _hmm(self, phone: int, left: int, right: int):
        """The HMM of a phone in context: (pdfs, self-loop tids, inner arcs (i, j, tid), exits (i, tid), length)."""
        key = (left, phone, right)
        hmm = self._hmm_cache.get(key)
        if hmm is None:
            window = self.tree.window(left, phone, right)
            entry = self.transitions.topology.entries[phone]
            pdfs = [self.tree.pdf(window, c) for c in range(len(entry))]
            tuples = [self.transitions.tuple_index(phone, s, pdf) for s, pdf in enumerate(pdfs)]
            inner, exits = [], []
            for s, arcs in enumerate(entry):
                for k, (to, _) in enumerate(arcs):
                    tid = self._first_tid[tuples[s]] + k
                    if to == len(entry):
                        exits.append((s, tid))
                    elif to != s:
                        inner.append((s, to, tid))
            hmm = self._hmm_cache[key] = (pdfs, [self._self_tid[t] for t in tuples], inner, exits,
                                                 fewest_states(entry))
        return hmm

    def _to_states(self, nodes, of_instance, phones, edges, starts, ends):
        pdf: list[int] = []
        self_tid, arcs, extra, base, hmms = [], [], [], [], []
        for node in nodes:
            hmm = self._hmm(*node)
            hmms.append(hmm)
            base.append(len(pdf))
            arcs += [(base[-1] + i, base[-1] + j, tid) for i, j, tid in hmm[2]]
            extra += [0.0] * len(hmm[2])
            pdf += hmm[0]
            self_tid += hmm[1]
        for a, b, weight in edges:
            for n, _, right in of_instance[a]:
                if right is None or right == phones[b]:
                    for m, left, _ in of_instance[b]:
                        if left is None or left == phones[a]:
                            arcs += [(base[n] + i, base[m], tid) for i, tid in hmms[n][3]]
                            extra += [weight] * len(hmms[n][3])
        first = [(base[n], w) for a, w in starts for n, left, _ in of_instance[a] if left in (None, 0)]
        last = [(base[n] + i, tid, w) for a, w in ends for n, _, right in of_instance[a] if right in (None, 0)
                for i, tid in hmms[n][3]]
        shortest = _shortest(len(phones), edges, starts, ends, [hmms[of_instance[a][0][0]][4] for a in
                                                                range(len(phones))])
        return TrainingGraph(np.array(pdf), np.array(self_tid), np.array(arcs).reshape(-1, 3),
                             np.array(extra, dtype=np.float32), np.array([s for s, _ in first]),
                             np.array([w for _, w in first], dtype=np.float32),
                             np.array([f[:2] for f in last]).reshape(-1, 2),
                             np.array([f[2] for f in last], dtype=np.float32), shortest)


def fewest_states(entry) -> int:
    """Length in frames of the shortest path through a phone's HMM (``Topology.entries``)."""
    steps = {0: 1}
    frontier = [0]
    while frontier:
        s = frontier.pop(0)
        for to, _ in entry[s]:
            if to == len(entry):
                return steps[s]
            if to not in steps:
                steps[to] = steps[s] + 1
                frontier.append(to)
    raise UserError("the final state of a topology cannot be reached", hint="correct the lang folder's topo")


def _shortest(count, edges, starts, ends, lengths) -> int:
    best = [math.inf] * count
    for a, _ in starts:
        best[a] = lengths[a]
    for a, b, _ in sorted(edges):  # every edge goes from a lower to a higher instance number
        best[b] = min(best[b], best[a] + lengths[b])
    return int(min(best[a] for a, _ in ends))
