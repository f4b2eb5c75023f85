"""Export lattices to Kaldi's text format of compact lattices.

    steps/lattices_to_kaldi.sh DECODE_DIR --graph DIR --out DIR

writes ``num_jobs`` and ``lat.N.gz``, which ``lattice-copy "ark:gunzip -c lat.N.gz|" ark:lat.N`` reads. An arc is a line

    from-state to-state word-id graph-cost,acoustic-cost,label_label_…

with unscaled costs. Each final state has a line with its cost, and an empty line ends the utterance. After the costs,
each frame has the label pdf-id + 1, where Kaldi has a transition-id, because our decoding graphs do not keep
transition-ids. With subsampling, a frame of a lattice is an output frame of the network; the file ``frame_shift``
contains its seconds. Programs that use only words, costs and numbers of frames can read these lattices
(lattice-best-path, lattice-lmrescore, lattice-mbr-decode …); programs that look up transition-ids in a model cannot.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

from lstmp import config, files
from lstmp.decode.lattice import read_lattices
from lstmp.decode.nbest import add_arguments, chosen_weights, lattice_files, lattice_frame_shift
from lstmp.decode.word_graph import WordGraph, near_best, word_graph
from lstmp.errors import UserError, command
from lstmp.features.frame_shift import write_frame_shift
from lstmp.log import say
from lstmp.parallel import run_jobs


def lines(graph: WordGraph) -> list[str]:
    """The lines of an utterance's lattice. A node with several words becomes a chain of states."""
    sizes = np.maximum(graph.num_words, 1)
    states = [range(b - n, b) for b, n in zip(np.cumsum(sizes).tolist(), sizes.tolist(), strict=True)]
    out = []
    for (source, to), acoustic, lm, labels in zip(graph.links.tolist(), graph.acoustic, graph.graph, graph.labels or (),
                                                  strict=True):
        word = graph.words[to][0] if graph.words[to] else 0
        out.append(f"{states[source][-1]} {states[to][0]} {word} {-lm:.6g},{-acoustic:.6g},"
                   + "_".join(map(str, labels.tolist())))
    for chain, words in zip(states, graph.words, strict=True):
        out += [f"{state} {state + 1} {word} 0,0," for state, word in zip(chain[:-1], words[1:], strict=True)]
    return [*out, f"{states[graph.end][0]} 0,0,"]


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/lattices_to_kaldi.sh", description=__doc__.split("\n")[0])
    add_arguments(p)
    p.add_argument("--beam", type=float, default=8.0, help="keep paths whose score is at most this much below the best "
                   "one, at the given LM weight and penalty (default: %(default)g)")
    p.add_argument("--out", type=Path, help="folder to write (default: DECODE_DIR/kaldi)")
    a = p.parse_args(argv)
    if not a.beam >= 0:
        raise UserError("--beam must be 0 or more", hint="correct the value")
    weights = chosen_weights(a.decode_dir, a.lm_weight, a.word_penalty)
    out = a.out or Path(a.decode_dir) / "kaldi"
    out.mkdir(parents=True, exist_ok=True)

    def job(number_and_path: tuple[int, Path]) -> int:
        number, path = number_and_path
        utts = {utt: x for utt, x in sorted(read_lattices(path).items()) if x.num_arcs}
        with (files.replacing(out / f"lat.{number}.gz") as tmp,
              gzip.open(tmp, "wt", encoding="utf-8", compresslevel=5) as f):
            for utt, x in utts.items():
                graph = word_graph(near_best(x, *weights, a.beam), weights[0], labels=True)
                f.write("\n".join([utt, *lines(graph)]) + "\n\n")
        return len(utts)

    jobs = list(enumerate(lattice_files(a.decode_dir), 1))
    count = sum(run_jobs(job, jobs, a.nj, "lattices", unit="job"))
    config.write_text(out / "num_jobs", f"{len(jobs)}\n")
    if (info := Path(a.decode_dir) / "decode.json").is_file():
        write_frame_shift(out, lattice_frame_shift(config.read_json(info, "decode again")))
    say(f"{out}: lattices of {count} utterances, beam {a.beam:g} at LM weight {weights[0]:g}")


if __name__ == "__main__":
    main()
