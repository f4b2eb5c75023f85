"""Grids whose learning rates are found by range tests and trials."""

import copy
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.experiment import rates, run
from lstmp.experiment.grid_file import load
from lstmp.nnet.find_rate import RangeTest

COMMON = {"feature": {"cmvn": "none"}, "lr_initial": 0.02, "lr_final": 0.01, "cells": 8, "recurrent_projection": 4,
          "label_delay": 2, "chunk": 7, "streams": 4, "epochs": 1, "dropout": 0.0, "freq_masks": 0, "average_last": 0}
NETWORKS = {"small": {}, "large": {"cells": 16}, "fixed": {"lr_initial": 0.03, "lr_final": 0.02}}


@pytest.fixture
def file(toy_grid):
    return toy_grid.write(common=COMMON, networks=NETWORKS, seeds=[1], claims=[], rates=0.5)


def test_rates_are_found_once(toy_grid, file, python_steps, capsys):
    grid = load(file)
    assert grid.without_rate == ["small", "large"]
    run.main([str(file), "--find-rates", "--nj", "2"])
    output = capsys.readouterr().out
    assert "small: the largest stable rate is" in output and "3 of 3" in output and "fixed: the" not in output
    found_rates = json.loads((toy_grid.path / "page/rates.json").read_text())
    assert found_rates.keys() == {"small", "large"}
    unused = {"rate": 0.001, "held_out_losses": {"0.001": 2.0}, "largest_stable": 0.002}  # as of an earlier version
    (toy_grid.path / "page/rates.json").write_text(json.dumps({**found_rates, "fixed": unused}))
    for name, found in found_rates.items():
        stable = RangeTest.read(toy_grid.path / "exp/rates" / name / "rates.tsv").largest_stable
        assert found["largest_stable"] == pytest.approx(stable, rel=0.05) and 1e-5 <= stable <= 1
        tried, losses = [float(rate) for rate in found["held_out_losses"]], list(found["held_out_losses"].values())
        assert len(tried) > 1 and tried[0] == pytest.approx(stable / 2, rel=0.05)
        assert all(later == pytest.approx(rate / 2, rel=0.05) for rate, later in pairwise(tried))
        assert found["rate"] == tried[int(np.argmin(losses))] != tried[-1]
        trial = json.loads((toy_grid.path / f"exp/rates/{name}/{tried[-1]:g}/train.json").read_text())
        assert trial["loss_valid"] == losses[-1] and trial["config"]["lr_initial"] == tried[-1]
    grid = load(file)
    assert not grid.without_rate
    for name, network in grid.networks.items():
        wanted = 0.03 if name == "fixed" else found_rates[name]["rate"]
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
    unknown = "rates.json: the learning rate of small with its present options is not known"
    assert f"{unknown}; find it with --find-rates" in error
    run.main([str(file), "--dry-run", "--find-rates"])
    assert "3 runs to do" in (output := capsys.readouterr().out) and "largest stable" not in output


def test_the_rate_of_a_changed_network_is_found_again(toy_grid, file, trials):
    trials(3.0, 3.0)

    def unknown(common=COMMON, seeds=(1,), networks=NETWORKS):
        toy_grid.write(common=common, networks=networks, seeds=list(seeds), claims=[], rates=0.5)
        return load(file).without_rate

    later = {**COMMON, "epochs": 9, "decay": "plateau", "patience": 2, "average_last": 2, "lr_initial": 0.04}
    assert unknown(later, seeds=[3, 1]) == ["large"]
    assert unknown({**COMMON, "chunk": 8}) == ["small", "large"]
    assert unknown(networks={**NETWORKS, "small": {"label_delay": 3}}) == ["small", "large"]
    rates_json = toy_grid.path / "page/rates.json"
    rates_json.write_text(json.dumps({"small": {**json.loads(rates_json.read_text())["small"], "network": {}}}))
    assert unknown() == ["small", "large"]  # as from an earlier version


def test_rates_of_another_grid_count_where_its_networks_are_the_same(toy_grid, file, trials):
    trials(3.0, 3.0)
    (toy_grid.path / "page").rename(toy_grid.path / "other")
    (toy_grid.path / "other/grid.yaml").write_text(file.read_text().replace("/page/", "/other/"))
    values = {"common": COMMON, "networks": NETWORKS, "seeds": [1], "claims": [], "rates": 0.5}
    assert load(toy_grid.write(**values)).without_rate == ["small", "large"]
    values["shares"] = str(toy_grid.path / "other")
    grid = load(toy_grid.write(**values))
    assert grid.without_rate == ["large"]
    of_other = json.loads((toy_grid.path / "other/rates.json").read_text())["small"]
    assert grid.networks["small"].config.lr_initial == of_other["rate"]
    (toy_grid.path / "page").mkdir()
    own = {"small": {**of_other, "rate": 0.125}}
    (toy_grid.path / "page/rates.json").write_text(json.dumps(own))
    assert load(file).networks["small"].config.lr_initial == of_other["rate"]  # both train it in the same folder
    (toy_grid.path / "other/rates.json").write_text(json.dumps({"small": {**of_other, "network": {}}}))
    assert load(file).networks["small"].config.lr_initial == 0.125
    (toy_grid.path / "page/rates.json").write_text(json.dumps({"small": {**of_other, "network": {}}}))
    assert load(file).without_rate == ["small", "large"]
    assert load(file).networks["small"].config.lr_initial == COMMON["lr_initial"]


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
    with pytest.raises(UserError, match="not a file of learning rates; delete the file"):
        load(file)


@pytest.fixture
def trials(toy_grid, file, monkeypatch):
    """Finds the rate of `small` where the trials have given losses, or exceptions, in order; returns what was found."""
    def find(*given, lowest=4.0):
        given = list(given)
        test = RangeTest(np.array([0.01, 0.02]), np.array([5.0, 5.0]), np.array([5.0, lowest]))

        def call(step):
            out = Path(step[step.index("--out") + 1])
            if step[0] == "steps/find_rate.sh":
                test.write(out / "rates.tsv")
                return ""
            loss = given.pop(0)
            if isinstance(loss, str):
                return loss
            out.mkdir(parents=True)
            (out / "train.json").write_text(json.dumps({"loss_valid": loss}))
            return ""
        monkeypatch.setattr(rates, "_call", call)
        shutil.rmtree(toy_grid.path / "exp", ignore_errors=True)
        rates.find_rates(load(file), ["small"], 1)
        assert not given
        values = json.loads((toy_grid.path / "page/rates.json").read_text())["small"]
        return values["rate"], list(values["held_out_losses"].values())
    return find


def test_the_rate_is_halved_as_long_as_the_loss_falls(trials):
    assert trials(3.0, 2.5, 2.6) == (0.0025, [3.0, 2.5, 2.6])
    assert trials(3.0, 3.0) == (0.005, [3.0, 3.0])


def test_rates_at_which_a_network_learns_nothing_are_left_behind(trials):
    diverges = "error: training diverges, the loss is nan"
    assert trials(diverges, math.nan, 3.0, 3.1) == (0.0013, [None, None, 3.0, 3.1])
    assert trials(6.5, 6.6, 3.0, 3.1) == (0.0013, [6.5, 6.6, 3.0, 3.1])  # the range test had 4.0
    with pytest.raises(UserError, match="no rates for 1 of 1 networks; .*small: training diverges at"):
        trials(*[diverges] * 10)
    with pytest.raises(UserError, match="no rate found for small: error: the disk is full"):
        trials("error: the disk is full")

