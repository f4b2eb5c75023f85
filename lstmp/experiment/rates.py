"""The largest stable learning rates of a grid's networks, found by range tests (:mod:`lstmp.nnet.find_rate`).

They are kept in ``rates.json`` beside the page of the grid, and published with it.
"""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import yaml

from lstmp import config
from lstmp.errors import UserError
from lstmp.experiment.plan import Grid, Run
from lstmp.log import say
from lstmp.nnet.find_rate import RangeTest


def rates_file(page: Path) -> Path:
    """The file of the largest stable rates, beside the page of a grid."""
    return page.parent / "rates.json"


def read_rates(page: Path) -> dict[str, float]:
    """Network → its largest stable rate; those that have been found.

    Raises:
        UserError: the file is damaged.
    """
    file = rates_file(page)
    found = config.read_json(file, "run steps/run_grid.sh --find-rates again") if file.is_file() else {}
    return {name: config.coerce(rate, float, name, file=file) for name, rate in found.items()}


def rate_command(run: Run, out: Path) -> list[str]:
    """The command that tests the rates of a run's network, with its configuration in the folder ``out``."""
    return ["steps/find_rate.sh", "--train", run.source.train, "--ali", run.source.ali, "--valid", run.source.valid,
            "--out", str(out), "--config", str(out / "lstmp.yaml"), "--threads", "1",
            *(["--ivectors", run.ivectors] if run.ivectors else [])]


def find_rates(grid: Grid, names: list[str], nj: int):
    """Find the largest stable learning rates of networks (steps/find_rate.sh), and add them to the file of the grid.

    Raises:
        UserError: a test failed; the rates of the others were written.
    """
    rates = read_rates(grid.page)

    def one(name: str) -> tuple[str, float]:
        run, out = grid.run(name, grid.networks[name].seeds[0]), grid.exp / "rates" / name
        config.write_text(out / "lstmp.yaml", yaml.safe_dump(config.to_dict(run.config), sort_keys=False))
        step = subprocess.run(rate_command(run, out), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})
        if step.returncode:
            raise UserError(f"no rate found for {name}: {' '.join(step.stderr.strip().splitlines()[-1:])}",
                            file=out, hint="give the network an `lr_initial`")
        return name, RangeTest.read(out / "rates.tsv").largest_stable

    errors: list[UserError] = []
    with ThreadPoolExecutor(nj) as pool:
        for job in as_completed([pool.submit(one, name) for name in names]):
            try:
                name, rate = job.result()
            except UserError as e:
                errors.append(e)
                continue
            say(f"{name}: the largest stable rate is {rate:.2g}")
            rates[name] = float(f"{rate:.3g}")
            config.write_text(rates_file(grid.page), json.dumps(rates, indent=1) + "\n")
    if errors:
        raise errors[0]
