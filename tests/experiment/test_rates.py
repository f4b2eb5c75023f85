"""Grids whose learning rates are found by range tests and trials."""

import copy
import json
from itertools import pairwise

import pytest

from lstmp.errors import UserError
from lstmp.experiment import run
from lstmp.experiment.grid_file import load
from lstmp.nnet.find_rate import RangeTest

COMMON = {"feature": {"cmvn": "none"}, "lr_initial": 0.02, "lr_final": 0.01, "cells": 8, "recurrent_projection": 4,
          "label_delay": 2, "chunk": 7, "streams": 4, "epochs": 1, "dropout": 0.0, "freq_masks": 0, "average_last": 0}
NETWORKS = {"small": {}, "large": {"cells": 16}, "fixed": {"lr_initial": 0.03, "lr_final": 0.02}}


@pytest.fixture
def file(toy_grid):
    return toy_grid.write(common=COMMON, networks=NETWORKS, seeds=[1], claims=[], rates=0.5)


def test_rates_are_found_once_and_used_in_part(toy_grid, file, python_steps, capsys):
    grid = load(file)
    assert grid.without_rate == ["small", "large"]
    run.main([str(file), "--find-rates", "--nj", "2"])
    output = capsys.readouterr().out
    assert "small: the largest stable rate is" in output and "3 of 3" in output and "fixed: the" not in output
    rates = json.loads((toy_grid.path / "page/rates.json").read_text())
    assert rates.keys() == {"small", "large"}
    unused = {"rate": 0.001, "held_out_losses": {"0.001": 2.0}, "largest_stable": 0.002}
    (toy_grid.path / "page/rates.json").write_text(json.dumps({**rates, "fixed": unused}))
    for name, found in rates.items():
        stable = RangeTest.read(toy_grid.path / "exp/rates" / name / "rates.tsv").largest_stable
        assert found["largest_stable"] == pytest.approx(stable, rel=0.05) and 1e-5 <= stable <= 1
        tried, losses = [float(rate) for rate in found["held_out_losses"]], list(found["held_out_losses"].values())
        assert len(tried) > 1 and tried[0] == pytest.approx(stable / 2, rel=0.05)
        assert all(later == pytest.approx(rate / 2, rel=0.05) for rate, later in pairwise(tried))
        assert all(later < loss for loss, later in pairwise(losses[:-1])) and losses[-1] >= min(losses[:-1])
        assert found["rate"] == tried[-2]
        trial = json.loads((toy_grid.path / f"exp/rates/{name}/{tried[-1]:g}/train.json").read_text())
        assert trial["loss_valid"] == losses[-1] and trial["config"]["lr_initial"] == tried[-1]
    grid = load(file)
    assert not grid.without_rate
    for name, network in grid.networks.items():
        wanted = 0.03 if name == "fixed" else rates[name]["rate"]
        assert network.config.lr_initial == wanted
        assert network.config.lr_final == pytest.approx(0.02 if name == "fixed" else wanted / 2)
        trained = json.loads((toy_grid.path / f"exp/{name}/seed1/train.json").read_text())
        assert trained["config"]["lr_initial"] == network.config.lr_initial
    run.main([str(file), "--find-rates", "--nj", "2"])
    output = capsys.readouterr().out
    assert "3 done before" in output and "largest stable" not in output


def test_without_its_rate_a_network_is_not_trained(file, capsys):
    with pytest.raises(SystemExit):
        run.main([str(file), "--nj", "1"])
    error = capsys.readouterr().err
    assert "rates.json: the learning rate of small is not known; find it with --find-rates" in error
    run.main([str(file), "--dry-run", "--find-rates"])
    assert "3 runs to do" in (output := capsys.readouterr().out) and "largest stable" not in output


def test_a_failed_test_and_a_damaged_file_are_errors(toy_grid, file, python_steps, capsys):
    sources = {"tied": {**toy_grid.values["sources"]["tied"], "ali": str(toy_grid.path / "nothing")}}
    toy_grid.write(common=COMMON, networks=NETWORKS, seeds=[1], claims=[], rates=0.5, sources=sources)
    with pytest.raises(SystemExit):
        run.main([str(file), "--find-rates", "--nj", "1"])
    assert "no rate found for small" in capsys.readouterr().err
    sources |= {"good": copy.deepcopy(toy_grid.values["sources"]["tied"])}
    networks = {**NETWORKS, "large": {"source": "good"}}
    toy_grid.write(common=COMMON, networks=networks, seeds=[1], claims=[], rates=0.5, sources=sources)
    with pytest.raises(SystemExit):
        run.main([str(file), "--find-rates", "--nj", "1"])
    assert json.loads((toy_grid.path / "page/rates.json").read_text()).keys() == {"large"}  # which was found
    capsys.readouterr()
    (toy_grid.path / "page").mkdir(exist_ok=True)
    (toy_grid.path / "page/rates.json").write_text('{"small": "fast"}')
    with pytest.raises(UserError, match="`small` must be a group"):
        load(file)
