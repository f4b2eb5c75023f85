"""What an epoch of each of a grid's networks costs, with all of them measured side by side.

The networks of a grid are trained on many days, on machines of different speed and beside different other work, so the
minutes that they took cannot be compared. For a grid with ``clock: side_by_side`` all networks that are done take turns
on one core, and the processor time of their updates is kept in ``costs.json`` beside the page. Minutes of such a grid
are epochs times the minutes of one.
"""

import hashlib
import json
import time
from pathlib import Path
from statistics import median

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

    def __init__(self, cfg, inputs: int, pdfs: int, streams: int | None = None):
        """``streams``: of an update; None: those of the configuration."""
        torch.manual_seed(0)
        self.cfg, streams = cfg, streams or cfg.streams
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
        """Processor time of an update for each frame of the features: the median over ``enough`` seconds."""
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


def costs_file(folder: Path) -> Path:
    """The file of the costs in the folder of a grid's page."""
    return folder / "costs.json"


def read_costs(grid: Grid) -> dict[str, float]:
    """Minutes of processor time of an epoch of each network whose cost was measured with its present settings.

    Raises:
        UserError: the file is damaged.
    """
    file = costs_file(grid.page.parent)
    again = "delete it, and run steps/run_grid.sh"
    found = config.read_json(file, again) if file.is_file() else {"networks": {}}
    try:
        of_networks = {name: (float(values["minutes"]), values["settings"])
                       for name, values in found["networks"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError("it is not a file of costs", file=file, hint=again) from None
    return {name: minutes for name, (minutes, digest) in of_networks.items()
            if name in grid.networks and digest == _digest(_first_run(grid, name))}


def measure_costs(grid: Grid, rounds: int = _ROUNDS):
    """Measure all networks of which all seeds are done, unless their costs are known, and write the file.

    Processes of a network each have a part of its streams; what they exchange is not measured.

    Raises:
        UserError: features of the grid's sources are missing.
    """
    done = records.finished(grid)
    if not set(done) - set(read_costs(grid)):
        return
    say(f"measuring the costs of {len(done)} networks side by side")
    prepare_core()
    workloads, frames = {}, {}
    for name, runs in done.items():
        run = _first_run(grid, name)
        inputs = Features(run.source.train, run.config.feature).dim + run.config.ivector_dim
        workloads[name] = Workload(run.config, inputs, runs[0]["training"]["num_pdfs"],
                                   run.config.streams // run.processes)
        frames[name] = num_frames(run.source.train, run.source.valid)
    times: dict[str, list[float]] = {name: [] for name in workloads}
    with reduced_precision():
        for workload in workloads.values():
            workload.seconds(0, fewest=2)  # kernels are compiled, memory is fetched
        for _ in range(rounds):
            for name, workload in workloads.items():
                times[name].append(workload.seconds(_TURN))
    networks = {name: {"minutes": float(f"{median(of_network) * frames[name] / 60:.4g}"),
                       "settings": _digest(_first_run(grid, name))} for name, of_network in times.items()}
    config.write_text(costs_file(grid.page.parent),
                      json.dumps({"machine": machine(), "networks": networks}, indent=1) + "\n")


def apply_costs(grid: Grid, done: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """The records of networks with the processor time of each epoch, and of all, by their costs.

    Raises:
        UserError: the cost of a network is not known.
    """
    costs = read_costs(grid)
    if unknown := [name for name in done if name not in costs]:
        raise UserError(f"the cost of {unknown[0]} with its present settings is not known",
                        file=costs_file(grid.page.parent), hint="run steps/run_grid.sh")
    out: dict[str, list[dict]] = {}
    for name, runs in done.items():
        out[name] = []
        for r in runs:
            epochs = [e | {"cpu_seconds": 60 * costs[name]} for e in r["training"]["epochs"]]
            out[name].append(r | {"training": r["training"] | {"epochs": epochs,
                                                               "cpu_minutes": len(epochs) * costs[name]}})
    return out


def _first_run(grid: Grid, name: str) -> Run:
    return grid.run(name, grid.networks[name].seeds[0])


def _digest(run: Run) -> str:
    return hashlib.sha256(json.dumps(settings(run), sort_keys=True).encode()).hexdigest()[:16]
