"""The learning rates of a grid's networks.

The largest stable rate is found by a range test (:mod:`lstmp.nnet.find_rate`) of about a thousand batches, and deep
networks may not stand it for longer. So each network is then trained for an epoch at a share of that rate, which is
halved as long as the held-out loss falls, or is not even below the lowest one of the range test. The best of these
rates are kept with their losses in ``rates.json`` beside the page of the grid, and published with it. A network whose
options or data folders have changed since then has no known rate.
"""

import json
import math
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import yaml

from lstmp import config
from lstmp.errors import UserError
from lstmp.experiment.plan import Grid, Run
from lstmp.log import say
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.find_rate import RangeTest
from lstmp.nnet.network_stage import result_settings

_MOST_TRIALS = 10
# Options that a trial of one epoch at a constant rate does not depend on; of the seed only one is tried
_NOT_OF_TRIALS = {f.name for f in fields(LstmpConfig) if f.name.startswith("lr_")} | {
    "seed", "epochs", "decay", "plateau_factor", "patience", "average_last", "divergence_retries", "divergence_factor"}


@dataclass(frozen=True)
class Found:
    """How the rate of a network was found.

    Attributes:
        rate: the best of the rates that were tried.
        held_out_losses: rate → loss after an epoch at this rate, in the order in which they were tried; None where
            training diverged.
        largest_stable: by the range test.
        network: :func:`settings` of the run that it was found for; none in files of earlier versions.
    """

    rate: float
    held_out_losses: dict
    largest_stable: float
    network: dict = field(default_factory=dict)


def rates_file(folder: Path) -> Path:
    """The file of the learning rates in the folder of a grid's page."""
    return folder / "rates.json"


def read_rates(folder: Path) -> dict[str, Found]:
    """The networks whose rates have been found, in the folder of a grid's page.

    Raises:
        UserError: the file is damaged.
    """
    file = rates_file(folder)
    again = "delete the file, and run steps/run_grid.sh --find-rates again"
    found = config.read_json(file, again) if file.is_file() else {}
    try:
        rates = {name: Found(**values) for name, values in found.items()}
        if all(isinstance(f.rate, float) and f.rate > 0 for f in rates.values()):
            return rates
    except TypeError:
        pass
    raise UserError("it is not a file of learning rates", file=file, hint=again)


def settings(run: Run) -> dict:
    """What the rate of a run's network depends on, except the contents of its data, as JSON values."""
    options = {k: v for k, v in result_settings(run.config).items() if k not in _NOT_OF_TRIALS}
    return json.loads(json.dumps({"options": options, "data": run.data_options, "processes": run.processes}))


def rate_command(run: Run, out: Path) -> list[str]:
    """The command of the range test of a run's network, with its configuration in the folder ``out``."""
    return ["steps/find_rate.sh", *run.data_options, "--out", str(out), "--config", str(out / "lstmp.yaml"),
            "--threads", "1"]


def find_rates(grid: Grid, names: list[str], nj: int):
    """Find the learning rates of networks, and add them to the file of the grid; ``nj`` networks at a time.

    Raises:
        UserError: a test or a training failed; the rates of the others were written.
    """
    errors: list[Exception] = []
    with ThreadPoolExecutor(max(1, nj // max(grid.networks[name].processes for name in names))) as pool:
        jobs = {pool.submit(_find, grid, name): name for name in names}
        for job in as_completed(jobs):
            name = jobs[job]
            try:
                found = job.result()
            except Exception as e:  # such as a full disk: the others go on
                errors.append(e)
                continue
            say(f"{name}: the largest stable rate is {found.largest_stable:.2g}, the best after an epoch "
                f"{found.rate:.2g}")
            known = read_rates(grid.page.parent) | {name: found}  # read again: others may search beside this process
            values = {n: asdict(f) for n, f in known.items()}
            config.write_text(rates_file(grid.page.parent), json.dumps(values, indent=1) + "\n")
    if errors:
        raise UserError(f"no rates for {len(errors)} of {len(names)} networks; {errors[0]}")


def _find(grid: Grid, name: str) -> Found:
    run, out = grid.first_run(name), grid.exp / "rates" / name
    config.write_text(out / "lstmp.yaml", yaml.safe_dump(config.to_dict(run.config), sort_keys=False))
    if error := _call(rate_command(run, out)):
        raise _not_found(name, out, error)
    test = RangeTest.read(out / "rates.tsv")
    rate, best, losses = _rounded(test.largest_stable * grid.rates), math.inf, dict[str, float | None]()
    for _ in range(_MOST_TRIALS):
        loss = _loss_after_an_epoch(run, out / f"{rate:g}", rate, name)
        say(f"{name}: " + (f"the held-out loss after an epoch at a rate of {rate:g} is {loss:.3f}"
                           if math.isfinite(loss) else f"training diverges at a rate of {rate:g}"))
        losses[f"{rate:g}"] = loss if math.isfinite(loss) else None
        if loss >= best and best < test.smooth.min():
            break
        best, rate = min(best, loss), _rounded(rate / 2)
    if not math.isfinite(best):
        raise _not_found(name, out, f"training diverges at {', '.join(losses)}")
    tried = {rate: loss for rate, loss in losses.items() if loss is not None}
    return Found(float(min(tried, key=tried.__getitem__)), losses, _rounded(test.largest_stable), settings(run))


def _loss_after_an_epoch(run: Run, out: Path, rate: float, name: str) -> float:
    """The held-out loss after an epoch at a constant rate; infinite if training diverges."""
    cfg = replace(run.config, epochs=1, decay="plateau", average_last=0, divergence_retries=0, lr_initial=rate,
                  lr_final=min(rate, run.config.lr_final))
    trial = replace(run, config=cfg, folder=out)
    config.write_text(trial.conf / "lstmp.yaml", yaml.safe_dump(config.to_dict(cfg), sort_keys=False))
    if error := _call(trial.train_command()):
        if "training diverges" in error:
            return math.inf
        raise _not_found(name, out, error)
    loss = json.loads((out / "train.json").read_text())["loss_valid"]
    return loss if math.isfinite(loss) else math.inf


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def _call(step: list[str]) -> str:
    """Run a step; returns the last line of its errors, or "" if it has succeeded."""
    done = subprocess.run(step, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    return (done.stderr.strip().splitlines() or ["it was killed"])[-1] if done.returncode else ""


def _not_found(name: str, out: Path, why: str) -> UserError:
    return UserError(f"no rate found for {name}: {why}", file=out, hint="give the network an `lr_initial`")
