"""Train, decode and score the networks of a grid, several at a time on one core each; finished runs are skipped.

The steps are those that run.sh calls (steps/train_lstmp.sh, decode.sh, score.sh), so any network of the grid can also
be made by hand. The expected time is printed before the first run; --dry-run prints only that. A finished run has a
record next to the page of the grid (lstmp.experiment.records).
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import yaml

from lstmp import config, lock
from lstmp.errors import UserError, command
from lstmp.experiment import records
from lstmp.experiment.costs import Workload, measure_costs, num_frames, prepare_core
from lstmp.experiment.grid_file import load
from lstmp.experiment.plan import SIDE_BY_SIDE, Grid, Run
from lstmp.experiment.rates import find_rates, rates_file
from lstmp.experiment.records import folders
from lstmp.features.load import Features
from lstmp.log import say
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.load_frames import read_num_pdfs
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.nnet.network_stage import result_settings
from lstmp.paths import ROOT
from lstmp.sequence.config import SequenceConfig
from lstmp.stage import same_inputs

_DECODING_RTF = 0.05  # real-time factor of decoding that is assumed in the budget


def commands(grid: Grid, run: Run) -> list[list[str]]:
    """The commands of a run, in order."""
    s, conf, out = run.source, run.conf, [run.train_command()]
    for name, folder in folders(grid, run).items():
        out.append(["steps/decode.sh", "--model", str(run.folder), "--graph", s.graph, "--data", s.decode[name],
                    "--out", str(folder), "--config", str(conf / "decode.yaml"), "--nj", "1"])
    if grid.sets:
        dev, *tests = map(str, folders(grid, run).values())
        out.append(["steps/score.sh", "--config", str(ROOT / "conf/score.yaml"), "--dev", dev, "--test", *tests])
    return out


def budget(grid: Grid, runs: list[Run], nj: int) -> float:
    """Print the expected time of the runs. Returns it in core minutes."""
    prepare_core()
    total, sizes = 0.0, dict[tuple, tuple[int, int]]()
    for name in dict.fromkeys(r.network for r in runs):
        of_network = [r for r in runs if r.network == name]
        s, cfg = of_network[0].source, of_network[0].config
        data = s.train, s.valid, cfg.feature
        if data not in sizes:
            sizes[data] = Features(s.train, cfg.feature).dim, num_frames(s.train, s.valid)
        inputs, frames = sizes[data][0] + cfg.ivector_dim, sizes[data][1]
        workload = Workload(cfg, inputs, read_num_pdfs(s.ali))
        train = cfg.epochs * frames * workload.seconds(1.0, fewest=3) / 60
        decode = sum(num_frames(s.decode[name]) for name in grid.sets) / 6000 * _DECODING_RTF
        total += len(of_network) * (train + decode)
        say(f"{name}: {workload.model.num_params:,} parameters, {len(of_network)} x {train:.1f} core "
            f"minutes of training, {decode:.1f} of decoding")
    say(f"{len(runs)} runs to do, about {total / 60:.1f} core hours: {total / 60 / nj:.1f} hours, {nj} at a time")
    return total


def execute(grid: Grid, run: Run, only_train: bool = False) -> str | None:
    """Run the commands of a run, with their output in its log, and write its record; or its training alone.

    Returns None, or an error message, such as that another process is at work on this run.
    """
    try:
        lock.hold(run.conf)
    except UserError as e:
        return str(e)
    try:
        return _execute(grid, run, only_train)
    finally:
        lock.release(run.conf)


def _execute(grid: Grid, run: Run, only_train: bool) -> str | None:
    options = {"lstmp": config.to_dict(run.config), "decode": config.to_dict(grid.decode),
               "mmi": run.mmi and config.to_dict(run.mmi), "sequence": run.sequence and config.to_dict(run.sequence)}
    for name, values in options.items():
        file = run.conf / f"{name}.yaml"
        if values:
            config.write_text(file, yaml.safe_dump(values, sort_keys=False))
        else:
            file.unlink(missing_ok=True)  # of another criterion, before the grid was changed
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with open(run.log, "a", encoding="utf-8") as log:
        train, *others = commands(grid, run)
        for step in [train] if only_train else [train, *others]:
            done = subprocess.run(step, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
            if done.returncode:
                if step is train:  # an earlier network may be in the folder, which has other options
                    shutil.rmtree(run.conf)
                last = run.log.read_text(errors="replace").strip().splitlines()[-1:]
                return f"{step[0]} of {run.folder} failed: {' '.join(last)}"
    if only_train:
        return None
    try:
        records.write(grid, run)
    except UserError as e:
        return str(e)
    for folder in folders(grid, run).values():  # needed only for other LM weights: 200 MB per test set
        for lattice in folder.glob("lat.*.safetensors"):
            lattice.unlink()
    return None


def missing_initial(runs: list[Run]) -> list[Run]:
    """The runs whose weights others of ``runs`` start from and whose networks are not here, or are other ones."""
    names, missing = {run.folder for run in runs}, list[Run]()
    for run in runs:
        first = run.init
        while first and first.folder not in names and not is_trained(first):
            missing.insert(0, first)
            names.add(first.folder)
            first = first.init
    return missing


def is_trained(run: Run) -> bool:
    """Whether the run's folder has a network with its settings, trained on its data as they are now."""
    folder, mmi, sequence = run.folder, run.conf / "mmi.yaml", run.conf / "sequence.yaml"
    if not (folder / "final.safetensors").is_file() or not (folder / "config.yaml").is_file() \
            or bool(run.mmi) != mmi.is_file() or bool(run.sequence) != sequence.is_file() \
            or not same_inputs(folder, "lstmp"):
        return False
    found = replace(run, config=config.load(folder / "config.yaml", LstmpConfig),
                    mmi=config.load(mmi, MmiConfig) if run.mmi else None,
                    sequence=config.load(sequence, SequenceConfig) if run.sequence else None)
    wanted, have = (result_settings(r.config, records.criterion_source(r)) for r in (run, found))
    return wanted | {"precision": ""} == have | {"precision": ""}  # `auto` is resolved in training


class _Cores:
    """A number of cores that threads can wait for and take."""

    def __init__(self, count: int):
        self.free, self.change = count, threading.Condition()

    @contextlib.contextmanager
    def taken(self, count: int):
        with self.change:
            self.change.wait_for(lambda: self.free >= count)
            self.free -= count
        try:
            yield
        finally:
            with self.change:
                self.free += count
                self.change.notify_all()


def run_all(grid: Grid, runs: list[Run], nj: int, only_train: list[Run] | None = None):
    """Do the runs on ``nj`` cores. Each takes as many cores as it has processes; with more than ``nj``, it runs alone.

    A run that starts from the weights of another one waits for it. Of the runs ``only_train`` nothing but the network
    is made.

    Raises:
        UserError: some runs failed; the others were done.
    """
    began, errors, cores = time.monotonic(), [], _Cores(nj)
    trained = {run.folder for run in only_train or []}
    runs = [*(only_train or []), *runs]
    ended = {run.folder: threading.Event() for run in runs}
    failed: set[Path] = set()

    def one(numbered):
        number, run = numbered
        if run.init and run.init.folder in ended:
            ended[run.init.folder].wait()
        error: str | None = None
        try:
            if run.init and run.init.folder in failed:
                error = f"{run.folder}: not trained, because {run.init.folder} failed"
            else:
                with cores.taken(min(run.processes, nj)):
                    error = execute(grid, run, run.folder in trained)
        except Exception as e:  # such as a full disk: others wait for this run to end
            error = f"{run.folder} failed: {e}"
        finally:
            if error:
                errors.append(error)
                failed.add(run.folder)
            ended[run.folder].set()
        say(error or f"{run.folder}: done, {number + 1} of {len(runs)}, {(time.monotonic() - began) / 60:.0f} min")

    with ThreadPoolExecutor(nj) as pool:
        # what others start from comes first, so that none waits for a run that has not begun; several cores come last
        list(pool.map(one, enumerate(sorted(runs, key=lambda run: (run.depth, run.processes)))))
    if errors:
        raise UserError(f"{len(errors)} of {len(runs)} runs failed; {errors[0]}", file=grid.exp,
                        hint="see the end of its log, fix that, and start again; finished runs are kept")


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/run_grid.sh", description=__doc__.split("\n")[0])
    p.add_argument("grid", help="file of the grid, such as recipes/sak2014/grid.yaml")
    p.add_argument("--only", nargs="+", metavar="NETWORK", help="run only these networks of the grid")
    p.add_argument("--nj", type=int, default=len(os.sched_getaffinity(0)), help="number of runs at a time, one core "
                   "each (default: the number of cores)")
    p.add_argument("--alike", action="store_true", help="continue a grid with data that were made on another machine: "
                   "a record counts if utterances, lengths and the number of states are the same as here")
    p.add_argument("--find-rates", action="store_true", help="first find the learning rates of the networks that have "
                   "none yet (`rates` in the grid)")
    p.add_argument("--dry-run", action="store_true", help="only print the expected time")
    a = p.parse_args(argv)
    if a.nj < 1:
        raise UserError("--nj must be 1 or more", hint="correct the value")
    grid = load(a.grid)
    missing = [name for name in dict.fromkeys(run.network for run in grid.runs(a.only)) if name in grid.without_rate]
    if missing and a.find_rates and not a.dry_run:
        find_rates(grid, missing, a.nj)
        grid = load(a.grid)
    elif missing and not a.dry_run:
        raise UserError(f"the learning rate of {missing[0]} with its present options is not known",
                        file=rates_file(grid.page.parent),
                        hint="find it with --find-rates, or give the network an `lr_initial`")
    runs = grid.runs(a.only)
    remaining = [r for r in runs if not records.is_done(grid, r, records.ALIKE if a.alike else records.SAME)]
    say(f"{a.grid}: {len(runs)} runs, {len(runs) - len(remaining)} done before")
    if not a.alike and (similar := [r for r in remaining if records.is_done(grid, r, records.ALIKE)]):
        say(f"{len(similar)} of the others are recorded for data with the same utterances, lengths and states, but "
            "different contents; --alike counts them as done")
    if unknown := records.without_run(grid):
        say(f"{len(unknown)} records belong to no run of this grid, such as {unknown[0]}; delete them")
    first = missing_initial(remaining)
    if first:
        say(f"{len(first)} networks that others start from are trained here again, such as {first[0].folder}; their "
            "records are kept")
    if remaining:
        budget(grid, [*first, *remaining], a.nj)
    if a.dry_run:
        return
    failed: UserError | None = None
    try:
        run_all(grid, remaining, a.nj, first)
    except UserError as e:
        failed = e
    if grid.clock == SIDE_BY_SIDE:  # of those that are done, even if others have failed
        measure_costs(grid)
    if failed:
        raise failed


if __name__ == "__main__":
    main()
