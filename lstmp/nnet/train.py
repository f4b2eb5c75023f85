"""Train a deep LSTMP network on aligned filterbank features: one command from data dir to network folder."""

import argparse
import ctypes
import dataclasses
import json
import os
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import yaml

from lstmp import config, distributed
from lstmp.corpus.textlines import first_columns
from lstmp.device import CHOICES, for_training
from lstmp.errors import UserError, command
from lstmp.features.about import extraction
from lstmp.features.ark import archives_of, read_scp
from lstmp.features.frame_shift import write_frame_shift
from lstmp.features.load import data_inputs
from lstmp.kaldi.import_alignment import import_alignment, is_kaldi_alignment
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.curve import plot_history
from lstmp.nnet.data import FrameSet, alignment_file, load_frames, log_priors, mean_and_std, normalize, read_num_pdfs
from lstmp.nnet.distributed.asynchronous import Asynchronous, choose_servers, machine_names
from lstmp.nnet.distributed.parameter_server import serve
from lstmp.nnet.distributed.shared_frames import team_frames
from lstmp.nnet.distributed.synchronous import Synchronous
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.distributed.workers import default_threads, flush_denormals
from lstmp.nnet.evaluate import evaluate, subset
from lstmp.nnet.kernels.fused import factors_of, quick_products, settled
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.trainer import Trainer
from lstmp.program import program_name
from lstmp.stage import Stage

_OUTPUTS = ("final.safetensors", "config.yaml", "train.json", "log.jsonl", "curve.png")
_MODEL_FILES = ("tree.json", "transitions.safetensors")


def train(cfg: LstmpConfig, data, ali, valid, out, *, align_model=None, valid_ali=None, device: str = "cpu",
          threads: int = 1, nj: int = 1):
    """Train a network and write its folder ``out``.

    Args:
        data: data dir of the training utterances, with features.
        ali: alignment folder: pdf.scp (or pdf.ark) and num_pdfs; or one of Kaldi's, which is imported below ``out``.
        valid: data dir of the held-out utterances, or a text file with utterance ids (in the first column) that are
            held out of ``data``.
        align_model: folder with tree.json and transitions.safetensors, which are copied to ``out``; ``ali`` if None.
        valid_ali: alignment of ``valid``; ``ali`` if None.
        threads: how many share the streams of a batch, where one process trains.
        nj: processes on this machine; torchrun's where it has started this one.

    Raises:
        UserError: for faults in the input, or if training diverges.
    """
    out, ali = Path(out), Path(ali)
    if not Path(valid).exists():
        raise UserError("no such data dir or list of utterances", file=valid, hint="check --valid")
    distributed.begin(cfg.timeout_minutes)
    if is_kaldi_alignment(ali):
        distributed.on_first(import_alignment, ali, out / "kaldi_ali")
        ali = out / "kaldi_ali"
    if valid_ali and is_kaldi_alignment(valid_ali):
        distributed.on_first(import_alignment, valid_ali, out / "kaldi_valid_ali")
        valid_ali = out / "kaldi_valid_ali"
    align_model = Path(align_model or ali)
    for name in _MODEL_FILES:
        if not (align_model / name).is_file():
            raise UserError("no such file", file=align_model / name, hint="check --align-model, or align again")
    stage = Stage(out, "lstmp", inputs=_inputs(data, ali, valid, valid_ali, align_model), settings=what_counts(cfg))
    distributed.on_first(stage.keep_previous)
    if distributed.on_first(stage.is_done):
        return
    cfg = distributed.on_first(settled, cfg, device)  # a training begun in bf16 is not gone on with in fp32
    fingerprint = distributed.on_first(lambda: f"{stage.key()}-{cfg.precision}")
    try:
        distributed.launch(_train, nj, cfg, data, ali, valid, valid_ali, out, align_model, fingerprint, device, threads,
                           timeout=cfg.timeout_minutes)
    except UserError:
        stage.give_back(unless="last.safetensors")
        raise
    stage.mark([out / name for name in (*_OUTPUTS, *_MODEL_FILES)])


def _train(cfg: LstmpConfig, data, ali, valid, valid_ali, out: Path, align_model: Path, fingerprint: str, device: str,
           threads: int):
    """What each process does."""
    flush_denormals()
    keep_freed_memory()
    team = make_team(cfg, device, threads)
    if team is None:
        serve()
        return
    if device == "cuda" and team.size > 1:
        if int(os.environ.get("LOCAL_WORLD_SIZE", team.size)) > torch.cuda.device_count():
            raise UserError(f"more processes than the {torch.cuda.device_count()} GPUs of this machine",
                            hint="give --nj, or torchrun, as many as it has")
        device = f"cuda:{distributed.local_rank() % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    model, train_set, valid_set = team_frames(cfg, team, out, lambda: prepare(cfg, data, ali, valid, valid_ali))
    priors = log_priors(train_set.pdfs, model.num_pdfs, cfg.prior_floor)
    model.to(device)
    sharers = f"{team.size} processes" if team.size > 1 else f"{team.workers.count} threads"
    factors = factors_of(cfg, device)
    team.say(f"{out}: {cfg.layers} layers of {cfg.cells} cells, {model.num_pdfs} states, {model.num_params:,} "
             f"parameters, {factors}, {sharers}")
    trainer = Trainer(cfg, model, train_set, valid_set, out, fingerprint, device, team)
    try:
        with quick_products():
            trainer.run()
        _finish(cfg, trainer, priors, align_model, factors, data)
    finally:
        team.close()
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)


def make_team(cfg: LstmpConfig, device: str, threads: int) -> Team | None:
    """Who trains, by the number of processes and the configuration; None in a process that is a parameter server.

    Raises:
        UserError: there are too few processes, or too few streams for them.
    """
    if cfg.updates == "synchronous":
        return Team(threads) if distributed.world_size() == 1 else Synchronous(cfg, device)
    if distributed.world_size() == 1:
        raise UserError("asynchronous training by one process", hint="start several, with --nj or torchrun, or set "
                        "`updates: synchronous` in conf/lstmp.yaml")
    machines = machine_names()
    servers = choose_servers(machines, cfg.parameter_servers)
    workers = [rank for rank in range(len(machines)) if rank not in servers]
    patience = timedelta(minutes=cfg.timeout_minutes)
    group = dist.new_group(workers, timeout=patience)  # by all, also those that are not in it
    return None if distributed.rank() in servers else Asynchronous(cfg, machines, servers, group)


def prepare(cfg: LstmpConfig, data, ali, valid, valid_ali=None) -> tuple[StateNetwork, FrameSet, FrameSet]:
    """An initialized network, and the frames of the training and held-out utterances, normalized as it wants them.

    Args: as of :func:`train`.
    """
    num_pdfs = read_num_pdfs(ali)
    held_out = None if Path(valid).is_dir() else read_ids(valid)
    valid_set = load_frames(data if held_out else valid, valid_ali or ali, cfg.feature, num_pdfs, cfg.max_left_out,
                            "held out", only=held_out)
    train_set = load_frames(data, ali, cfg.feature, num_pdfs, cfg.max_left_out, "training",
                            without=held_out or set(valid_set.utts))
    if valid_set.features.shape[1] != train_set.features.shape[1]:
        raise UserError("its features have another dimension than the training set's", file=valid,
                        hint="make both with the same conf/fbank.yaml")
    model = StateNetwork(cfg, train_set.features.shape[1], num_pdfs)
    model.initialize(cfg.seed)
    mean, std = mean_and_std(train_set.features)
    model.feature_mean.copy_(mean), model.feature_std.copy_(std)
    for frames in (train_set, valid_set):
        normalize(frames, mean, std)
    return model, train_set, valid_set


def _finish(cfg: LstmpConfig, trainer: Trainer, priors: torch.Tensor, align_model: Path, factors: str, data):
    """Choose the weights, measure them once more, write the network folder."""
    out, model, team = trainer.out, trainer.model, trainer.team
    done = len(trainer.history)
    kept = [trainer.epoch_path(e) for e in range(max(0, done - cfg.average_last), done)]
    paths = kept or [out / "best.safetensors"]
    read = [checkpoint.read(p, hint=f"delete {trainer.last_path} to train again") for p in paths]
    epochs = [header["epoch"] for _, header in read]
    weights = checkpoint.average([tensors for tensors, _ in read])
    # in float32, as it will be used, whatever it was trained in
    model = StateNetwork(replace(cfg, precision="fp32"), len(weights["feature_mean"]), model.num_pdfs)
    model.load_state_dict(weights)
    model.to(trainer.device)
    loss, accuracy = evaluate(model, trainer.valid, cfg.label_delay, team, trainer.device)
    sample = subset(trainer.train, len(trainer.valid.utts), cfg.seed)
    loss_train, accuracy_train = evaluate(model, sample, cfg.label_delay, team, trainer.device)
    team.say(f"weights of epoch {', '.join(map(str, epochs))}: frame accuracy {accuracy:.2%} held out, "
             f"{accuracy_train:.2%} on {len(sample.utts)} training utterances; {trainer.seconds / 60:.1f} min of "
             "training")
    if not team.leads:
        return
    checkpoint.write(out / "final.safetensors", {**weights, "log_priors": priors}, {"epochs": epochs})
    write_frame_shift(out, trainer.train.frame_shift)
    for name in (*_MODEL_FILES, "topo"):
        if (align_model / name).is_file():  # folders of alignments imported from elsewhere may lack topo
            config.copy_file(align_model / name, out / name)
    config.write_text(out / "config.yaml", yaml.safe_dump(config.to_dict(cfg), sort_keys=False))
    config.write_text(out / "train.json", json.dumps({
        "system": out.name, "params": model.num_params, "num_pdfs": model.num_pdfs,
        "minutes": round(trainer.seconds / 60, 2), "seed": cfg.seed, "factors": factors,
        "config": config.to_dict(cfg), "data": str(data), "features": (extraction(data) or {}).get("config"),
        "cpu_minutes": round(sum(e.get("cpu_seconds", 0) for e in trainer.history) / 60, 2),
        "frame_accuracy_train": accuracy_train, "frame_accuracy_valid": accuracy, "loss_train": loss_train,
        "loss_valid": loss, "chosen_epochs": epochs, "epochs": trainer.history}, indent=1) + "\n")
    plot_history(trainer.history, out / "curve.png", title=out.name)


def _inputs(data, ali, valid, valid_ali, align_model) -> list[Path]:
    inputs = [*data_inputs(data), *(data_inputs(valid) if Path(valid).is_dir() else [Path(valid)])]
    for folder in filter(None, (ali, valid_ali)):
        states = alignment_file(folder)
        inputs += [states, Path(folder) / "num_pdfs"]
        if states.suffix == ".scp":
            inputs += archives_of(read_scp(states).values())
    return inputs + [Path(align_model) / name for name in _MODEL_FILES]


def what_counts(cfg: LstmpConfig) -> dict:
    """What the result depends on: not what only the running does, nor an option that is left at its default."""
    defaults = {f.name: f.default for f in dataclasses.fields(cfg)}
    return {k: v for k, v in config.to_dict(cfg).items()
            if k not in ("checkpoint_minutes", "timeout_minutes") and v != defaults[k]}


def read_ids(path) -> set[str]:
    """Utterance ids in the first column of a text file.

    Raises:
        UserError: not UTF-8, or no id in it.
    """
    ids = set(first_columns(path, compose=False))
    if not ids:
        raise UserError("no utterance in it", file=path, hint="write one utterance id a line")
    return ids


def keep_freed_memory():
    """Let glibc keep freed blocks for the next step instead of returning them to the system (a third more frames/s).

    The tensors of a step are of some MB each; by default each would be mapped and its pages cleared anew every time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


@command
def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog=program_name("steps/train_lstmp.sh"), description=__doc__)
    parser.add_argument("--config", default="conf/lstmp.yaml", help="network and training (default: %(default)s)")
    parser.add_argument("--train", required=True, metavar="DIR", help="data dir with filterbank features")
    parser.add_argument("--ali", required=True, metavar="DIR",
                        help="alignment: pdf.scp or pdf.ark, and num_pdfs; or of Kaldi: ali.*.gz, tree, final.mdl")
    parser.add_argument("--valid", required=True, metavar="DIR|LIST",
                        help="held-out data dir, or a list of utterance ids to hold out of --train")
    parser.add_argument("--valid-ali", metavar="DIR", help="alignment of --valid (default: --ali)")
    parser.add_argument("--align-model", metavar="DIR",
                        help="folder with tree.json and transitions.safetensors (default: --ali)")
    parser.add_argument("--out", required=True, metavar="DIR", help="network folder to write, such as exp/tiny/lstmp")
    parser.add_argument("--device", default="auto", help=f"{CHOICES}; auto: the GPU, if there is one "
                        "(default: %(default)s)")
    parser.add_argument("--nj", type=int, default=1, help="processes that share the streams; `updates` in the "
                        "configuration says how (default: %(default)s; torchrun's where it starts this)")
    parser.add_argument("--threads", type=int, default=default_threads(),
                        help="threads that share the streams of a batch, in one process (default: OMP_NUM_THREADS or "
                        "the processors)")
    args = parser.parse_args(argv)
    if args.threads < 1 or args.nj < 1:
        raise UserError("--threads and --nj must be at least 1", hint="leave them out: one process, all processors")
    chosen = for_training(args.device)
    train(config.load(args.config, LstmpConfig), args.train, args.ali, args.valid, args.out,
          align_model=args.align_model, valid_ali=args.valid_ali, device=chosen,
          threads=args.threads if chosen == "cpu" else 0, nj=args.nj)


if __name__ == "__main__":
    main()
