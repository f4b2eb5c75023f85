"""Train a deep LSTMP network on aligned features, by cross entropy or LF-MMI, and write a network folder."""

import argparse
import ctypes
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
from lstmp.corpus.topology import Topology
from lstmp.device import DEFAULT_MEMORY
from lstmp.errors import UserError, command
from lstmp.features.about import read_about
from lstmp.features.frame_shift import write_frame_shift
from lstmp.gmm.ivector import NAME as IVECTORS
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.gmm.transition import BEGIN_FRAMES
from lstmp.kaldi.import_alignment import import_alignment, is_kaldi_alignment
from lstmp.log import warn
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.criterion import Source
from lstmp.nnet.curve import plot_history
from lstmp.nnet.data import Frames, log_priors
from lstmp.nnet.distributed.asynchronous import Asynchronous, choose_servers, machine_names
from lstmp.nnet.distributed.parameter_server import serve
from lstmp.nnet.distributed.shared_frames import team_frames
from lstmp.nnet.distributed.synchronous import Synchronous
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.evaluate import evaluate, subset
from lstmp.nnet.initial import check_online_fmllr, front_for, start_from
from lstmp.nnet.input_lda import set_lda
from lstmp.nnet.kernels.fused import reduced_precision, resolve_precision, training_precision
from lstmp.nnet.load_frames import load_frames, read_num_pdfs
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.nnet.mmi.training import MmiSource
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.network_stage import (
    MODEL_FILES,
    network_inputs,
    network_outputs,
    renew_decoding_options,
    result_settings,
)
from lstmp.nnet.train_options import add_options, arguments
from lstmp.nnet.trainer import Trainer
from lstmp.program import program_name
from lstmp.stage import Stage

_FOR_HELD_OUT = 0.2  # share of the memory


def train(cfg: LstmpConfig, data, ali, valid, out, *, align_model=None, valid_ali=None, device: str = "cpu",
          threads: int = 1, nj: int = 1, memory: float = DEFAULT_MEMORY, source: Source | None = None, initial=None,
          ivectors=None, online_fmllr=None):
    """Train a network and write its folder ``out``.

    Args:
        data: data dir of the training utterances, with features.
        ali: alignment folder with pdf.scp (or pdf.ark) and num_pdfs; or a Kaldi alignment, which is imported into a
            folder below ``out``.
        valid: data dir of the held-out utterances, or a text file with utterance ids (in the first column) that are
            held out of ``data``.
        align_model: folder with tree.json and transitions.safetensors, which are copied to ``out``; ``ali`` if None.
        valid_ali: alignment of ``valid``; ``ali`` if None.
        threads: number of threads that share the streams of a batch, if a single process trains.
        nj: number of processes on this machine; ignored under torchrun, which starts the processes.
        memory: GiB of features and targets that are kept in memory; if they need more, they are read in each epoch.
        source: for a `criterion` other than cross entropy. For lfmmi, ``ali``, and ``valid_ali`` if given, are folders
            with ali.ark.
        initial: folder of a trained network whose weights training starts from; None: random weights.
        ivectors: folder of an i-vector extractor, for `ivector_dim`; not with ``initial``, which has its own.
        online_fmllr: folder of steps/train_online_fmllr.sh, for `feature.kind: online_fmllr`; not with ``initial``.

    Raises:
        UserError: for errors in the input, or if training diverges.
    """
    out, ali = Path(out), Path(ali)
    _check_source(cfg, source)
    if initial and (ivectors or online_fmllr):
        raise UserError("the network that training starts from has its own i-vectors and online fMLLR",
                        hint="leave --ivectors and --online-fmllr out")
    ivectors = ivectors or (initial if cfg.ivector_dim else None)
    online_fmllr = online_fmllr or (initial if cfg.feature.kind == "online_fmllr" else None)
    if not Path(valid).exists():
        raise UserError("no such data dir or list of utterances", file=valid, hint="check --valid")
    distributed.begin(cfg.timeout_minutes)
    imports = {}  # folder below `out` → the Kaldi alignment that is imported into it
    if is_kaldi_alignment(ali):
        imports[out / "kaldi_ali"], ali = ali, out / "kaldi_ali"
    if valid_ali and is_kaldi_alignment(valid_ali):
        imports[out / "kaldi_valid_ali"], valid_ali = valid_ali, out / "kaldi_valid_ali"
    distributed.on_first(_import, imports)
    align_model = Path(align_model or ali)
    for name in MODEL_FILES:
        if not (align_model / name).is_file():
            raise UserError("no such file", file=align_model / name, hint="check --align-model, or align again")
    if (align_model / "topo").is_file():
        distributed.on_first(_check_topology, cfg, Topology.read(align_model / "topo"), align_model)
    check_online_fmllr(cfg, data, read_num_pdfs(ali), online_fmllr)
    inputs = network_inputs(data, ali, valid, valid_ali, align_model, source, initial, ivectors, online_fmllr)
    stage = Stage(out, "lstmp", inputs=inputs, settings=result_settings(cfg, source))
    distributed.on_first(stage.keep_previous)
    distributed.on_first(_import, {f: given for f, given in imports.items() if not f.is_dir()})  # moved away with `out`
    if distributed.on_first(stage.is_done):
        distributed.on_first(renew_decoding_options, cfg, stage, out)
        return
    # the fingerprint has the precision in it: a training that began in bf16 is not resumed in fp32
    cfg = distributed.on_first(resolve_precision, cfg, device)
    fingerprint = distributed.on_first(lambda: f"{stage.key()}-{cfg.precision}")
    try:
        distributed.launch(_train, nj, cfg, data, ali, valid, valid_ali, out, align_model, fingerprint, device, threads,
                           memory, source, initial, ivectors, online_fmllr, timeout=cfg.timeout_minutes)
    except UserError:
        stage.give_back(unless="last.safetensors")
        raise
    stage.mark(network_outputs(out))


def _import(alignments: dict[Path, Path]):
    """Import Kaldi alignments: folder → the alignment that is imported into it."""
    for folder, given in alignments.items():
        import_alignment(given, folder)


def _train(cfg: LstmpConfig, data, ali, valid, valid_ali, out: Path, align_model: Path, fingerprint: str, device: str,
           threads: int, memory: float, source: Source | None, initial, ivectors, online_fmllr):
    """The work of each process."""
    flush_denormals()
    keep_freed_memory()
    team = make_team(cfg, device, threads)
    if team is None:
        serve()
        return
    if device == "cuda" and team.size > 1:
        if int(os.environ.get("LOCAL_WORLD_SIZE", team.size)) > torch.cuda.device_count():
            raise UserError(f"more processes than the {torch.cuda.device_count()} GPUs of this machine",
                            hint="start at most one process per GPU (--nj, or torchrun's --nproc_per_node)")
        device = f"cuda:{distributed.local_rank() % torch.cuda.device_count()}"
        torch.cuda.set_device(device)
    if ivectors and cfg.ivector_dim:  # a copy, so that the network keeps what it is trained with
        if team.leads and (Path(ivectors) / IVECTORS).is_file():
            config.copy_file(Path(ivectors) / IVECTORS, out / IVECTORS)
            ivectors = out
    if team.leads and online_fmllr:
        config.copy_file(Path(online_fmllr) / ONLINE_FMLLR, out / ONLINE_FMLLR)
    second_output = source is not None and source.second_output
    model, train_set, valid_set = team_frames(cfg, team, out, lambda: prepare(
        cfg, data, ali, valid, valid_ali, memory, second_output, initial, ivectors))
    parts = [(ali, train_set.utts), (valid_ali or ali, valid_set.utts)]
    criterion, priors = None, log_priors(train_set.pdf_counts(model.num_pdfs), cfg.prior_floor)
    if source:
        criterion = source.prepare(cfg, parts, align_model, model.num_pdfs, device, quiet=not team.leads)
        priors = criterion.log_priors
    model.to(device)
    workers = f"{team.size} processes" if team.size > 1 else f"{team.workers.count} threads"
    precision = training_precision(cfg, device)
    team.say(f"{out}: {cfg.layers} layers of {cfg.cells} cells, {model.num_pdfs} states, {model.num_params:,} "
             f"parameters, {precision}, {workers}")
    trainer = Trainer(cfg, model, train_set, valid_set, out, fingerprint, device, team, criterion)
    try:
        with reduced_precision():
            trainer.run()
        _finish(cfg, trainer, priors, align_model, precision, data)
    finally:
        team.close()
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)


def _check_source(cfg: LstmpConfig, source: Source | None):
    criteria = source.criteria if source else ("cross_entropy",)
    if cfg.criterion in criteria:
        return
    if "lfmmi" in criteria or cfg.criterion == "lfmmi" and source is None:
        raise UserError("`criterion: lfmmi` and a denominator graph need each other",
                        hint="give --denominator, and set `criterion: lfmmi` in the configuration")
    raise UserError(f"`criterion: {cfg.criterion}` is not for this step",
                    hint="steps/train_sequence.sh trains by smbr and mmi, steps/train_lstmp.sh by the other criteria")


def _check_topology(cfg: LstmpConfig, topology: Topology, model: Path):
    """Warn if a phone has several states, so that in decoding it lasts longer than many phones of speech do.

    Raises:
        UserError: the states are those of a chain model, whose beginning of a phone is one row of scores, and
            `subsampling` or `repeat_scores` does not fit.
    """
    # LF-MMI has no targets from the alignment, and in its graphs the beginning is one output of whatever length
    fits = cfg.subsampling == BEGIN_FRAMES or cfg.criterion == "lfmmi"
    if topology.is_chain and (cfg.repeat_scores or not fits):
        raise UserError(f"the states of a chain model need `subsampling: {BEGIN_FRAMES}`, without `repeat_scores`",
                        file=model, hint="set that, or train on other states")
    states = min(topology.num_states(phone) for phone in topology.entries)
    if cfg.frames_per_row > 1 and not topology.for_low_rate and states > 1:
        warn(f"with `subsampling` a phone of {states} states lasts at least {states * cfg.frames_per_row} frames, and "
             "many phones are shorter; set `repeat_scores: true`, or train on states for a low frame rate "
             "(steps/tie_states.sh --topology chain)")


def make_team(cfg: LstmpConfig, device: str, threads: int) -> Team | None:
    """Make the team that the number of processes and the configuration ask for; None in a parameter server's process.

    Raises:
        UserError: there are too few processes, or fewer streams than processes.
    """
    if cfg.updates == "synchronous":
        return Team(threads) if distributed.world_size() == 1 else Synchronous(cfg, device)
    if distributed.world_size() == 1:
        raise UserError("asynchronous training with one process", hint="start several, with --nj or torchrun, or set "
                        "`updates: synchronous` in conf/lstmp.yaml")
    machines = machine_names()
    servers = choose_servers(machines, cfg.parameter_servers)
    workers = [rank for rank in range(len(machines)) if rank not in servers]
    timeout = timedelta(minutes=cfg.timeout_minutes)
    group = dist.new_group(workers, timeout=timeout)  # every process must call this, members of the group or not
    return None if distributed.rank() in servers else Asynchronous(cfg, machines, servers, group)


def prepare(cfg: LstmpConfig, data, ali, valid, valid_ali=None,
            memory: float = DEFAULT_MEMORY, second_output: bool = False,
            initial=None, ivectors=None) -> tuple[StateNetwork, Frames, Frames]:
    """Make an initialized network, and load the normalized frames of the training and of the held-out utterances.

    Args: as for :func:`train`, and for :class:`lstmp.nnet.model.StateNetwork`.

    Returns: (network, training frames, held-out frames).

    Raises:
        UserError: for errors in the input.
    """
    num_pdfs = read_num_pdfs(ali)
    front = front_for(cfg, data, initial, ivectors)
    held_out = None if Path(valid).is_dir() else read_ids(valid)
    valid_set = load_frames(data if held_out else valid, valid_ali or ali, cfg.feature, num_pdfs, cfg.max_left_out,
                            "held out", only=held_out, memory=_FOR_HELD_OUT * memory, front=front)
    train_set = load_frames(data, ali, cfg.feature, num_pdfs, cfg.max_left_out, "training",
                            without=held_out or set(valid_set.utts), memory=(1 - _FOR_HELD_OUT) * memory,
                            front=front)
    if valid_set.dim != train_set.dim:
        raise UserError("its features do not have the same dimension as those of the training set", file=valid,
                        hint="make both with the same conf/fbank.yaml")
    model = StateNetwork(cfg, train_set.dim, num_pdfs, second_output)
    model.initialize(cfg.seed)
    mean, std = train_set.mean_and_std()
    model.feature_mean.copy_(mean), model.feature_std.copy_(std)
    if front and front.normalization:
        model.get_buffer("cmvn_mean").copy_(torch.from_numpy(front.normalization.mean))
        model.get_buffer("cmvn_variance").copy_(torch.from_numpy(front.normalization.variance))
    if initial:
        start_from(initial, model)
        mean, std = model.feature_mean.clone(), model.feature_std.clone()
    train_set, valid_set = train_set.normalized(mean, std), valid_set.normalized(mean, std)
    if cfg.lda_dim and not initial:
        set_lda(cfg, model, train_set)
    return model, train_set, valid_set


def _finish(cfg: LstmpConfig, trainer: Trainer, priors: torch.Tensor, align_model: Path, precision: str, data):
    """Choose or average the final weights, evaluate them once more, and write the network folder."""
    out, model, team, history = trainer.out, trainer.model, trainer.team, trainer.state.history
    to_average = [trainer.epoch_path(e) for e in range(max(0, len(history) - cfg.average_last), len(history))]
    paths = to_average or [out / "best.safetensors"]
    checkpoints = [checkpoint.read(p, hint=f"delete {trainer.last_path} to train again") for p in paths]
    epochs = [header["epoch"] for _, header in checkpoints]
    weights = checkpoint.average([tensors for tensors, _ in checkpoints])
    # evaluated in float32, the precision in which the network will be used, whatever it was trained in
    model = StateNetwork(replace(cfg, precision="fp32"), len(weights["feature_mean"]), model.num_pdfs,
                         "w_second" in weights)
    model.load_state_dict(weights)
    model.to(trainer.device)
    loss, accuracy = evaluate(model, trainer.valid, cfg.output_delay, team, trainer.device, trainer.criterion)
    sample = subset(trainer.train, len(trainer.valid.utts), cfg.seed)
    loss_train, accuracy_train = evaluate(model, sample, cfg.output_delay, team, trainer.device, trainer.criterion)
    objective = f"objective {-loss:.4f} held out, {-loss_train:.4f} in training, " if trainer.criterion else ""
    team.say(f"weights of epoch {', '.join(map(str, epochs))}: {objective}frame accuracy {accuracy:.2%} held out, "
             f"{accuracy_train:.2%} on {len(sample.utts)} training utterances; {trainer.state.seconds / 60:.1f} min of "
             "training")
    if not team.leads:
        return
    for name in ("w_second", "b_second"):  # only training uses the second output layer
        weights.pop(name, None)
    checkpoint.write(out / "final.safetensors", {**weights, "log_priors": priors}, {"epochs": epochs})
    write_frame_shift(out, trainer.train.frame_shift)
    for name in (*MODEL_FILES, "topo"):
        if (align_model / name).is_file():  # imported alignments may have no topo
            config.copy_file(align_model / name, out / name)
    config.write_text(out / "config.yaml", yaml.safe_dump(config.to_dict(cfg), sort_keys=False))
    config.write_text(out / "train.json", json.dumps({
        "system": out.name, "params": model.num_params, "num_pdfs": model.num_pdfs,
        "minutes": round(trainer.state.seconds / 60, 2), "seed": cfg.seed, "factors": precision,
        "config": config.to_dict(cfg), "data": str(data), "features": (read_about(data) or {}).get("config"),
        "cpu_minutes": round(sum(e.get("cpu_seconds", 0) for e in history) / 60, 2),
        "frame_accuracy_train": accuracy_train, "frame_accuracy_valid": accuracy, "loss_train": loss_train,
        "loss_valid": loss, "chosen_epochs": epochs, "epochs": history}, indent=1) + "\n")
    plot_history(history, out / "curve.png", out.name, *([trainer.criterion.loss_name] if trainer.criterion else []))


def read_ids(path) -> set[str]:
    """Read the utterance ids in the first column of a text file.

    Raises:
        UserError: the file is not UTF-8, or has no ids.
    """
    ids = set(first_columns(path, compose=False))
    if not ids:
        raise UserError("no utterance in it", file=path, hint="write one utterance id per line")
    return ids


def keep_freed_memory():
    """Make glibc reuse freed memory instead of returning it to the system: training is a third faster.

    The tensors of a step have several MB each. By default each would be mapped, and its pages cleared, in every step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # the C library is not glibc
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


@command
def main(argv=None):
    """Command line; see ``--help``."""
    parser = argparse.ArgumentParser(prog=program_name("steps/train_lstmp.sh"), description=__doc__)
    parser.add_argument("--config", default="conf/lstmp.yaml",
                        help="network and training options (default: %(default)s)")
    add_options(parser)
    parser.add_argument("--denominator", metavar="DIR", help="for `criterion: lfmmi`: folder of the denominator graph, "
                        "from steps/make_denominator.sh")
    parser.add_argument("--mmi-config", default="conf/mmi.yaml", metavar="FILE",
                        help="for `criterion: lfmmi`: options of the criterion (default: %(default)s)")
    parser.add_argument("--ivectors", metavar="DIR", help="for `ivector_dim`: folder of the i-vector extractor, from "
                        "steps/train_ivectors.sh")
    parser.add_argument("--online-fmllr", metavar="DIR", help="for `feature.kind: online_fmllr`: folder from "
                        "steps/train_online_fmllr.sh")
    parser.add_argument("--init", metavar="DIR", help="trained network whose weights training starts from (default: "
                        "random weights)")
    args = parser.parse_args(argv)
    mmi = MmiSource(config.load(args.mmi_config, MmiConfig), Path(args.denominator)) if args.denominator else None
    train(config.load(args.config, LstmpConfig), **arguments(args), source=mmi)


if __name__ == "__main__":
    main()
