"""Best paths through lattices for a grid of LM weights and word insertion penalties.

As in Kaldi, a path's score is  acoustic / LMWT + graph - WIP · (number of words):  the LM weight scales the graph's
scores against the acoustic ones.

    python -m lstmp.decode.best_path DECODE_DIR --graph DIR --config conf/decode.yaml

writes ``DECODE_DIR/scoring/<LMWT>_<WIP>.txt``: the hypotheses, in the format of ``text`` in a data dir.
"""

import argparse
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.aliases import Array
from lstmp.corpus.lang import read_names
from lstmp.decode.config import DecodeConfig
from lstmp.decode.lattice import Lattice, read_lattices
from lstmp.decode.lattice_paths import best_paths
from lstmp.errors import UserError, command
from lstmp.graph.ranges import ranges
from lstmp.log import say
from lstmp.parallel import run_jobs
from lstmp.stage import Stage


def grid(cfg: DecodeConfig) -> list[tuple[int, float]]:
    """All pairs of LM weight and word insertion penalty of the configuration."""
    return [(w, p) for w in cfg.lm_weights for p in cfg.word_penalties]


def file_name(lm_weight: float, word_penalty: float) -> str:
    """``12_0.5.txt`` for LM weight 12 and word insertion penalty 0.5."""
    return f"{lm_weight}_{word_penalty}.txt"


def job_hypotheses(path: Path | str, points: list[tuple[int, float]]) -> dict[str, list[list[int]]]:
    """Utterance → word ids for each point of the grid. An utterance without a path has no words."""
    return {utt: words_on_paths(lattice, best_paths(lattice, points)) if lattice.num_arcs else [[] for _ in points]
            for utt, lattice in read_lattices(path).items()}


def words_on_paths(lattice: Lattice, paths: Array) -> list[list[int]]:
    """The word ids on each of ``paths``, int [N, T + 1], arc numbers."""
    counts = lattice.num_words[paths]
    row, column = np.nonzero(counts)
    arcs, counts = paths[row, column], counts[row, column]
    words = lattice.words[ranges(lattice.word_splits[arcs], counts)]
    ends = np.cumsum(np.bincount(row, counts, len(paths)).astype(np.int64))
    return [part.tolist() for part in np.split(words, ends[:-1])]


def write_hypotheses(decode_dir: Path | str, words_txt: Path | str, cfg: DecodeConfig, nj: int) -> None:
    """Write ``<decode_dir>/scoring/<LMWT>_<WIP>.txt`` from the lattices in ``decode_dir``, unless up to date."""
    decode_dir = Path(decode_dir)
    jobs = sorted(decode_dir.glob("lat.*.safetensors"))
    if not jobs:
        raise UserError("no lattices in it", file=decode_dir, hint="run steps/decode.sh first")
    points = grid(cfg)
    stage = Stage(decode_dir, "best_path", inputs=[words_txt, *jobs], settings=points)
    if stage.is_done():
        return
    hypotheses: dict[str, list[list[int]]] = {}
    for part in run_jobs(lambda job: job_hypotheses(job, points), jobs, nj, "best paths", unit="job"):
        hypotheses |= part
    outputs = write_grid(decode_dir, points, hypotheses, words_txt)
    stage.mark(outputs)
    say(f"{decode_dir}: best paths of {len(hypotheses)} utterances for {len(points)} pairs of LM weight and penalty")


def write_grid(decode_dir: Path, points: list[tuple[int, float]], hypotheses: dict[str, list[list[int]]],
               words_txt: Path | str) -> list[Path]:
    """Write ``<decode_dir>/scoring/<LMWT>_<WIP>.txt``.

    Args:
        decode_dir: the decode dir. Files of another grid in it are removed.
        points: pairs (LM weight, word insertion penalty).
        hypotheses: utterance → its word ids for each point.
        words_txt: the names of the words.

    Returns:
        the files.

    Raises:
        UserError: ``words_txt`` does not have an id.
    """
    name_of, outputs = read_names(words_txt), []
    for index, point in enumerate(points):
        lines = []
        for utt in sorted(hypotheses):
            ids = hypotheses[utt][index]
            if not all(i in name_of for i in ids):
                raise UserError(f"word id {max(ids)} is not in it", file=words_txt,
                                hint="give the graph that was decoded with")
            lines.append(" ".join([utt, *name_of.words(ids)]))
        outputs.append(decode_dir / "scoring" / file_name(*point))
        config.write_text(outputs[-1], "\n".join(lines) + "\n")
    for stale in {*(decode_dir / "scoring").glob("*.txt")} - {*outputs}:  # left by an earlier run with another grid
        stale.unlink()
    return outputs


@command
def main(argv: list[str] | None = None) -> None:
    """Write the hypotheses of a decoding for each point of the grid."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("decode_dir", help="folder of a decoding, with lat.*.safetensors")
    parser.add_argument("--graph", required=True, help="graph dir of that decoding, for words.txt")
    parser.add_argument("--config", default="conf/decode.yaml", help="LM weights and penalties (%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    args = parser.parse_args(argv)
    write_hypotheses(args.decode_dir, Path(args.graph) / "words.txt", config.load(args.config, DecodeConfig), args.nj)


if __name__ == "__main__":
    main()
