"""N-best lists: the best distinct word sequences of a lattice, in order, with their scores.

They are found by an A* search on the word graph. A partial hypothesis is a word sequence, with the best score up to
each node where it can end. The best score from there to the end is known exactly, so that complete hypotheses are found
in the order of their scores, and each word sequence only once. ::

    steps/get_nbest.sh DECODE_DIR --graph DIR --n 100

writes to DECODE_DIR/nbest, in the format of Kaldi's ``nbest-to-linear``: ``text`` (``UTT-1 WORD …``, where 1 is the
best one), ``ac_cost`` and ``lm_cost`` (negative acoustic and graph log-scores, unscaled) and ``score``. With --lang and
--new-lang the lists are rescored: the scores of the old language model are replaced by those of the new one, and each
list is sorted again. ``best.txt`` has the best hypothesis of each utterance under its own id, for steps/compare.sh.
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
from lstmp.aliases import Json
from lstmp.corpus.lang import read_names
from lstmp.corpus.pieces import Names
from lstmp.decode.backoff_lm import BackoffLm
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.word_graph import WordGraph, near_best, word_graph
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import frame_shift
from lstmp.log import say
from lstmp.parallel import run_jobs

_Path = tuple[int, Any] | None  # to a node: the last link, and the path before it
_FIRST_BEAM = 4.0  # initial beam; the search starts with this part of the lattice


@dataclass(frozen=True)
class Hypothesis:
    """A word sequence.

    Attributes:
        words: word ids.
        score: acoustic / LM weight + graph - penalty · number of words.
        acoustic, graph: unscaled log-scores of the best path with these words.
        frames: the frame at which that path emits each word.
    """

    words: tuple[int, ...]
    score: float
    acoustic: float
    graph: float
    frames: tuple[int, ...]


def nbest(graph: WordGraph, lm_weight: float, word_penalty: float) -> Iterator[Hypothesis]:
    """All word sequences of the graph, best first."""
    link_scores = graph.scores(lm_weight, word_penalty)
    to_end, scores = graph.to_end(link_scores).tolist(), link_scores.tolist()
    targets, leaving, node_words, end = graph.links[:, 1].tolist(), graph.leaving.tolist(), graph.words, graph.end
    count = itertools.count()  # breaks ties: first in, first out
    # (−best total score, count, words, node → (score, path)); a path is (last link, path before it)
    queue: list[tuple[float, int, tuple[int, ...], dict[int, tuple[float, _Path]]]]
    queue = [(-to_end[0], next(count), (), {0: (0.0, None)})]
    done = set()
    while queue:
        _, _, words, nodes = heapq.heappop(queue)
        if list(nodes) == [end]:
            if words not in done:  # arcs with several words can give one sequence in two ways
                done.add(words)
                yield _hypothesis(graph, words, *nodes[end])
            continue
        extensions: dict[tuple[tuple[int, ...], bool], dict[int, tuple[float, _Path]]] = {}
        for node, (score, path) in nodes.items():
            for link in range(leaving[node], leaving[node + 1]):
                to = targets[link]
                next_nodes = extensions.setdefault((node_words[to], to == end), {})
                total = score + scores[link]
                if to not in next_nodes or next_nodes[to][0] < total:
                    next_nodes[to] = total, (link, path)
        for (next_words, _), next_nodes in extensions.items():
            best_total = max(s + to_end[n] for n, (s, _) in next_nodes.items())
            if best_total > -math.inf:
                heapq.heappush(queue, (-best_total, next(count), words + next_words, next_nodes))


def _hypothesis(graph: WordGraph, words: tuple[int, ...], score: float, path: _Path) -> Hypothesis:
    links = []
    while path is not None:
        links.append(path[0])
        path = path[1]
    nodes = graph.links[links[::-1], 1].tolist()
    frames = tuple(int(graph.frame[n]) for n in nodes for _ in graph.words[n])
    return Hypothesis(words, float(score), float(graph.acoustic[links].sum()), float(graph.graph[links].sum()), frames)


def best_hypotheses(lattice: Lattice, n: int, lm_weight: float, word_penalty: float) -> list[Hypothesis]:
    """The ``n`` best word sequences of a lattice; all of them if it has fewer."""
    if not lattice.num_arcs:
        return []
    beam = _FIRST_BEAM
    while True:  # hypotheses within the beam are complete
        part = near_best(lattice, lm_weight, word_penalty, beam)
        hypotheses = list(itertools.islice(nbest(word_graph(part, lm_weight), lm_weight, word_penalty), n))
        if part.num_arcs == lattice.num_arcs \
                or len(hypotheses) == n and hypotheses[0].score - hypotheses[-1].score < beam:
            return hypotheses
        beam *= 2


def rescored(hypotheses: list[Hypothesis], old: BackoffLm, new: BackoffLm, lm_weight: float,
             word_penalty: float) -> list[Hypothesis]:
    """The same hypotheses with the scores of the old LM replaced by those of the new one, sorted again.

    Hypotheses to which the new LM gives no probability are left out.
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
    """Write the lists of all utterances in Kaldi's format.

    If several hypotheses split the same words into different pieces, only the best of them is written.
    """
    rows = []
    for utt in sorted(lists):
        distinct: dict[tuple[str, ...], Hypothesis] = {}
        for h in lists[utt]:
            distinct.setdefault(tuple(names.words(h.words)), h)
        rows += [(f"{utt}-{k}", h) for k, h in enumerate(distinct.values(), 1)]
    texts = {"text": [" ".join((key, *names.words(h.words))) for key, h in rows],
             "ac_cost": [f"{key} {-h.acoustic:.4f}" for key, h in rows],
             "lm_cost": [f"{key} {-h.graph:.4f}" for key, h in rows],
             "score": [f"{key} {h.score:.4f}" for key, h in rows]}
    best = {utt: names.words(lists[utt][0].words) if lists[utt] else [] for utt in sorted(lists)}
    texts["best.txt"] = [" ".join((utt, *words)) for utt, words in best.items()]
    for name, lines in texts.items():
        config.write_text(Path(out) / name, "".join(f"{line}\n" for line in lines))


def chosen_weights(decode_dir: Path | str, lm_weight: float | None, word_penalty: float | None) -> tuple[float, float]:
    """LM weight and penalty as given, or as chosen on dev (from score.json of the decode dir)."""
    if lm_weight is None or word_penalty is None:
        score = config.read_json(Path(decode_dir) / "score.json",
                                 "score this set first, or give --lm-weight and --word-penalty")
        lm_weight = score["lmwt"] if lm_weight is None else lm_weight
        word_penalty = score["wip"] if word_penalty is None else word_penalty
    if not 0 < lm_weight < float("inf"):
        raise UserError(f"the LM weight is {lm_weight:g}, it must be greater than 0", hint="correct the value")
    return lm_weight, word_penalty


def frames_in_lattice_frame(decode_info: Json) -> int:
    """Frames of the features for which the lattices of a decoding have one frame; ``decode_info``: its decode.json.

    It is more than 1 if a network with subsampling computed the scores.
    """
    return int(decode_info.get("subsampling", 1))  # files of earlier versions lack the number


def lattice_frame_shift(decode_info: Json) -> float:
    """Seconds from frame to frame of the lattices of a decoding; ``decode_info``: its decode.json."""
    return frames_in_lattice_frame(decode_info) * frame_shift(decode_info["data"])


def lattice_files(decode_dir: Path | str) -> list[Path]:
    """The lattice files of a decode dir."""
    jobs = sorted(Path(decode_dir).glob("lat.*.safetensors"))
    if not jobs:
        raise UserError("no lattices in it", file=decode_dir, hint="run steps/decode.sh first")
    return jobs


def add_arguments(p: argparse.ArgumentParser) -> None:
    """Add ``decode_dir --graph --lm-weight --word-penalty --nj``, which several commands share."""
    p.add_argument("decode_dir", help="folder of a decoding, with lat.*.safetensors")
    p.add_argument("--graph", required=True, help="graph dir of that decoding, for words.txt")
    p.add_argument("--lm-weight", type=float, help="LM weight (default: as chosen on dev, from score.json)")
    p.add_argument("--word-penalty", type=float, help="word insertion penalty (default: as chosen on dev, from "
                   "score.json)")
    p.add_argument("--nj", type=int, default=1, help="number of processes (default: %(default)s)")


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/get_nbest.sh", description=__doc__.split("\n")[0])
    add_arguments(p)
    p.add_argument("--n", type=int, default=100, help="word sequences per utterance (default: %(default)s)")
    p.add_argument("--lang", help="for rescoring: lang folder with the G.fst of the decoding graph")
    p.add_argument("--new-lang", help="for rescoring: lang folder with the G.fst to rescore with")
    p.add_argument("--out", type=Path, help="folder to write (default: DECODE_DIR/nbest)")
    a = p.parse_args(argv)
    if a.n < 1 or bool(a.lang) != bool(a.new_lang):
        raise UserError("--n must be 1 or more, and --lang and --new-lang must be given together",
                        hint="correct the options")
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
