"""The jobs of a decoding. Each job searches a number of utterances in a worker process and writes one lattice file."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstmp import distributed, files
from lstmp.aliases import Json
from lstmp.decode.acoustic_scorer import AcousticScorer
from lstmp.decode.config import DecodeConfig
from lstmp.decode.lattice import Lattice, read_info, write_lattices
from lstmp.decode.search import decode_utterance
from lstmp.errors import UserError
from lstmp.features.load import Features
from lstmp.log import say, warn
from lstmp.parallel import iter_jobs

_FRAMES_PER_BATCH = 16_000  # frames whose scores are in memory at once: 130 MB with 2,000 tied states


@dataclass(frozen=True)
class Job:
    """The utterances of one lattice file. ``key`` is a digest of model, graph, features and configuration."""

    path: Path
    utts: list[str]
    key: str

    def is_done(self) -> bool:
        if not self.path.is_file():
            return False
        try:
            return read_info(self.path).get("key") == self.key
        except UserError:
            return False


def run_job(job: Job, graph: Any, features: Features, scorer: AcousticScorer, cfg: DecodeConfig) -> dict[str, str]:
    """Decode the utterances of ``job`` and write their lattices. Returns the failed utterances with the reason."""
    lattices = {utt: Lattice.empty() for utt in job.utts}
    failed: dict[str, str] = {}
    wall, cpu, frames = 0.0, 0.0, 0
    history = features.history(scorer.listen) if scorer.listen and cfg.speaker_history else None
    for utts in batches(_lengths(job.utts, features, failed)):
        feats = []
        for utt in utts:
            try:
                feats.append((utt, features.load(utt)))
            except UserError as e:
                failed[utt] = str(e)
        frames += sum(len(x) for _, x in feats)
        start = time.perf_counter(), time.process_time()
        before = [history.before(utt) for utt, _ in feats] if history else []
        for (utt, _), loglikes in zip(feats, scorer([x for _, x in feats], before), strict=True):
            try:
                lattices[utt] = decode_utterance(graph, loglikes, cfg)
            except UserError as e:
                failed[utt] = str(e)
        wall += time.perf_counter() - start[0]
        cpu += time.process_time() - start[1]
    arcs = sum(x.num_arcs for x in lattices.values())
    write_lattices(job.path, lattices, {"key": job.key, "seconds": wall, "core_seconds": cpu, "frames": frames,
                                        "failed": failed, "arcs": arcs, "utterances": len(job.utts)})
    return failed


def _lengths(utts: list[str], features: Features, failed: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The utterances whose number of frames is known, with it; the others are added to ``failed``."""
    for utt in utts:
        try:
            yield utt, features.num_frames(utt)
        except UserError as e:
            failed[utt] = str(e)


def batches(utterances: Iterable[tuple[Any, int]]) -> Iterator[list[Any]]:
    """Divide utterances, each with its number of frames, into batches that are scored together."""
    batch: list[Any] = []
    frames = 0
    for utt, length in utterances:
        if batch and frames + length > _FRAMES_PER_BATCH:
            yield batch
            batch, frames = [], 0
        batch.append(utt)
        frames += length
    if batch:
        yield batch


def job_paths(out: Path, num_utts: int, utts_per_job: int) -> list[Path]:
    """The lattice files of all jobs, in order. The utterances' lengths, which may be slow to read, are not needed."""
    return [out / f"lat.{i:04d}.safetensors" for i in range(math.ceil(num_utts / utts_per_job))]


def plan(paths: list[Path], features: Features, utts: Iterable[str], utts_per_job: int, key: str,
         by_speaker: bool = False) -> list[Job]:
    """Split the utterances into jobs of equal number, longest utterances first.

    Args:
        paths: see :func:`job_paths`.
        by_speaker: instead, each speaker's utterances in the order of their ids, so that what was heard before an
            utterance is known from the one before it.
    """
    def frames(utt: str) -> int:
        try:
            return features.num_frames(utt)
        except UserError:  # reported when its job is run
            return 0

    ordered = sorted(utts, key=lambda utt: (features.speaker(utt), utt) if by_speaker else (-frames(utt), utt))
    return [Job(path, ordered[i * utts_per_job:(i + 1) * utts_per_job], key) for i, path in enumerate(paths)]


def search_jobs(jobs: list[Job], load_graph: Callable[[], Any], features: Features,
                scorer: AcousticScorer | Callable[[], AcousticScorer], cfg: DecodeConfig, nj: int) -> None:
    """Run the jobs that are not done. Remove lattice files of other runs and unfinished files of killed ones.

    Args:
        jobs: all jobs of the decoding.
        load_graph: loads the decoding graph; called only if a job is to be run.
        features: the model's input features.
        scorer: the acoustic model, or a function that loads it in the worker process (on a GPU).
        cfg: configuration of decoding.
        nj: number of processes.
    """
    todo = [jobs[i] for i in distributed.on_first(lambda: [i for i, job in enumerate(jobs) if not job.is_done()])]
    keep = {job.path for job in jobs} - {job.path for job in todo}
    folder = jobs[0].path.parent
    if todo:  # first of all, so that nothing is removed if the graph is damaged
        graph = load_graph()
    distributed.on_first(remove, set(folder.glob("lat.*.safetensors")) - keep)
    distributed.on_first(files.sweep, folder)
    if not todo:
        return
    if keep:
        say(f"{len(keep)} of {len(jobs)} jobs are done already")

    def work(job: Job) -> dict[str, str]:  # forked workers share the graph; a GPU is first used in the worker
        return run_job(job, graph, features, scorer if isinstance(scorer, AcousticScorer) else scorer(), cfg)

    for failed in iter_jobs(work, todo, nj, "decoding", unit="job"):
        for utt, reason in failed.items() if distributed.rank() == 0 else ():
            warn(f"{utt}: {reason}")


def remove(paths: Iterable[Path]) -> None:
    """Delete files."""
    for path in paths:
        path.unlink()


def _info(path: Path | str) -> Json:
    info = read_info(path)
    for name, types in (("frames", int), ("utterances", int), ("arcs", int), ("seconds", (int, float)),
                        ("core_seconds", (int, float)), ("failed", dict)):
        if not isinstance(info.get(name), types):
            raise UserError(f"`{name}` is missing or damaged in it", file=path, hint="delete it and decode again")
    return info


def summary(jobs: list[Path], processes: int, shift: float, *earlier_jobs: list[Path]) -> Json:
    """Sum up counts and computing times of lattice files; of ``earlier_jobs`` only the times.

    ``seconds`` is the wall-clock time that the workers spent on acoustic scores and search. ``core_seconds`` is their
    CPU time, which does not depend on other programs. ``rtf`` is CPU seconds per second of audio.
    """
    infos = [_info(path) for path in jobs]
    audio = sum(i["frames"] for i in infos) * shift
    timed = infos + [_info(path) for paths in earlier_jobs for path in paths]
    wall, cpu = sum(i["seconds"] for i in timed), sum(i["core_seconds"] for i in timed)
    num_utts = sum(i["utterances"] for i in infos)
    return {"utterances": num_utts, "audio_seconds": round(audio, 2), "seconds": round(wall, 2),
            "core_seconds": round(cpu, 2), "processes": processes, "rtf": round(cpu / max(audio, shift), 4),
            "failed": sum(len(i["failed"]) for i in infos),
            "mean_lattice_arcs": round(sum(i["arcs"] for i in infos) / max(num_utts, 1), 1)}


def check_failed(jobs: list[Path], num_utts: int, max_failed: float) -> None:
    """Raise a UserError if more than a share of ``max_failed`` of the utterances failed."""
    failed = {utt: why for path in jobs for utt, why in _info(path)["failed"].items()}
    if failed and len(failed) > max_failed * num_utts:
        utt, why = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {num_utts} utterances failed, more than max_failed {max_failed:g} allows; "
                        f"{utt}: {why}")
