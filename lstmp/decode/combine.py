"""Combine the lattices of several systems: the words with the least expected number of errors under all of them.

    python -m lstmp.decode.combine --in DECODE_DIR DECODE_DIR … --out DECODE_DIR

writes ``scoring/<LMWT>_<WIP>.txt`` for the grid of conf/decode.yaml, and ``decode.json``, so that the output folder is
scored and compared like a decoding. The systems may have different networks, features, states and language models, but
must have the same words.txt and must have decoded the same utterances. With one system, this is its minimum Bayes risk
decoding. lstmp.decode.mbr has the method.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.aliases import Json
from lstmp.decode.best_path import grid, words_on_paths, write_grid
from lstmp.decode.config import DecodeConfig
from lstmp.decode.determinize import determinized
from lstmp.decode.lattice import Lattice, read_lattices, read_utterances
from lstmp.decode.lattice_paths import best_paths
from lstmp.decode.mbr import Paths, least_risk
from lstmp.decode.word_graph import near_best
from lstmp.errors import UserError, command
from lstmp.log import say, warn
from lstmp.parallel import run_jobs
from lstmp.stage import Stage

_BEAM = 6.0  # a path that is e^6 times less probable than the best one does not count


@dataclass(frozen=True)
class Systems:
    """The decodings to combine.

    Attributes:
        dirs: their decode dirs. The first one decides between equals, and gives the data dir to score on.
        weights: of the systems, in any unit.
        lm_offsets: added to the LM weight of the grid, for systems whose scores have another scale.
    """

    dirs: list[Path]
    weights: list[float]
    lm_offsets: list[float]

    def __post_init__(self) -> None:
        for name, values in (("weights", self.weights), ("LM offsets", self.lm_offsets)):
            if len(values) != len(self.dirs):
                raise UserError(f"{len(values)} {name} for {len(self.dirs)} systems", hint="give one for each")
        if not all(np.isfinite(self.weights)) or min(self.weights) <= 0:
            raise UserError("a weight is not greater than zero", hint="leave out the system")


def hypotheses(lattices: list[Lattice], systems: Systems, points: list[tuple[int, float]]) -> list[list[int]]:
    """The word ids of one utterance for each point of the grid.

    Args:
        lattices: of each system; a system whose lattice has no path does not count.
        systems: their weights and LM offsets.
        points: pairs (LM weight, word insertion penalty).
    """
    # which alignment of a word sequence is the best one hardly depends on the LM weight: one in the middle will do
    middle = float(np.median([w for w, _ in points]))
    short = [determinized(x, middle + offset) for x, offset in zip(lattices, systems.lm_offsets, strict=True)]
    used = [system for system in zip(lattices, short, systems.weights, systems.lm_offsets, strict=True)
            if system[1].num_arcs]
    if not used:
        return [[] for _ in points]
    total = sum(weight for _, _, weight, _ in used)
    first, _, _, first_offset = used[0]
    begins = words_on_paths(first, best_paths(first, [(w + first_offset, p) for w, p in points]))
    return [least_risk([_paths(x, weight / total, lm_weight + offset, penalty) for _, x, weight, offset in used],
                       begin)[0]
            for (lm_weight, penalty), begin in zip(points, begins, strict=True)]


def _paths(lattice: Lattice, weight: float, lm_weight: float, penalty: float) -> Paths:
    near = near_best(lattice, lm_weight, penalty, _BEAM).renumbered()
    scores = near.acoustic.astype(np.float64) / lm_weight + near.graph - penalty * near.num_words
    return Paths(near, scores, weight)


def combine(systems: Systems, out: Path, cfg: DecodeConfig, nj: int) -> None:
    """Combine the decodings into the decode dir ``out``.

    Raises:
        UserError: no lattices, different words, no utterance in common, or an LM weight that is not above zero.
    """
    points = grid(cfg)
    reports = [config.read_json(d / "decode.json", "run steps/decode.sh first") for d in systems.dirs]
    if min(points)[0] + min(systems.lm_offsets) <= 0:
        raise UserError(f"LM weight {min(points)[0]} with the offset {min(systems.lm_offsets):g} is not above zero",
                        hint="change --lm-offsets, or lm_weights of the configuration")
    jobs = [sorted(d.glob("lat.*.safetensors")) for d in systems.dirs]
    for folder, files in zip(systems.dirs, jobs, strict=True):
        if not files:
            raise UserError("no lattices in it", file=folder, hint="run steps/decode.sh first")
    words = _words(systems.dirs, reports)
    stage = Stage(out, "combine", [words, *(path for files in jobs for path in files)],
                  [systems.weights, systems.lm_offsets, points, "determinized"])
    if stage.is_done():
        return
    places = [{utt: path for path in files for utt in read_utterances(path)} for files in jobs]
    _check_utterances(systems.dirs, places)
    start = time.time()
    results: dict[str, list[list[int]]] = {}
    cpu, failed = 0.0, 0
    for part, seconds, without in run_jobs(lambda job: _combine_job(job, places, systems, points), jobs[0], nj,
                                           "combining", "job"):
        results |= part
        cpu, failed = cpu + seconds, failed + without
    outputs = write_grid(out, points, results, words)
    kept: Json = {key: reports[0][key] for key in ("data", "audio_seconds") if key in reports[0]}
    spent = cpu + sum(r["core_seconds"] for r in reports)
    report: Json = {
        **kept, "utterances": len(results), "core_seconds": round(spent, 2), "failed": failed,
        "rtf": round(spent / max(reports[0]["audio_seconds"], 0.01), 4), "combined": [str(d) for d in systems.dirs],
        "weights": systems.weights, "lm_offsets": systems.lm_offsets}
    config.write_text(out / "decode.json", json.dumps(report, indent=1) + "\n")
    stage.mark([out / "decode.json", *outputs])
    say(f"{out}: {len(results)} utterances of {len(systems.dirs)} systems combined in "
        f"{(time.time() - start) / 60:.1f} min")


def _words(dirs: list[Path], reports: list[Json]) -> Path:
    """The words.txt of the graphs, after a check that they are all the same."""
    paths = []
    for folder, report in zip(dirs, reports, strict=True):
        if not isinstance(report.get("graph"), str):
            raise UserError("it does not name its graph", file=folder / "decode.json", hint="decode again")
        paths.append(Path(report["graph"]) / "words.txt")
        if not paths[-1].is_file() or paths[-1].read_bytes() != paths[0].read_bytes():
            raise UserError(f"missing, or not the same words as in {paths[0]}", file=paths[-1],
                            hint="combine systems with the same lexicon")
    return paths[0]


def _check_utterances(dirs: list[Path], places: list[dict[str, Path]]) -> None:
    for folder, place in zip(dirs[1:], places[1:], strict=True):
        missing, more = places[0].keys() - place.keys(), place.keys() - places[0].keys()
        if len(missing) == len(places[0]):
            raise UserError(f"no utterance in common with {dirs[0]}", file=folder, hint="combine decodings of one set")
        if missing or more:
            warn(f"{folder}: {len(missing)} utterances of {dirs[0]} are missing, for which the other systems decide; "
                 f"{len(more)} others are left out")


def _combine_job(job: Path, places: list[dict[str, Path]], systems: Systems,
                 points: list[tuple[int, float]]) -> tuple[dict[str, list[list[int]]], float, int]:
    """Combine the utterances of one lattice file of the first system: (utterance → word ids for each point, seconds of
    processor time, number of utterances without a path)."""
    start, first = time.process_time(), read_lattices(job)
    others = [{utt: lattice for path in sorted({place[utt] for utt in first if utt in place})
               for utt, lattice in read_lattices(path).items() if utt in first} for place in places[1:]]
    results, failed = {}, 0
    for utt in first:
        lattices = [first[utt], *(other.get(utt, Lattice.empty()) for other in others)]
        failed += not any(x.num_arcs for x in lattices)
        results[utt] = hypotheses(lattices, systems, points)
    return results, time.process_time() - start, failed


@command
def main(argv: list[str] | None = None) -> None:
    """Combine the lattices of several systems by minimum Bayes risk."""
    parser = argparse.ArgumentParser(prog="steps/combine.sh", description=main.__doc__)
    parser.add_argument("--in", dest="dirs", required=True, nargs="+", type=Path, metavar="DIR",
                        help="decode dirs of one set, one for each system; one alone: its minimum Bayes risk decoding")
    parser.add_argument("--out", required=True, type=Path, help="folder for the hypotheses")
    parser.add_argument("--weights", nargs="+", type=float, help="weights of the systems (all equal)")
    parser.add_argument("--lm-offsets", nargs="+", type=float, metavar="N",
                        help="added to the LM weights of each system (0)")
    parser.add_argument("--config", default="conf/decode.yaml", help="LM weights and penalties (%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    a = parser.parse_args(argv)
    systems = Systems(a.dirs, a.weights or [1.0] * len(a.dirs), a.lm_offsets or [0.0] * len(a.dirs))
    combine(systems, a.out, config.load(a.config, DecodeConfig), a.nj)


if __name__ == "__main__":
    main()
