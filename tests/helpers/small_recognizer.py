"""A small recognizer for tests of graphs (lexicon, grammar, random tree), and an enumeration of all its paths."""

import dataclasses
import itertools
import math

import kaldifst
import numpy as np

from lstmp.corpus.arpa import arpa_to_g
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.fst import FstArrays, read_fst
from lstmp.corpus.lang import Lang
from lstmp.corpus.pieces import borders
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.prepare_lm import prepare_lm
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import PDF_CLASS, Node, Tree
from lstmp.graph.make_graph import make_graph

# homophones, a word with two pronunciations, a word that is the beginning of another one, a word with a single phone
LEXICON = "RED 1.0 R E D\nREAD 0.7 R E D\nREAD 0.3 R I D\nA 1.0 A\nARID 1.0 A R I D\n"
ARPA = r"""
\data\
ngram 1=6
ngram 2=4
ngram 3=2

\1-grams:
-99 <s> -0.3
-0.7 </s>
-0.9 RED -0.2
-0.8 READ -0.4
-0.5 A -0.1
-0.6 ARID

\2-grams:
-0.2 <s> A -0.15
-0.4 A RED -0.25
-0.9 READ READ
-0.3 ARID </s>

\3-grams:
-0.1 <s> A RED
-0.35 A RED A

\end\
"""


# pieces of words: RED whole or in two pieces, D inside and at the end of a word, A in every position
PIECES = ("▁RED▁ 1.0 R E D\n▁RE 0.7 R E\n▁RE 0.3 R I\nD▁ 1.0 D\nD 1.0 D\n▁A▁ 1.0 A\n▁A 1.0 A\nA 1.0 A\n"
          "A▁ 1.0 A\n")
PIECES_ARPA = r"""
\data\
ngram 1=10
ngram 2=4

\1-grams:
-99 <s> -0.3
-0.7 </s>
-0.9 ▁RED▁ -0.2
-0.8 ▁RE -0.4
-0.5 ▁A▁ -0.1
-0.6 ▁A
-0.7 A
-0.8 A▁
-0.4 D▁
-0.5 D

\2-grams:
-0.2 <s> ▁A▁
-0.4 ▁RE D▁
-0.9 ▁RE D
-0.3 ▁RED▁ </s>

\end\
"""


def small_lang(folder, rng=None, lexicon=LEXICON, arpa=ARPA) -> tuple[Lang, kaldifst.StdVectorFst]:
    """Write and load a lang folder, and make G. ``rng``: add random silence probabilities for each pronunciation."""
    (folder / "lexicon.txt").write_text(lexicon)
    (folder / "lm.arpa").write_text(arpa)
    prepare_dict(folder / "lexicon.txt", folder / "dict")
    if rng is not None:
        dictionary = Dictionary.load(folder / "dict")
        of = {(word, phones): random_terms(rng) for word, _, phones in dictionary.entries}
        dataclasses.replace(dictionary, silence_model=SilenceModel(*random_terms(rng), 0.4, of)).write(folder / "dict")
    prepare_lang(folder / "dict", folder / "lang", sil_prob=0.4)
    g, _, _ = arpa_to_g(folder / "lm.arpa", folder / "lang" / "words.txt")
    return Lang.load(folder / "lang"), g


def small_recognizer(folder, model: str, graph: str) -> Tree:
    """Write lang/, lang_x/ with G, a model with a random tree, and its graph. Returns the tree."""
    lang, _ = small_lang(folder)
    prepare_lm(folder / "lang", folder / "lang_x", arpa=folder / "lm.arpa")
    rng = np.random.default_rng(0)
    tree = random_tree(lang, 3, 1, rng)
    AcousticModel(random_transitions(lang, tree, rng), tree, None, None).save(folder / model)
    make_graph(folder / "lang_x", folder / model, folder / graph)
    return tree


def random_terms(rng) -> SilenceTerms:
    return SilenceTerms(*map(float, (rng.uniform(0.1, 0.9), *rng.uniform(0.3, 2.5, 2))))


def random_tree(lang: Lang, width: int, central: int, rng, depth: int = 3) -> Tree:
    """A tree with random questions about phones and pdf-classes below every root."""
    phones = lang.silence + lang.nonsilence
    counter = itertools.count()

    def grow(level: int) -> Node:
        if level == 0 or rng.random() < 0.2:
            return Node(pdf=next(counter))
        key = int(rng.choice([PDF_CLASS, *range(width)]))
        among = [0, 1, 2] if key == PDF_CLASS else [0, *phones]
        yes = frozenset(int(x) for x in rng.choice(among, len(among) // 2, replace=False))
        return Node(key=key, yes=yes, then=grow(level - 1), otherwise=grow(level - 1))

    roots = {}
    for shared, _, group in lang.roots:
        classes = range(lang.topology.num_states(group[0]))
        nodes = [grow(depth)] * len(classes) if shared else [Node(pdf=next(counter)) for _ in classes]
        roots.update({(phone, c): nodes[c] for phone in group for c in classes})
    return Tree(width, central, roots)


def random_transitions(lang: Lang, tree: Tree, rng) -> TransitionModel:
    """Transitions with random probabilities."""
    model = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    log_prob = model.log_prob.clone()
    for i in range(len(model.tuples)):
        arcs = slice(int(model.first_tid[i]), int(model.first_tid[i + 1]))
        log_prob[arcs] = log_prob.new_tensor(np.log(rng.dirichlet(np.full(arcs.stop - arcs.start, 5.0))))
    return TransitionModel(lang.topology, model.tuples, log_prob)


def spoken(lang: Lang, g, max_phones: int) -> dict[tuple[int, ...], dict[tuple[int, ...], float]]:
    """Phone sequence → word sequence → lowest cost in L and G, for all phone sequences of at most ``max_phones``."""
    arcs = FstArrays.of(g)
    backoff = lang.words["#0"]
    sentences: dict[tuple[int, ...], float] = {}
    shortest = {w: min(len(p) for _, p in spellings) for w, spellings in lang.lexicon.items()}

    def walk(state, words, cost):
        if sum(shortest[w] for w in words) > max_phones:
            return
        if np.isfinite(arcs.final[state]):
            total = cost + float(arcs.final[state])
            sentences[words] = min(total, sentences.get(words, math.inf))
        for a in np.flatnonzero(arcs.src == state):
            if arcs.ilabel[a] == backoff:
                assert arcs.olabel[a] == 0
                walk(arcs.dst[a], words, cost + float(arcs.weight[a]))
            else:
                assert arcs.ilabel[a] == arcs.olabel[a]
                walk(arcs.dst[a], (*words, int(arcs.ilabel[a])), cost + float(arcs.weight[a]))

    walk(arcs.start, (), 0.0)
    out: dict[tuple[int, ...], dict[tuple[int, ...], float]] = {}
    model = lang.silence_model or SilenceModel.constant(lang.sil_prob)
    border = {w: borders(s) if lang.word_names.pieces else (True, True) for s, w in lang.words.items()}
    for words, cost in sentences.items():
        inside = [not border[w][1] for w in words]  # whether the position after each piece is inside a word
        if [True, *(not x for x in inside)] != [*(border[w][0] for w in words), True]:
            continue
        for spellings in itertools.product(*(lang.lexicon[w] for w in words)):
            base = cost - sum(math.log(p) for p, _ in spellings)
            terms = [model.of(w, spelling) for w, (_, spelling) in zip(words, spellings, strict=True)]
            before = [t[1:] for t in terms] + [(model.end_silence, model.end_none)]
            costs = [(-math.log((1 - p) * fn), -math.log(p * fs))  # for each position: without silence, with silence
                     for p, (fs, fn) in zip([model.start, *(t.after for t in terms)], before, strict=True)]
            costs = [(0.0, math.inf) if i else c for i, c in zip([False, *inside], costs, strict=True)]
            for pauses in itertools.product((False, True), repeat=len(words) + 1):
                phones = (lang.optional_silence,) if pauses[0] else ()
                for (_, spelling), pause in zip(spellings, pauses[1:], strict=True):
                    phones += spelling + ((lang.optional_silence,) if pause else ())
                total = base + sum(c[pause] for c, pause in zip(costs, pauses, strict=True))
                if 0 < len(phones) <= max_phones and total < math.inf:
                    options = out.setdefault(phones, {})
                    options[words] = min(total, options.get(words, math.inf))
    return out


def phone_sequence_cost(phones, tree, transitions, scores, transition_scale, self_loop_scale) -> float:
    """Viterbi through the HMMs of one phone sequence: lowest cost over all frames, including the negative scores."""
    num_frames = len(scores)
    done = np.full(num_frames + 1, np.inf)  # cost of having finished the phones so far after t frames
    done[0] = 0.0
    for i in range(len(phones)):
        window = tuple(phones[j] if 0 <= j < len(phones) else 0
                       for j in range(i - tree.central_position, i - tree.central_position + tree.context_width))
        entry = transitions.topology.entries[phones[i]]
        arcs = []  # (state, destination, cost, pdf)
        for s, state_arcs in enumerate(entry):
            index = transitions.tuple_index(phones[i], s, tree.pdf(window, s))
            leave = transitions.non_self_loop_log_prob(index)
            for k, (to, _) in enumerate(state_arcs):
                tid = int(transitions.first_tid[index]) + k
                log_p = float(transitions.log_prob[tid])
                graph = self_loop_scale * (log_p if to == s else leave)
                graph += 0.0 if to == s else transition_scale * (log_p - leave)
                arcs.append((s, to, -graph, int(transitions.tid_pdf[tid])))
        costs = np.full((num_frames + 1, len(entry) + 1), np.inf)  # cost of being in state s after t frames
        costs[:, 0] = done
        for t in range(num_frames):
            for s, to, cost, pdf in arcs:
                costs[t + 1, to] = min(costs[t + 1, to], costs[t, s] + cost - scores[t, pdf])
        done = costs[:, -1]
    return float(done[-1])


def exhaustive(lang, g, tree, transitions, scores, transition_scale=1.0, self_loop_scale=0.1):
    """Word sequence → lowest cost, by enumeration of all phone sequences that fit into T frames; ``scores`` [T, P]."""
    best: dict[tuple[int, ...], float] = {}
    shortest = 1 if lang.topology.for_low_rate else 3  # frames of a phone
    for phones, word_costs in spoken(lang, g, len(scores) // shortest).items():
        cost = phone_sequence_cost(phones, tree, transitions, scores, transition_scale, self_loop_scale)
        for words, lm_cost in word_costs.items():
            best[words] = min(best.get(words, math.inf), cost + lm_cost)
    return best


def graph_viterbi(graph: FstArrays, tid_pdf, scores) -> dict[tuple[int, ...], float]:
    """Word sequence → lowest cost in HCLG, by token passing with one token for each state and word sequence."""
    arcs_of = [[] for _ in graph.final]
    for a in range(len(graph.src)):
        arcs_of[graph.src[a]].append(a)

    def close(tokens):  # follow epsilons until nothing improves
        todo = list(tokens)
        while todo:
            state, words = todo.pop()
            cost = tokens[state, words]
            for a in arcs_of[state]:
                if graph.ilabel[a] == 0:
                    key = (graph.dst[a], words + ((int(graph.olabel[a]),) if graph.olabel[a] else ()))
                    if cost + graph.weight[a] < tokens.get(key, math.inf) - 1e-9:
                        tokens[key] = cost + float(graph.weight[a])
                        todo.append(key)
        return tokens

    tokens = close({(graph.start, ()): 0.0})
    for frame in scores:
        following: dict = {}
        for (state, words), cost in tokens.items():
            for a in arcs_of[state]:
                if graph.ilabel[a]:
                    key = (graph.dst[a], words + ((int(graph.olabel[a]),) if graph.olabel[a] else ()))
                    total = cost + float(graph.weight[a]) - frame[tid_pdf[graph.ilabel[a]]]
                    following[key] = min(total, following.get(key, math.inf))
        tokens = close(following)
    best: dict = {}
    for (state, words), cost in tokens.items():
        if np.isfinite(graph.final[state]):
            best[words] = min(cost + float(graph.final[state]), best.get(words, math.inf))
    return best


def l_disambig(lang: Lang):
    return read_fst(lang.dir / "L_disambig.fst")
