"""Small random recognizers (topology, lexicon, tree, transitions), and alignment by trying all paths."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from lstmp.corpus.lang import Lang
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms
from lstmp.corpus.topology import Topology
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import PDF_CLASS, Node, Tree

SIL = 1


def random_lang(rng, *, states=(1, 2, 3), phones: int = 4, words: int = 3) -> Lang:
    """A lang with a silence of 5 ergodic states, small phones, and words with one or two short pronunciations."""
    speech = list(range(2, 2 + phones))
    entries = dict(Topology.bakis(nonsilence=[], silence=[SIL]).entries)
    for phone in speech:
        entries |= Topology.bakis(nonsilence=[phone], silence=[], nonsilence_states=int(rng.choice(states))).entries
    lexicon = {}
    for word in range(1, words + 1):
        count = int(rng.integers(1, 3))
        lexicon[word] = [(float(rng.uniform(0.2, 1.0)), tuple(rng.choice(speech, rng.integers(1, 3)).tolist()))
                         for _ in range(count)]
    return Lang(dir=Path("lang"), phones={"<eps>": 0, "SIL": 1, **{f"P{p}": p for p in speech}},
                words={"<eps>": 0, **{f"W{w}": w for w in lexicon}}, silence=[SIL], nonsilence=speech,
                optional_silence=SIL, disambig=[], sets=[[SIL], *[[p] for p in speech]],
                roots=[(False, False, [SIL]), *[(False, True, [p]) for p in speech]], extra_questions=[],
                lexicon=lexicon, oov=1, topology=Topology(entries), sil_prob=float(rng.uniform(0.2, 0.8)))


def with_silence_model(lang: Lang, rng) -> Lang:
    """Copy ``lang`` with random silence probabilities for each pronunciation and both ends of an utterance."""
    def terms():
        return SilenceTerms(*map(float, (rng.uniform(0.05, 0.95), *rng.uniform(0.2, 3.0, 2))))
    of = {(word, phones): terms() for word, prons in lang.lexicon.items() for _, phones in prons}
    return replace(lang, silence_model=SilenceModel(*terms(), lang.sil_prob, of))


def random_tree(lang: Lang, rng, width: int = 3, depth: int = 2) -> Tree:
    """A tree with random questions about phones and pdf-classes below the roots of speech phones."""
    counter = itertools.count()
    phones = [0, *lang.silence, *lang.nonsilence]

    def grow(level):
        if level == 0 or rng.random() < 0.2:
            return Node(pdf=next(counter))
        key = int(rng.choice([PDF_CLASS, *range(width)]))
        values = [0, 1, 2] if key == PDF_CLASS else phones
        yes = frozenset(rng.choice(values, len(values) // 2, replace=False).tolist())
        return Node(key=key, yes=yes, then=grow(level - 1), otherwise=grow(level - 1))

    roots = {}
    for phone in lang.silence:
        for c in range(lang.topology.num_states(phone)):
            roots[phone, c] = Node(pdf=next(counter))
    for phone in lang.nonsilence:
        shared = grow(depth) if rng.random() < 0.5 else None
        for c in range(lang.topology.num_states(phone)):
            roots[phone, c] = shared or grow(depth)
    return Tree(width, width // 2, roots)


def random_transitions(lang: Lang, tree: Tree, rng) -> TransitionModel:
    model = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    log_prob = model.log_prob.clone()
    for first, end in itertools.pairwise(model.first_tid.tolist()):
        log_prob[first:end] = log_prob.new_tensor(np.log(rng.dirichlet(np.full(end - first, 3.0))))
    return TransitionModel(lang.topology, model.tuples, log_prob)


def random_path(phones, transitions: TransitionModel, tree: Tree, rng, stay: float = 0.5):
    """A random walk through the HMMs of ``phones``: for each phone its transition-ids, not reordered."""
    out = []
    for i, phone in enumerate(phones):
        window = window_at(phones, i, tree)
        entry, state, walk = transitions.topology.entries[phone], 0, []
        while state < len(entry):
            first = int(transitions.first_tid[transitions.tuple_index(phone, state, tree.pdf(window, state))])
            forward = [k for k, (to, _) in enumerate(entry[state]) if to != state]
            loop = [k for k, (to, _) in enumerate(entry[state]) if to == state]
            k = loop[0] if loop and rng.random() < stay else int(rng.choice(forward))
            walk.append(first + k)
            state = entry[state][k][0]
        out.append(walk)
    return out


def window_at(phones, i, tree: Tree) -> tuple[int, ...]:
    left = i - tree.central_position
    return tuple(phones[j] if 0 <= j < len(phones) else 0 for j in range(left, left + tree.context_width))


def reordered(plain, transitions: TransitionModel) -> list[int]:
    """Convert transition-ids to Kaldi's reordered form: the forward transition of a state before its self-loops."""
    out, loops = [], []
    for tid in plain:
        if transitions.is_self_loop[tid]:
            loops.append(tid)
        else:
            out += [tid, *loops]
            loops = []
    return out + loops


def phone_sequences(lang: Lang, words):
    """Yield every phone sequence of a transcript with its log-probability, by definition."""
    model = lang.silence_model or SilenceModel.constant(lang.sil_prob)
    if not words:
        yield (lang.optional_silence,), math.log(model.start * model.end_silence)
        return
    for prons in itertools.product(*(lang.lexicon[w] for w in words)):
        terms = [model.of(w, pron) for w, (_, pron) in zip(words, prons, strict=True)]
        after = [model.start, *(t.after for t in terms)]
        silence = [*(t.left_silence for t in terms), model.end_silence]
        none = [*(t.left_none for t in terms), model.end_none]
        for pauses in itertools.product((False, True), repeat=len(words) + 1):
            phones = [SIL] if pauses[0] else []
            for (_, pron), pause in zip(prons, pauses[1:], strict=True):
                phones += [*pron, *([SIL] if pause else [])]
            cost = sum(math.log(p) for p, _ in prons)
            for pause, p, fs, fn in zip(pauses, after, silence, none, strict=True):
                cost += math.log(p * fs if pause else (1 - p) * fn)
            yield tuple(phones), cost


def exhaustive_alignment(lang, tree, transitions, words, scores, transition_scale, self_loop_scale):
    """Find the best of all paths of ``len(scores)`` frames.

    Returns:
        (score, [transition-ids of a path, not reordered]), or None if there is no path. There are several paths if
        they tie up to rounding, such as different boundaries between two instances of a phone in a row.
    """
    paths = [(cost + score, path) for phones, cost in phone_sequences(lang, words)
             for score, path in _all_paths(phones, tree, transitions, scores, transition_scale, self_loop_scale)]
    best = max((score for score, _ in paths), default=None)
    return None if best is None else (best, [path for score, path in paths if score > best - 1e-4])


def _all_paths(phones, tree, transitions, scores, transition_scale, self_loop_scale):
    entries = [transitions.topology.entries[p] for p in phones]
    scores, cache = scores.tolist(), {}

    def arcs(i, state):
        """(pdf, arcs as (destination, transition-id, weight)) of a state of phone ``i``."""
        if (i, state) not in cache:
            pdf, entry = tree.pdf(window_at(phones, i, tree), state), entries[i][state]
            first = int(transitions.first_tid[transitions.tuple_index(phones[i], state, pdf)])
            probs = [math.exp(float(transitions.log_prob[first + k])) for k in range(len(entry))]
            loop = sum(p for p, (to, _) in zip(probs, entry, strict=True) if to == state)
            cache[i, state] = pdf, [
                (to, first + k, self_loop_scale * math.log(p) if to == state else
                 transition_scale * math.log(p / (1 - loop)) + self_loop_scale * math.log(1 - loop))
                for k, ((to, _), p) in enumerate(zip(entry, probs, strict=True))]
        return cache[i, state]

    def walk(i, state, t, score, path):
        """Yield every continuation of a path that is in state ``state`` of phone ``i`` at frame ``t``."""
        if len(scores) - t < len(phones) - i:  # a phone takes at least one frame
            return
        pdf, out_arcs = arcs(i, state)
        for to, tid, weight in out_arcs:
            new, longer = score + scores[t][pdf] + weight, [*path, tid]
            if to < len(entries[i]):
                yield from walk(i, to, t + 1, new, longer)
            elif i + 1 < len(phones):
                yield from walk(i + 1, 0, t + 1, new, longer)
            elif t + 1 == len(scores):
                yield new, longer

    yield from walk(0, 0, 0, 0.0, [])
