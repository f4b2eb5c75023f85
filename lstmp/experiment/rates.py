"""The learning rates of a grid's networks.

The largest stable rate is found by a range test (:mod:`lstmp.nnet.find_rate`). It comes from some hundred batches, and
deep networks may not stand it for long. So each network is then trained for an epoch at a share of that rate, which is
halved as long as the held-out loss falls. The best of these rates are kept with their losses in ``rates.json`` beside
the page of the grid, and published with it.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from lstmp import config
from lstmp.errors import UserError
from lstmp.experiment.plan import Grid, Run
from lstmp.log import say
from lstmp.nnet.find_rate import RangeTest


@dataclass(frozen=True)
class Found:
    """How the rate of a network was found.

    Attributes:
        rate: the best of the rates that were tried.
        held_out_losses: rate → loss after an epoch at this rate, in the order in which they were tried.
        largest_stable: by the range test.
    """

    rate: float
    held_out_losses: dict
    largest_stable: float


def rates_file(page: Path) -> Path:
    """The file of the learning rates, beside the page of a grid."""
    return page.parent / "rates.json"


def read_rates(page: Path) -> dict[str, Found]:
    """The networks of which the rates have been found.

    Raises:
        UserError: the file is damaged.
    """
    file = rates_file(page)
    found = config.read_json(file, "run steps/run_grid.sh --find-rates again") if file.is_file() else {}
    return {name: config.build(config.group(values, name, file=file), Found, file=file, prefix=f"{name}.")
            for name, values in found.items()}


def rate_command(run: Run, out: Path) -> list[str]:
    """The command of the range test of a run's network, with its configuration in the folder ``out``."""
    return ["steps/find_rate.sh", *_data(run), "--out", str(out), "--config", str(out / "lstmp.yaml"), "--threads", "1"]


def trial_command(run: Run, out: Path) -> list[str]:
    """The command that trains a run's network, with the configuration beside the folder ``out``."""
    return ["steps/train_lstmp.sh", *_data(run), "--out", str(out), "--config", f"{out}.yaml", "--threads", "1",
            "--nj", str(run.processes), *(["--online-fmllr", run.online_fmllr] if run.online_fmllr else [])]


def _data(run: Run) -> list[str]:
    return ["--train", run.source.train, "--ali", run.source.ali, "--valid", run.source.valid,
            *(["--ivectors", run.ivectors] if run.ivectors else [])]


def find_rates(grid: Grid, names: list[str], nj: int):
    """Find the learning rates of networks, and add them to the file of the grid; ``nj`` networks at a time.

    Raises:
        UserError: a test or a training failed; the rates of the others were written.
    """
    rates = read_rates(grid.page)
    errors: list[UserError] = []
    with ThreadPoolExecutor(nj) as pool:
        jobs = {pool.submit(_find, grid, name): name for name in names}
        for job in as_completed(jobs):
            name = jobs[job]
            try:
                rates[name] = found = job.result()
            except UserError as e:
                errors.append(e)
                continue
            say(f"{name}: the largest stable rate is {found.largest_stable:.2g}, the best after an epoch "
                f"{found.rate:.2g}")
            values = {n: asdict(f) for n, f in rates.items()}
            config.write_text(rates_file(grid.page), json.dumps(values, indent=1) + "\n")
    if errors:
        raise errors[0]


def _find(grid: Grid, name: str) -> Found:
    run, out = grid.run(name, grid.networks[name].seeds[0]), grid.exp / "rates" / name
    config.write_text(out / "lstmp.yaml", yaml.safe_dump(config.to_dict(run.config), sort_keys=False))
    _call(rate_command(run, out), name)
    stable = RangeTest.read(out / "rates.tsv").largest_stable
    losses: dict[str, float] = {}
    rates = [_rounded(stable * grid.rates)]
    while len(losses) < len(rates):
        rate, trial = rates[-1], out / f"{rates[-1]:g}"
        cfg = replace(run.config, epochs=1, decay="plateau", average_last=0, lr_initial=rate,
                      lr_final=min(rate, run.config.lr_final))
        config.write_text(Path(f"{trial}.yaml"), yaml.safe_dump(config.to_dict(cfg), sort_keys=False))
        _call(trial_command(run, trial), name)
        losses[f"{rate:g}"] = json.loads((trial / "train.json").read_text())["loss_valid"]
        if losses[f"{rate:g}"] == min(losses.values()):
            rates.append(_rounded(rate / 2))
    return Found(float(min(losses, key=losses.__getitem__)), losses, _rounded(stable))


def _rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def _call(step: list[str], name: str):
    done = subprocess.run(step, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise UserError(f"no rate found for {name}: {' '.join(done.stderr.strip().splitlines()[-1:])}",
                        file=step[step.index("--out") + 1], hint="give the network an `lr_initial`")
