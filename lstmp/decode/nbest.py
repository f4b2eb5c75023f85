"""The best different word sequences of a lattice, in order, with their scores.

Found by A* on the word graph: a hypothesis is a sequence of words with, for each node where it may stand, the best
score of getting there; what it can still reach is known exactly, so that complete hypotheses come out in order of their
scores and no sequence comes twice. ::

    steps/get_nbest.sh DECODE_DIR --graph DIR --n 100

writes into DECODE_DIR/nbest, as Kaldi's ``nbest-to-linear`` would: ``text`` (``UTT-1 WORD …``, the best being 1),
``ac_cost`` and ``lm_cost`` (negative acoustic and graph log-scores, unscaled) and ``score``. With --lang and --new-lang
the language model's part of the scores is exchanged and each list sorted anew: rescoring of n-best lists. ``best.txt``
has the first of each list, under the utterance's own id, for steps/compare.sh.
"""

import argparse
import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstmp import config
from lstmp.corpus.lang import read_names
from lstmp.corpus.pieces import Names
from lstmp.decode.backoff_lm import BackoffLm
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.word_graph import WordGraph, near_best, word_graph
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.parallel import run_jobs

_Way = tuple[int, Any] | None  # to a node: the last link, and the way before it
_FIRST_BEAM = 4.0  # of the part of a lattice that is looked at first


@dataclass(frozen=True)
class Hypothesis:
    """A word sequence.

    Attributes:
        words: its ids.
        score: acoustic / LM weight + graph - penalty · words.
        acoustic, graph: unscaled log-scores of the best path with these words.
        frames: where each word is emitted on it.
    """

    words: tuple[int, ...]
    score: float
    acoustic: float
    graph: float
    frames: tuple[int, ...]


def nbest(graph: WordGraph, lm_weight: float, word_penalty: float) -> Iterator[Hypothesis]:
    """All word sequences of the graph, the best first."""
    found = graph.scores(lm_weight, word_penalty)
    left, scores, targets = graph.to_end(found).tolist(), found.tolist(), graph.links[:, 1].tolist()
    leaving, node_words, end = graph.leaving.tolist(), graph.words, graph.end
    count = itertools.count()  # of equals the one found first
    queue: list[tuple[float, int, tuple[int, ...], dict[int, tuple[float, _Way]]]]
    queue = [(-left[0], next(count), (), {0: (0.0, None)})]  # words → node → (score, the way there: (link, before))
    done = set()
    while queue:
        _, _, words, at = heapq.heappop(queue)
        if list(at) == [end]:
            if words not in done:  # arcs with several words can spell one sequence in two ways
                done.add(words)
                yield _hypothesis(graph, words, *at[end])
            continue
        following: dict[tuple[tuple[int, ...], bool], dict[int, tuple[float, _Way]]] = {}
        for node, (score, way) in at.items():
            for link in range(leaving[node], leaving[node + 1]):
                to = targets[link]
                places = following.setdefault((node_words[to], to == end), {})
                total = score + scores[link]
                if to not in places or places[to][0] < total:
                    places[to] = total, (link, way)
        for (more, _), places in following.items():
            reach = max(s + left[n] for n, (s, _) in places.items())
            if reach > -math.inf:
                heapq.heappush(queue, (-reach, next(count), words + more, places))


def _hypothesis(graph: WordGraph, words: tuple[int, ...], score: float, way: _Way) -> Hypothesis:
    links = []
    while way is not None:
        links.append(way[0])
        way = way[1]
    nodes = graph.links[links[::-1], 1].tolist()
    frames = tuple(int(graph.frame[n]) for n in nodes for _ in graph.words[n])
    return Hypothesis(words, float(score), float(graph.acoustic[links].sum()), float(graph.graph[links].sum()), frames)


def best_hypotheses(lattice: Lattice, n: int, lm_weight: float, word_penalty: float) -> list[Hypothesis]:
    """The ``n`` best word sequences of a lattice, or as many as it has."""
    if not lattice.num_arcs:
        return []
    beam = _FIRST_BEAM
    while True:  # what lies within the beam is complete
        part = near_best(lattice, lm_weight, word_penalty, beam)
        found = list(itertools.islice(nbest(word_graph(part, lm_weight), lm_weight, word_penalty), n))
        if part.num_arcs == lattice.num_arcs or len(found) == n and found[0].score - found[-1].score < beam:
            return found
        beam *= 2


def rescored(hypotheses: list[Hypothesis], old: BackoffLm, new: BackoffLm, lm_weight: float,
             word_penalty: float) -> list[Hypothesis]:
    """The same hypotheses with the new LM's scores in the place of the old one's, sorted anew.

    Those that the new LM gives no probability are left out.
    """
    out = []
    for h in hypotheses:
        graph = h.graph - _lm_score(old, h.words) + _lm_score(new, h.words)
        if graph > -np.inf:
            out.append(replace(h, graph=graph, score=h.acoustic / lm_weight + graph - word_penalty * len(h.words)))
    return sorted(out, key=lambda h: -h.score)


def _lm_score(lm: BackoffLm, words: tuple[int, ...]) -> float:
    state, total = np.array([lm.start]), 0.0
    for word in words:
        state, score = lm.step(state, np.array([word]))
        total += float(score[0])
    return total + float(lm.final(state)[0])


def write_nbest(out: Path | str, lists: dict[str, list[Hypothesis]], names: Names) -> None:
    """Write the lists of all utterances as Kaldi keeps them; of ways to write the same words in pieces the best."""
    rows = []
    for utt in sorted(lists):
        different: dict[tuple[str, ...], Hypothesis] = {}
        for h in lists[utt]:
            different.setdefault(tuple(names.words(h.words)), h)
        rows += [(f"{utt}-{k}", h) for k, h in enumerate(different.values(), 1)]
    texts = {"text": [" ".join((key, *names.words(h.words))) for key, h in rows],
             "ac_cost": [f"{key} {-h.acoustic:.4f}" for key, h in rows],
             "lm_cost": [f"{key} {-h.graph:.4f}" for key, h in rows],
             "score": [f"{key} {h.score:.4f}" for key, h in rows]}
    best = {utt: names.words(lists[utt][0].words) if lists[utt] else [] for utt in sorted(lists)}
    texts["best.txt"] = [" ".join((utt, *words)) for utt, words in best.items()]
    for name, lines in texts.items():
        config.write_text(Path(out) / name, "".join(f"{line}\n" for line in lines))


def chosen_weights(decode_dir: Path | str, lm_weight: float | None, word_penalty: float | None) -> tuple[float, float]:
    """LM weight and penalty as given, or as they were chosen on dev (score.json of the decode dir)."""
    if lm_weight is None or word_penalty is None:
        score = config.read_json(Path(decode_dir) / "score.json",
                          "score this set first, or give --lm-weight and --word-penalty")
        lm_weight = score["lmwt"] if lm_weight is None else lm_weight
        word_penalty = score["wip"] if word_penalty is None else word_penalty
    if not 0 < lm_weight < float("inf"):
        raise UserError(f"an LM weight of {lm_weight:g} makes no sense", hint="give one above 0")
    return lm_weight, word_penalty


def lattice_files(decode_dir: Path | str) -> list[Path]:
    """The lattice files of a decode dir."""
    jobs = sorted(Path(decode_dir).glob("lat.*.safetensors"))
    if not jobs:
        raise UserError("no lattices in it", file=decode_dir, hint="run steps/decode.sh first")
    return jobs


def add_arguments(p: argparse.ArgumentParser) -> None:
    """``decode_dir --graph --lm-weight --word-penalty --nj``."""
    p.add_argument("decode_dir", help="folder of a decoding, with lat.*.safetensors")
    p.add_argument("--graph", required=True, help="graph dir that it was decoded with, for words.txt")
    p.add_argument("--lm-weight", type=float, help="(default: as chosen on dev, from score.json)")
    p.add_argument("--word-penalty", type=float, help="(default: as chosen on dev, from score.json)")
    p.add_argument("--nj", type=int, default=1, help="processes (default: %(default)s)")


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/get_nbest.sh", description=__doc__.split("\n")[0])
    add_arguments(p)
    p.add_argument("--n", type=int, default=100, help="word sequences of an utterance (default: %(default)s)")
    p.add_argument("--lang", help="lang folder with the G.fst of the decoding graph; with --new-lang")
    p.add_argument("--new-lang", help="lang folder whose G.fst takes its place")
    p.add_argument("--out", type=Path, help="(default: DECODE_DIR/nbest)")
    a = p.parse_args(argv)
    if a.n < 1 or bool(a.lang) != bool(a.new_lang):
        raise UserError("--n must be 1 or more, --lang and --new-lang be given together", hint="correct the options")
    names = read_names(Path(a.graph) / "words.txt")
    weights = chosen_weights(a.decode_dir, a.lm_weight, a.word_penalty)
    lms = (BackoffLm(a.lang), BackoffLm(a.new_lang)) if a.lang else None

    def job(path: Path) -> dict[str, list[Hypothesis]]:
        lists = {utt: best_hypotheses(x, a.n, *weights) for utt, x in read_lattices(path).items()}
        return {utt: rescored(h, *lms, *weights) for utt, h in lists.items()} if lms else lists

    lists: dict[str, list[Hypothesis]] = {}
    for part in run_jobs(job, lattice_files(a.decode_dir), a.nj, "n-best lists", unit="job"):
        lists |= part
    out = a.out or Path(a.decode_dir) / "nbest"
    write_nbest(out, lists, names)
    say(f"{out}: {sum(map(len, lists.values())):,} word sequences of {len(lists)} utterances, LM weight "
        f"{weights[0]:g}, penalty {weights[1]:g}")


if __name__ == "__main__":
    main()
