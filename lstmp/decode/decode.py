"""Decode a data dir: features → acoustic scores → search → lattices → best paths for the grid of LM weights.

    python -m lstmp.decode.decode --model DIR --graph DIR --data DIR --out DIR --config conf/decode.yaml --nj 2

The utterances, longest first, are cut into jobs; each job ends with its file ``lat.NNN.safetensors``, and a killed run
goes on with the jobs that are missing. Processes are forked after the graph is loaded and so share one copy of it.
``decode.json`` tells what was done and how long it took; ``scoring/`` holds the hypotheses.
"""

import argparse
import functools
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lstmp import config
from lstmp.corpus.datadir import read_table
from lstmp.decode.best_path import write_hypotheses
from lstmp.decode.config import DecodeConfig
from lstmp.decode.lattice import Lattice, read_info, write_lattices
from lstmp.decode.scorer import FRAME_SHIFT, Scorer, load_scorer
from lstmp.decode.search import check_graph, decode_utterance
from lstmp.errors import UserError, command
from lstmp.features.load import Features
from lstmp.graph import k2_graph
from lstmp.log import say, warn
from lstmp.parallel import iter_jobs
from lstmp.stage import Stage, digest

_SCORED_TOGETHER = 16_000  # frames whose scores are held at once: 130 MB with 2,000 tied states
_GRID = ("lm_weights", "word_penalties", "max_failed")  # what the lattices do not depend on


@dataclass(frozen=True)
class Job:
    """The utterances of one lattice file. ``key`` identifies model, graph, features and configuration."""

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


def run_job(job: Job, graph, features: Features, scorer: Scorer, cfg: DecodeConfig) -> dict[str, str]:
    """Decode the utterances of ``job`` and write their lattices. Returns those that failed, with the reason."""
    lattices = {utt: Lattice.empty() for utt in job.utts}
    failed, wall, cpu, frames = {}, 0.0, 0.0, 0
    for utts in _batches(job.utts, features, failed):
        feats = []
        for utt in utts:
            try:
                feats.append((utt, features.load(utt)))
                if not len(feats[-1][1]):
                    raise UserError("no frame to decode")
            except UserError as e:
                failed[utt] = str(e)
        feats = [(utt, x) for utt, x in feats if utt not in failed]
        frames += sum(len(x) for _, x in feats)
        start = time.perf_counter(), time.process_time()
        for (utt, _), loglikes in zip(feats, scorer([x for _, x in feats]), strict=True):
            try:
                lattices[utt] = decode_utterance(graph, loglikes, cfg)
            except UserError as e:
                failed[utt] = str(e)
        wall += time.perf_counter() - start[0]
        cpu += time.process_time() - start[1]
    arcs = sum(x.num_arcs for x in lattices.values())
    write_lattices(job.path, lattices, {"key": job.key, "seconds": wall, "core_seconds": cpu, "frames": frames,
                                        "failed": failed, "arcs": arcs})
    return failed


def _batches(utts, features: Features, failed: dict[str, str]):
    batch, frames = [], 0
    for utt in utts:
        try:
            length = features.num_frames(utt)
        except UserError as e:
            failed[utt] = str(e)
            continue
        if batch and frames + length > _SCORED_TOGETHER:
            yield batch
            batch, frames = [], 0
        batch.append(utt)
        frames += length
    if batch:
        yield batch


def plan(out: Path, features: Features, utts, utts_per_job: int, key: str) -> list[Job]:
    """Jobs of equally many utterances, the longest utterances first."""
    def frames(utt):
        try:
            return features.num_frames(utt)
        except UserError:  # told when its job comes to it
            return 0

    ordered = sorted(utts, key=lambda utt: (-frames(utt), utt))
    return [Job(out / f"lat.{i // utts_per_job:04d}.safetensors", ordered[i:i + utts_per_job], key)
            for i in range(0, len(ordered), utts_per_job)]


def check_same_model(graph_dir: Path, model_dir: Path, num_pdfs: int):
    """Insist that the graph was made from the model's decision tree.

    Raises:
        UserError: it was not, or ``graph.json`` is missing or damaged.
    """
    path = graph_dir / "graph.json"
    if not path.is_file():
        raise UserError("no such file", file=path, mend="give a graph dir, or run steps/make_graph.sh")
    try:
        made_from = json.loads(path.read_text(encoding="utf-8"))
        pdfs, tree = made_from["num_pdfs"], made_from["tree"]
    except (ValueError, KeyError, TypeError):
        raise UserError("not what make_graph wrote", file=path, mend="run steps/make_graph.sh again") from None
    if pdfs != num_pdfs:
        raise UserError(f"the graph is of a model with {pdfs} pdfs, {model_dir} has {num_pdfs}", file=path,
                        mend="give the graph of this model")
    if tree != digest(model_dir / "tree.json"):
        raise UserError(f"the graph was made from another decision tree than that of {model_dir}", file=path,
                        mend="give the graph of this model, or make it again")


@functools.cache
def _on_device(model_dir: str, device: str) -> Scorer:
    return load_scorer(model_dir, device)


def decode(model_dir, graph_dir, data_dir, out, cfg: DecodeConfig, nj: int, device: str):
    """Decode ``data_dir`` into ``out``; see the module.

    Raises:
        UserError: bad input, or more than ``cfg.max_failed`` of the utterances fail.
    """
    model_dir, graph_dir, data_dir, out = map(Path, (model_dir, graph_dir, data_dir, out))
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    scorer = load_scorer(model_dir, "cpu")
    check_same_model(graph_dir, model_dir, scorer.num_pdfs)
    features = Features(data_dir, scorer.feature)
    if features.dim != scorer.input_dim:
        raise UserError(f"features of {features.dim} dimensions, the model takes {scorer.input_dim}",
                        file=data_dir / "feats.scp", mend="make them with the configuration of the training data")
    utts = sorted(read_table(data_dir / "utt2spk"))
    if not utts:
        raise UserError("no utterance in it", file=data_dir / "utt2spk", mend="give a data dir with utterances")
    settings = {k: v for k, v in config.to_dict(cfg).items() if k not in _GRID} | {"utts": utts}
    inputs = [model_dir / "final.safetensors", model_dir / "config.yaml", graph_dir / k2_graph.NAME,
              graph_dir / "words.txt", data_dir / "feats.scp", data_dir / "cmvn.scp", *sorted(data_dir.glob("*.ark"))]
    stage = Stage(out, "decode", inputs, settings)
    if not stage.is_done():
        key = hashlib.blake2b(json.dumps([[digest(p) for p in inputs], settings]).encode(), digest_size=16).hexdigest()
        jobs = plan(out, features, utts, cfg.utts_per_job, key)
        _run(jobs, graph_dir, features, scorer, cfg, nj, device, model_dir)
        report = summary(jobs, nj) | {"model": str(model_dir), "graph": str(graph_dir), "data": str(data_dir),
                                      "config": config.to_dict(cfg)}
        _judge(jobs, len(utts), cfg.max_failed)
        config.write_text(out / "decode.json", json.dumps(report, indent=1) + "\n")
        stage.mark([out / "decode.json", *(job.path for job in jobs)])
        say(f"{out}: {len(utts)} utterances, {report['audio_seconds'] / 60:.1f} minutes of audio, real-time factor "
            f"{report['rtf']:.3f} on one core, {report['failed']} failed")
    write_hypotheses(out, graph_dir / "words.txt", cfg, nj)


def _run(jobs: list[Job], graph_dir, features, scorer, cfg, nj, device, model_dir):
    """Run the jobs that are not done; lattice files of other runs, and halves of killed ones, are removed."""
    todo = [job for job in jobs if not job.is_done()]
    keep = {job.path for job in jobs} - {job.path for job in todo}
    folder = jobs[0].path.parent
    if todo:  # before anything is removed: is the graph sound?
        graph = k2_graph.load_k2_graph(graph_dir)
        check_graph(graph, scorer.num_pdfs, file=graph_dir / k2_graph.NAME)
    for path in {*folder.glob("lat.*.safetensors"), *folder.glob(".lat.*.tmp")} - keep:
        path.unlink()
    if not todo:
        return
    if keep:
        say(f"{len(keep)} of {len(jobs)} jobs are done already")

    def work(job: Job):  # forked, it sees the graph; a GPU is first used in the worker
        return run_job(job, graph, features, scorer if device == "cpu" else _on_device(str(model_dir), device), cfg)

    for failed in iter_jobs(work, todo, nj, "decoding", unit="job"):
        for utt, reason in failed.items():
            warn(f"{utt}: {reason}")


def summary(jobs: list[Job], processes: int) -> dict:
    """What the jobs' files say of their work, added up.

    ``seconds`` is the time that the workers spent on scores and search, by the clock; ``core_seconds`` the time that
    cores worked for it, which other programs do not lengthen. ``rtf`` is core seconds for a second of audio.
    """
    infos = [read_info(job.path) for job in jobs]
    audio = sum(i["frames"] for i in infos) * FRAME_SHIFT
    wall, cpu = sum(i["seconds"] for i in infos), sum(i["core_seconds"] for i in infos)
    num_utts = sum(len(job.utts) for job in jobs)
    return {"utterances": num_utts, "audio_seconds": round(audio, 2), "seconds": round(wall, 2),
            "core_seconds": round(cpu, 2), "processes": processes, "rtf": round(cpu / max(audio, FRAME_SHIFT), 4),
            "failed": sum(len(i["failed"]) for i in infos),
            "mean_lattice_arcs": round(sum(i["arcs"] for i in infos) / max(num_utts, 1), 1)}


def _judge(jobs: list[Job], num_utts: int, max_failed: float):
    failed = {utt: why for job in jobs for utt, why in read_info(job.path)["failed"].items()}
    if failed and len(failed) > max_failed * num_utts:
        utt, why = next(iter(failed.items()))
        raise UserError(f"{len(failed)} of {num_utts} utterances failed, more than max_failed {max_failed:g} allows; "
                        f"{utt}: {why}")


@command
def main(argv=None):
    """Decode a data dir with a model and its graph, and write lattices and hypotheses."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True, help="model dir, of a GMM or a network")
    parser.add_argument("--graph", required=True, help="graph dir, made from the same decision tree")
    parser.add_argument("--data", required=True, help="data dir with the features that the model takes")
    parser.add_argument("--out", required=True, help="folder for lattices and hypotheses")
    parser.add_argument("--config", default="conf/decode.yaml", help="beams and grid (%(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (%(default)s)")
    parser.add_argument("--device", default="cpu", help="where the acoustic model runs, cpu or cuda; the search runs "
                        "on the CPU (%(default)s)")
    args = parser.parse_args(argv)
    decode(args.model, args.graph, args.data, args.out, config.load(args.config, DecodeConfig), args.nj, args.device)


if __name__ == "__main__":
    main()
