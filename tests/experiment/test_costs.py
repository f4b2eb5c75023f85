"""The cost of an epoch of each network of a grid, by a clock that counts updates."""

import json
from dataclasses import replace
from itertools import count

import pytest
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.experiment import costs, page, records, run
from lstmp.experiment.grid_file import load
from lstmp.nnet.config import LstmpConfig
from lstmp.paths import ROOT


@pytest.fixture
def clock(monkeypatch):
    """Every update takes a second."""
    seconds = count(0.0)
    monkeypatch.setattr(costs.time, "process_time", lambda: next(seconds))
    monkeypatch.setattr(costs, "_TURN", 0.0)


@pytest.mark.parametrize("keys, streams, seconds", [
    ({"chunk": 7, "streams": 4}, None, 1 / 28),
    ({"chunk": 7, "streams": 4}, 2, 1 / 14),
    ({"chunk": 7, "streams": 4, "subsampling": 3}, None, 1 / 84),
    ({"chunk": 7, "streams": 4, "subsampling": 3, "criterion": "lfmmi"}, None, (1 / 28 + 40e-6) / 3),
    ({"chunk": 0, "streams": 2, "kind": "dnn", "activation": "relu", "recurrent_projection": 0}, None, 1 / 1000)])
def test_the_cost_is_that_of_a_frame_and_the_weights_stay(clock, keys, streams, seconds):
    cfg = replace(config.load(ROOT / "conf/lstmp.yaml", LstmpConfig), cells=8, **{"recurrent_projection": 4, **keys})
    workload = costs.Workload(cfg, 5, 9, streams)
    before = [p.clone() for p in workload.model.parameters()]
    assert workload.seconds(0.0, fewest=2) == pytest.approx(seconds)
    assert all(map(torch.equal, before, workload.model.parameters()))
    assert all(p.grad.abs().sum() > 0 for p in workload.model.parameters() if p.dim() == 2)


class Slow:
    """Takes ``seconds`` per frame, times the factor of the round."""

    def __init__(self, seconds: float):
        self.cost, self.factors = seconds, iter([100, 1, 5, 1, 1, 9])

    def seconds(self, enough, fewest=1):
        return self.cost * next(self.factors)


def test_times_when_the_machine_is_slow_count_for_all():
    assert costs._side_by_side({"a": Slow(1.0), "b": Slow(3.0)}, 5) == pytest.approx({"a": 1.0, "b": 3.0})


def test_minutes_of_a_grid_are_epochs_times_costs(toy_grid, python_steps, clock, capsys):
    networks = {"small": {}, "large": {"cells": 16, "chunk": 5}, "pair": {"processes": 2}}
    file = toy_grid.write(clock="side_by_side", levels=[1], networks=networks)
    run.main([str(file), "--only", "small", "--nj", "2"])
    assert "measuring the costs of 1 networks" in capsys.readouterr().out
    run.main([str(file), "--only", "large", "--nj", "2"])
    assert "measuring the costs of 2 networks" in capsys.readouterr().out
    run.main([str(file), "--only", "small", "large"])
    assert "measuring" not in capsys.readouterr().out
    grid = load(file)
    for seed in (1, 2):  # as if it had been trained
        of_small = json.loads(records.path(grid, grid.run("small", seed)).read_text())
        pair = grid.run("pair", seed)
        records.path(grid, pair).write_text(json.dumps({**of_small, "settings": records.settings(grid, pair)}))
    costs.measure_costs(grid)
    source = grid.sources["tied"]
    minutes = costs.num_frames(source.train, source.valid) / 60
    wanted = {"small": minutes / 28, "large": minutes / 20, "pair": minutes / 14}
    assert costs.read_costs(grid, records.finished(grid)) == pytest.approx(wanted, rel=1e-3)
    page.main([str(file)])
    made = json.loads((toy_grid.path / "page/results.json").read_text())
    for network in made["networks"]:
        cost = wanted[network["network"]]
        assert network["minutes"] == pytest.approx(2 * [2 * cost], rel=1e-3)
        assert network["seconds"] == [pytest.approx([60 * cost] * 2, rel=1e-3)] * 2
    text = (toy_grid.path / "page/README.md").read_text()
    assert "core minutes: modelled, for comparison, as epochs times" in text and "([costs.json](costs.json))" in text


def test_costs_of_another_grid_count_and_set_the_scale(toy_grid, python_steps, clock):
    networks = {"small": {}, "large": {"cells": 16, "chunk": 5}}
    file = toy_grid.write(clock="side_by_side", seeds=[1], networks=networks, claims=[])
    run.main([str(file), "--nj", "2"])
    (toy_grid.path / "page").rename(toy_grid.path / "other")
    (toy_grid.path / "other/grid.yaml").write_text(file.read_text().replace("/page/", "/other/"))
    of_other = toy_grid.path / "other/costs.json"
    found = json.loads(of_other.read_text())
    del found["networks"]["large"]
    found["networks"]["small"]["minutes"] *= 3  # as if measured on a slower machine
    of_other.write_text(json.dumps(found))
    (toy_grid.path / "page").mkdir()
    grid = load(toy_grid.write(clock="side_by_side", seeds=[1], networks=networks, claims=[],
                               shares=str(toy_grid.path / "other")))
    costs.measure_costs(grid)
    assert json.loads((toy_grid.path / "page/costs.json").read_text())["networks"].keys() == {"large"}
    minutes = costs.num_frames(grid.sources["tied"].train, grid.sources["tied"].valid) / 60
    wanted = {"small": 3 * minutes / 28, "large": 3 * minutes / 20}
    assert costs.read_costs(grid, records.finished(grid)) == pytest.approx(wanted, rel=1e-3)
    found["networks"]["small"]["minutes"] *= 2  # measured again: the costs of both pages stay comparable
    of_other.write_text(json.dumps(found))
    twice = {name: 2 * cost for name, cost in wanted.items()}
    assert costs.read_costs(grid, records.finished(grid)) == pytest.approx(twice, rel=1e-3)
    page.main([str(file)])
    text = (toy_grid.path / "page/README.md").read_text()
    assert "([costs.json](costs.json), [../other/costs.json](../other/costs.json))" in text


def test_the_networks_that_are_done_are_measured_if_others_fail(toy_grid, python_steps, clock, capsys):
    diverging = {"optimizer": "sgd", "lr_initial": 1.0e+30, "divergence_retries": 0, "grad_clip": 0.0}
    networks = {"good": {}, "bad": diverging}
    file = toy_grid.write(clock="side_by_side", seeds=[1], networks=networks, claims=[])
    with pytest.raises(SystemExit):
        run.main([str(file), "--nj", "1"])
    assert "1 of 2 runs failed" in capsys.readouterr().err
    assert costs.read_costs(load(file), records.finished(load(file))).keys() == {"good"}


def test_a_damaged_file_is_an_error(toy_grid):
    grid = load(toy_grid.write(clock="side_by_side"))
    file = toy_grid.path / "page/costs.json"
    for content in ('{"networks": {"small": 3}}', "{}"):
        config.write_text(file, content)
        with pytest.raises(UserError, match="it is not a file of costs; delete it"):
            costs.read_costs(grid, {})
