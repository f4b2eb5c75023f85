"""Best paths through lattices for a grid of LM weights and word insertion penalties.

As in Kaldi, a path's score is  acoustic / LMWT + graph - WIP · (number of words):  the LM weight scales the graph's
scores against the acoustic ones. k2 searches the lattices of many utterances in one call.

    python -m lstmp.decode.best_path DECODE_DIR --graph DIR --config conf/decode.yaml

writes ``DECODE_DIR/scoring/<LMWT>_<WIP>.txt``, the hypotheses in the form of a data dir's ``text``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import k2
import numpy as np
import torch

from lstmp import config
from lstmp.corpus.lang import read_names
from lstmp.decode.config import DecodeConfig
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.errors import UserError, command
from lstmp.log import say
from lstmp.parallel import run_jobs
from lstmp.stage import Stage

_ARCS = 2_000_000  # arcs searched in one call: enough to hide the cost of a call, few enough for a small worker


def best_paths(lattices: list[Lattice], points) -> Iterator[list[np.ndarray]]:
    """The best path of each lattice, which must have one, under each point of the grid in turn.

    Args:
        lattices: of one or more utterances.
        points: pairs (LM weight, word insertion penalty).

    Yields:
        for each point: for each lattice the numbers of the T + 1 arcs of its best path.
    """
    fsas = k2.create_fsa_vec([to_fsa(lattice) for lattice in lattices])
    first_arc = np.cumsum([0] + [lattice.num_arcs for lattice in lattices])
    acoustic, graph, num_words = (torch.from_numpy(np.concatenate([getattr(x, name) for x in lattices])).float()
                                  for name in ("acoustic", "graph", "num_words"))
    fsas.arc = torch.arange(first_arc[-1], dtype=torch.int32)
    for lm_weight, word_penalty in points:
        fsas.scores = acoustic / lm_weight + graph - word_penalty * num_words
        arcs = k2.shortest_path(fsas, use_double_scores=True).arc.numpy()
        parts = np.split(arcs, np.searchsorted(arcs, first_arc[1:-1]))
        yield [part - first for part, first in zip(parts, first_arc[:-1], strict=True)]


def to_fsa(lattice: Lattice) -> k2.Fsa:
    """The lattice's arcs, their scores left zero."""
    arcs = torch.zeros(lattice.num_arcs, 4, dtype=torch.int32)
    arcs[:, :3] = torch.from_numpy(lattice.arcs)
    return k2.Fsa(arcs)


def grid(cfg: DecodeConfig) -> list[tuple[int, float]]:
    """All pairs of LM weight and word insertion penalty of the configuration."""
    return [(w, p) for w in cfg.lm_weights for p in cfg.word_penalties]


def file_name(lm_weight: int, word_penalty: float) -> str:
    """``12_0.5.txt`` for LM weight 12 and word insertion penalty 0.5."""
    return f"{lm_weight}_{word_penalty}.txt"


def job_hypotheses(path, points: list[tuple[int, float]]) -> dict[str, list[list[int]]]:
    """Utterance → word ids for each point of the grid; an utterance without a path has no words."""
    lattices = read_lattices(path)
    hypotheses: dict[str, list[list[int]]] = {utt: [] for utt in lattices}
    for utts in _batches(lattices):
        for found in best_paths([lattices[utt] for utt in utts], points):
            for utt, arcs in zip(utts, found, strict=True):
                hypotheses[utt].append(lattices[utt].words_on(arcs))
    return {utt: words or [[] for _ in points] for utt, words in hypotheses.items()}


def _batches(lattices: dict[str, Lattice]) -> Iterator[list[str]]:
    """Cut the utterances that have a path into batches of about ``_ARCS`` arcs."""
    batch, arcs = [], 0
    for utt, lattice in lattices.items():
        if batch and arcs + lattice.num_arcs > _ARCS:
            yield batch
            batch, arcs = [], 0
        if lattice.num_arcs:
            batch.append(utt)
            arcs += lattice.num_arcs
    if batch:
        yield batch


def write_hypotheses(decode_dir, words_txt, cfg: DecodeConfig, nj: int):
    """Write ``<decode_dir>/scoring/<LMWT>_<WIP>.txt`` from its lattices, unless that is done."""
    decode_dir = Path(decode_dir)
    jobs = sorted(decode_dir.glob("lat.*.safetensors"))
    if not jobs:
        raise UserError("no lattices in it", file=decode_dir, mend="run steps/decode.sh first")
    points = grid(cfg)
    stage = Stage(decode_dir, "best_path", inputs=[words_txt, *jobs], settings=points)
    if stage.is_done():
        return
    name_of = read_names(words_txt)
    hypotheses: dict[str, list[list[int]]] = {}
    for part in run_jobs(lambda job: job_hypotheses(job, points), jobs, nj, "best paths", unit="job"):
        hypotheses |= part
    outputs = []
    for g, point in enumerate(points):
        lines = []
        for utt in sorted(hypotheses):
            ids = hypotheses[utt][g]
            if not all(i in name_of for i in ids):
                raise UserError(f"word id {max(ids)} is not in it", file=words_txt, mend="decode with its own graph")
            lines.append(" ".join([utt, *name_of.words(ids)]))
        outputs.append(decode_dir / "scoring" / file_name(*point))
        config.write_text(outputs[-1], "\n".join(lines) + "\n")
    for stale in {*(decode_dir / "scoring").glob("*.txt")} - {*outputs}:  # of another grid
        stale.unlink()
    stage.mark(outputs)
    say(f"{decode_dir}: best paths of {len(hypotheses)} utterances for {len(points)} pairs of LM weight and penalty")


@command
def main(argv=None):
    """Write the hypotheses of a decoding for each point of the grid."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("decode_dir", help="folder of a decoding, with lat.*.safetensors")
    parser.add_argument("--graph", required=True, help="graph dir that it was decoded with, for words.txt")
    parser.add_argument("--config", default="conf/decode.yaml", help="LM weights and penalties (%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    args = parser.parse_args(argv)
    write_hypotheses(args.decode_dir, Path(args.graph) / "words.txt", config.load(args.config, DecodeConfig), args.nj)


if __name__ == "__main__":
    main()
