"""What an epoch of each of a grid's networks costs, with all of them measured side by side.

The networks of a grid are trained on many days, on machines of different speed and beside different other work, so the
minutes that they took cannot be compared. For a grid with ``clock: side_by_side`` all networks that are done, and were
trained by cross entropy, take turns on one core, and the processor time of their updates is kept in ``costs.json``
beside the page. Minutes of such a grid are epochs times the minutes of one. Held-out evaluation and the reading of
features are not in them, nor, for a network of several processes, what these exchange.
"""

import hashlib
import json
import math
import time
from pathlib import Path
from statistics import mean, median

import torch

from lstmp import config
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError
from lstmp.experiment import records
from lstmp.experiment.plan import Grid, Run
from lstmp.experiment.rates import settings
from lstmp.features.load import Features
from lstmp.log import say
from lstmp.machine import machine
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.distributed.workers import flush_denormals
from lstmp.nnet.kernels.fused import reduced_precision, resolve_precision
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.optimizer import clip_gradients, make_optimizer
from lstmp.nnet.train import keep_freed_memory, read_ids

# Seconds for each output frame that a criterion is assumed to take: docs/lf-mmi.md, docs/sequence-training.md
_CRITERION_SECONDS = {"lfmmi": 40e-6, "smbr": 200e-6, "mmi": 200e-6}
_ROUNDS, _TURN = 11, 0.3  # turns of each network, and seconds of one


class Workload:
    """The training of a network on one core, on random frames. Its weights never change."""

    def __init__(self, cfg: LstmpConfig, inputs: int, pdfs: int, streams: int | None = None):
        """
        Args:
            cfg: of the network and its training.
            inputs: number of values in a frame of features, i-vectors included.
            pdfs: number of tied states.
            streams: of an update; None: those of ``cfg``.
        """
        torch.manual_seed(0)
        self.cfg, streams = cfg, cfg.streams if streams is None else streams
        self.model = StateNetwork(resolve_precision(cfg, "cpu"), inputs, pdfs)
        self.model.initialize(1)
        self.optimizer = make_optimizer(cfg, self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        frames = cfg.chunk or 500  # of the output
        self.x = torch.randn(frames * cfg.subsampling, streams, inputs)
        self.targets = torch.randint(pdfs, (frames, streams))
        self.lengths = torch.full((streams,), frames)
        self.generator = torch.Generator().manual_seed(1)

    def seconds(self, enough: float, fewest: int = 1) -> float:
        """Processor time of an update for each frame of the features: the median over ``enough`` seconds.

        For a criterion on graphs or lattices a usual time is added, which is not measured.
        """
        times: list[float] = []
        began = time.monotonic()
        while len(times) < fewest or time.monotonic() - began < enough:
            start = time.process_time()
            self._update()
            times.append(time.process_time() - start)
        of_criterion = _CRITERION_SECONDS.get(self.cfg.criterion, 0.0)
        return (median(times) / self.targets.numel() + of_criterion) / self.cfg.subsampling

    def _update(self):
        params = list(self.model.parameters())
        state = self.model.zero_state(self.targets.shape[1])
        loss, _, _ = self.model.loss(self.x, state, self.targets, self.targets.numel(), self.generator, self.lengths)
        for p, gradient in zip(params, torch.autograd.grad(loss, params), strict=True):
            p.grad = gradient
        clip_gradients(self.model, self.cfg.grad_clip, self.cfg.grad_norm_clip)
        self.optimizer.step()


def prepare_core():
    """Make this process compute as a process of training does, on one core."""
    torch.set_num_threads(1)
    flush_denormals()
    keep_freed_memory()


def num_frames(data_dir: str, without: str | None = None) -> int:
    """Number of frames of a data dir, except those of the utterances listed in ``without``."""
    lengths = read_table(Path(data_dir) / "utt2num_frames")
    excluded = read_ids(without) if without and not Path(without).is_dir() else set()
    return sum(int(n) for utt, n in lengths.items() if utt not in excluded)


def costs_files(grid: Grid) -> list[Path]:
    """The files of the costs in the folder of the grid's page, and in that of the grid with which it shares."""
    return [folder / "costs.json" for folder in (grid.page.parent, grid.shares) if folder]


def read_costs(grid: Grid, done: dict[str, list[dict]]) -> dict[str, float]:
    """Minutes of processor time of an epoch of each network of ``done`` whose cost is known.

    Args:
        done: of :func:`lstmp.experiment.records.finished`. A cost that was measured for other settings, frames or tied
            states does not count.

    Raises:
        UserError: the file is damaged.
    """
    shared = _shared(grid, done)
    costs, beside = _read(costs_files(grid)[0], grid, done)
    scale = median([shared[name] / cost for name, cost in beside.items() if name in shared] or [1.0])
    return {name: scale * cost for name, cost in costs.items()} | shared


def _shared(grid: Grid, done: dict[str, list[dict]]) -> dict[str, float]:
    """Those of them that the other grid's file has."""
    return {name: cost for file in costs_files(grid)[1:] for name, cost in _read(file, grid, done)[0].items()}


def _read(file: Path, grid: Grid, done: dict[str, list[dict]]) -> tuple[dict[str, float], dict[str, float]]:
    """The costs of a file, and those of a shared file beside which they were measured."""
    again = "delete it, and run steps/run_grid.sh"
    found = config.read_json(file, again) if file.is_file() else {"networks": {}}
    try:
        known = {name: (float(values["minutes"]), values["of"]) for name, values in found["networks"].items()}
        beside = {name: float(cost) for name, cost in found.get("beside", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError("it is not a file of costs", file=file, hint=again) from None
    return {name: known[name][0] for name, runs in done.items()
            if name in known and known[name][1] == _digest(grid.first_run(name), runs[0])}, beside


def measure_costs(grid: Grid, rounds: int = _ROUNDS):
    """Measure the networks of which all seeds are done, unless all their costs are known, and write the file.

    Networks that depend on a criterion on graphs or lattices are left out. Each process of a network has a part of its
    streams. Those whose costs the grid shares with another one are measured too, and their new costs are kept as
    ``beside``: they set the scale for the others.

    Raises:
        UserError: a record or the file of costs is damaged, or features of the grid's sources are missing.
    """
    done = {name: runs for name, runs in records.finished(grid).items()
            if grid.networks[name].config.criterion == "cross_entropy"}
    if not set(done) - set(read_costs(grid, done)):
        return
    say(f"measuring the costs of {len(done)} networks side by side")
    prepare_core()
    workloads: dict[str, Workload] = {}
    for name, (record, *_) in done.items():
        run = grid.first_run(name)
        cfg = run.config
        inputs = Features(run.source.train, cfg.feature).dim + cfg.ivector_dim
        workloads[name] = Workload(cfg, inputs, record["training"]["num_pdfs"],
                                   max(1, cfg.streams // (run.processes - cfg.parameter_servers)))
    minutes = {}
    for name, seconds in _side_by_side(workloads, rounds).items():
        source = grid.first_run(name).source
        minutes[name] = seconds * num_frames(source.train, source.valid) / 60
    shared = _shared(grid, done)
    rounded = {name: float(f"{of_epoch:.4g}") for name, of_epoch in minutes.items()}
    networks = {name: {"minutes": of_epoch, "of": _digest(grid.first_run(name), done[name][0])}
                for name, of_epoch in rounded.items() if name not in shared}
    beside = {name: of_epoch for name, of_epoch in rounded.items() if name in shared}
    config.write_text(costs_files(grid)[0], json.dumps(
        {"machine": machine(), "networks": networks} | ({"beside": beside} if beside else {}), indent=1) + "\n")


def _side_by_side(workloads: dict[str, Workload], rounds: int) -> dict[str, float]:
    """Seconds per frame of each workload. In a round each has a turn, and is measured by the mean of the round, so that
    a time when the machine is slow counts for all alike."""
    with reduced_precision():
        for workload in workloads.values():
            workload.seconds(0, fewest=2)  # kernels are compiled, memory is fetched
        turns = [{name: workload.seconds(_TURN) for name, workload in workloads.items()} for _ in range(rounds)]
    means = [mean(turn.values()) for turn in turns]
    return {name: median(means) * median(turn[name] / of_round for turn, of_round in zip(turns, means, strict=True))
            for name in workloads}


def with_costs(done: dict[str, list[dict]], costs: dict[str, float]) -> dict[str, list[dict]]:
    """The records with the processor time of each epoch, and of all, by ``costs``; NaN for networks without a cost."""
    out: dict[str, list[dict]] = {}
    for name, runs in done.items():
        minutes, out[name] = costs.get(name, math.nan), []
        for r in runs:
            epochs = [e | {"cpu_seconds": 60 * minutes} for e in r["training"]["epochs"]]
            out[name].append(r | {"training": r["training"] | {"epochs": epochs, "cpu_minutes": len(epochs) * minutes}})
    return out


def _digest(run: Run, record: dict) -> str:
    """Of what a cost depends on: settings, frames and tied states."""
    counted = {name: record["inputs"][name] for name in records.exact_names(run, record["inputs"])}
    of = [settings(run), counted]
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
