"""LM rescoring of lattices: subtract the word scores of the old LM and add those of a new LM.

Both LMs are the G.fst of lang folders with the same words.txt (stage 3). A lattice is composed with both at once: a
state of the result consists of a lattice state and a state of each LM, so that every path gets its exact scores. LM
weight and word penalty are then chosen in scoring as usual. ::

    python -m lstmp.decode.lm_rescore --lang DIR --new-lang DIR --in DECODE_DIR --out DECODE_DIR

Rescoring cannot restore words that the search has pruned from the lattice. A wider ``output_beam`` keeps more of them.
"""

import argparse
import ctypes
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmp import config, distributed
from lstmp.aliases import Array, Json
from lstmp.decode.backoff_lm import BackoffLm
from lstmp.decode.best_path import write_hypotheses
from lstmp.decode.config import DecodeConfig
from lstmp.decode.jobs import remove
from lstmp.decode.lattice import Lattice, read_info, read_lattices, write_lattices
from lstmp.decode.lattice_paths import path_scores
from lstmp.decode.thinning import word_paths
from lstmp.errors import UserError, command
from lstmp.graph.ranges import pairs, ranges
from lstmp.log import say
from lstmp.native import array_at, library
from lstmp.parallel import run_jobs
from lstmp.stage import Stage

_VERSION = 2  # of the code; 2: states are numbered without gaps


@dataclass
class Rescorer:
    """Replaces the LM scores in lattices.

    Attributes:
        old, new: the LMs.
        acoustic_scale: scale of the acoustic scores when the composed lattice is pruned.
        max_word_arcs: word arcs per frame. The pruned lattice keeps the best path through each of them.
    """

    old: BackoffLm
    new: BackoffLm
    acoustic_scale: float
    max_word_arcs: int

    def __call__(self, lattice: Lattice) -> Lattice:
        """Rescore a lattice. The result is empty if the new LM allows none of its word sequences.

        Raises:
            UserError: the lattice has words that are not in the old LM.
        """
        composed, frames = self.compose(lattice)
        if not composed.num_arcs:
            return composed
        scores = composed.acoustic * np.float32(self.acoustic_scale) + composed.graph
        max_word_arcs = self.max_word_arcs * frames
        kept = word_paths(composed.arcs, path_scores(composed.arcs, scores), composed.num_words, max_word_arcs)
        return composed.pruned(kept).renumbered()

    def compose(self, lattice: Lattice, native: bool = True) -> tuple[Lattice, int]:
        """The lattice under the new LM without pruning, and its number of frames.

        With ``native`` it is computed by compose.cpp if that can be compiled.
        """
        first = np.searchsorted(lattice.arcs[:, 0], np.arange(lattice.num_states + 1))
        lib = library("decode/compose.cpp") if native else None
        composed = _compose_natively(lib, self, lattice, first) if lib else self._composed(lattice, first)
        source, to, arc, change, frames = composed
        if not (lattice.arcs[arc, 2] < 0).any():
            return Lattice.empty(), 0
        arcs = np.stack([source, to, lattice.arcs[arc, 2]], 1).astype(np.int32)
        return Lattice(arcs, lattice.acoustic[arc], (lattice.graph[arc] + change).astype(np.float32),
                       lattice.num_words[arc], lattice.words[ranges(lattice.word_splits[arc], lattice.num_words[arc])]
                       ), frames - 2

    def _composed(self, lattice: Lattice, first: Array) -> tuple[Array, Array, Array, Array, int]:
        """Arcs of the composition (from-state, to-state, arc of the lattice, change of its graph score), and the number
        of frames."""
        state, old, new = np.zeros(1, np.int64), np.array([self.old.start]), np.array([self.new.start])
        parts, base = [], 0
        while len(state):  # one frame at a time; the arrays are the composed states at its start
            source, arc = pairs(np.arange(len(state)), first[state], first[state + 1])
            to, change, old, new = self._follow(lattice, arc, old[source], new[source])
            possible = np.flatnonzero(change > -np.inf)
            source, arc, to, change, old, new = (x[possible] for x in (source, arc, to, change, old, new))
            key = ((to - to.min(initial=lattice.num_states)) * self.old.num_states + old) * self.new.num_states + new
            _, index, number = np.unique(key, return_index=True, return_inverse=True)
            parts.append((base + source, base + len(state) + number, arc, change))
            base += len(state)
            state, old, new = to[index], old[index], new[index]
        source, to, arc, change = (np.concatenate(x) for x in zip(*parts, strict=True))
        return source, to, arc, change, len(parts)

    def _follow(self, lattice: Lattice, arc: Array, old: Array, new: Array) -> tuple[Array, Array, Array, Array]:
        """The targets of arcs from LM states ``old`` and ``new``: (lattice state, change of graph score, old, new)."""
        change, count = np.zeros(len(arc)), lattice.num_words[arc]
        for k in range(count.max(initial=0)):
            with_word = np.flatnonzero(count > k)
            words = lattice.words[lattice.word_splits[arc[with_word]] + k]
            old[with_word], old_score = self.old.step(old[with_word], words)
            new[with_word], new_score = self.new.step(new[with_word], words)
            self._check(old_score)
            change[with_word] += new_score - old_score
        last = lattice.arcs[arc, 2] < 0
        if last.any():
            old_score = self.old.final(old[last])
            self._check(old_score)
            change[last] += self.new.final(new[last]) - old_score
            old[last], new[last] = 0, 0
        return lattice.arcs[arc, 1].astype(np.int64), change, old, new

    @staticmethod
    def _check(scores: Array) -> None:
        if np.isinf(scores).any():
            raise _unknown_words()


def _unknown_words() -> UserError:
    return UserError("a lattice has words that are not in the LM given as --lang",
                     hint="give the lang folder that the decoding graph was made from")


def _compose_natively(lib: ctypes.CDLL, rescorer: Rescorer, lattice: Lattice,
                 first: Array) -> tuple[Array, Array, Array, Array, int]:
    """As :meth:`Rescorer._composed`."""
    lib.lstmp_compose.restype = ctypes.c_void_p
    inputs = [np.ascontiguousarray(x, dtype) for x, dtype in (
        (lattice.arcs, np.int32), (first, np.int64), (lattice.word_splits, np.int64), (lattice.words, np.int32))]
    sizes = np.zeros(2, np.int64)
    handle = lib.lstmp_compose(*map(array_at, inputs), ctypes.byref(rescorer.old.arrays),
                               ctypes.byref(rescorer.new.arrays), array_at(sizes))
    if not handle:
        raise _unknown_words()
    source, to, arc = arcs = [np.empty(sizes[0], np.int32) for _ in range(3)]
    change = np.empty(sizes[0])
    lib.lstmp_compose_take(ctypes.c_void_p(handle), *map(array_at, arcs), array_at(change))
    return source, to, arc, change, int(sizes[1])


def rescore(old_lang: Path | str, new_lang: Path | str, source: Path | str, out: Path | str, cfg: DecodeConfig,
            nj: int) -> None:
    """Rescore all lattices of the decode dir ``source`` into the decode dir ``out``.

    Raises:
        UserError: bad input, or the two LMs have different words.
    """
    old_lang, new_lang, source, out = map(Path, (old_lang, new_lang, source, out))
    jobs = sorted(source.glob("lat.*.safetensors"))
    report = source / "decode.json"
    if not jobs or not report.is_file():
        raise UserError("no lattices in it", file=source, hint="run steps/decode.sh first")
    words = new_lang / "words.txt"
    if not words.is_file() or words.read_bytes() != (old_lang / "words.txt").read_bytes():
        raise UserError(f"missing, or not the same words as in {old_lang}", file=words,
                        hint="make both LMs from one lang folder")
    inputs = [old_lang / "G.fst", new_lang / "G.fst", words, *jobs]
    stage = Stage(out, "lm_rescore", inputs, [cfg.acoustic_scale, cfg.max_word_arcs], version=_VERSION)
    if not distributed.on_first(stage.is_done):
        rescorer = Rescorer(BackoffLm(old_lang), BackoffLm(new_lang), cfg.acoustic_scale, cfg.max_word_arcs)
        distributed.on_first(remove, out.glob("lat.*.safetensors"))
        start = time.time()
        run_jobs(lambda job: _rescore_job(rescorer, job, out / job.name), jobs, nj, "LM rescoring", "job")
        distributed.on_first(_finish, stage, source, out, jobs, new_lang, (time.time() - start) / 60)
    distributed.on_first(write_hypotheses, out, words, cfg, nj)


def _finish(stage: Stage, source: Path, out: Path, jobs: list[Path], new_lang: Path, minutes: float) -> None:
    rescored = [out / job.name for job in jobs]
    old_report = config.read_json(source / "decode.json", "run steps/decode.sh")
    report = old_report | _updated(old_report, jobs, rescored) | {"rescored": str(source), "lm": str(new_lang)}
    config.write_text(out / "decode.json", json.dumps(report, indent=1) + "\n")
    say(f"{out}: {report['utterances']} utterances rescored with {new_lang} in {minutes:.1f} min")
    stage.mark([out / "decode.json", *rescored])


def _rescore_job(rescorer: Rescorer, job: Path, out: Path) -> None:
    start = time.perf_counter(), time.process_time()
    lattices = {utt: rescorer(lattice) if lattice.num_arcs else lattice for utt, lattice in read_lattices(job).items()}
    info = read_info(job)
    failed = [utt for utt, lattice in lattices.items() if not lattice.num_arcs and utt not in info["failed"]]
    info["failed"] |= {utt: "the new LM allows none of its word sequences" for utt in failed}
    info["arcs"] = sum(lattice.num_arcs for lattice in lattices.values())
    info["seconds"] += time.perf_counter() - start[0]
    info["core_seconds"] += time.process_time() - start[1]
    write_lattices(out, lattices, info)


def _updated(old_report: Json, old_jobs: list[Path], new_jobs: list[Path]) -> Json:
    """The entries of decode.json that rescoring changes: times, failed utterances, size of the lattices."""
    new, old = ([read_info(path) for path in paths] for paths in (new_jobs, old_jobs))
    seconds, cpu = (old_report[k] + sum(i[k] for i in new) - sum(i[k] for i in old)
                    for k in ("seconds", "core_seconds"))
    return {"seconds": round(seconds, 2), "core_seconds": round(cpu, 2),
            "rtf": round(cpu / max(old_report["audio_seconds"], 0.01), 4), "failed": sum(len(i["failed"]) for i in new),
            "mean_lattice_arcs": round(sum(i["arcs"] for i in new) / max(old_report["utterances"], 1), 1)}


@command
def main(argv: list[str] | None = None) -> None:
    """Rescore the lattices of a decoding with another language model."""
    parser = argparse.ArgumentParser(prog="steps/lmrescore.sh", description=main.__doc__)
    parser.add_argument("--lang", required=True, help="lang folder with the G.fst of the decoding graph")
    parser.add_argument("--new-lang", required=True, help="lang folder with the G.fst to rescore with")
    parser.add_argument("--in", dest="source", required=True, help="folder of a decoding, with lat.*.safetensors")
    parser.add_argument("--out", required=True, help="folder for the new lattices and hypotheses")
    parser.add_argument("--config", default="conf/decode.yaml", help="LM weights, penalties, size of lattices "
                        "(%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    args = parser.parse_args(argv)
    distributed.together(rescore, args.lang, args.new_lang, args.source, args.out,
                         config.load(args.config, DecodeConfig), args.nj)


if __name__ == "__main__":
    main()
