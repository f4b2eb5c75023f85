"""The cost of an epoch of each network of a grid, by a clock that counts updates."""

import json
from dataclasses import replace
from itertools import count

import pytest
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.experiment import costs, page, run
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


def test_minutes_of_a_grid_are_epochs_times_costs(toy_grid, python_steps, clock, capsys):
    file = toy_grid.write(clock="side_by_side", levels=[1])
    run.main([str(file), "--only", "small", "--nj", "2"])
    assert "measuring the costs of 1 networks" in capsys.readouterr().out
    run.main([str(file), "--only", "large", "--nj", "2"])
    assert "measuring the costs of 2 networks" in capsys.readouterr().out
    run.main([str(file), "--only", "small", "large"])
    assert "measuring" not in capsys.readouterr().out
    grid, source = load(file), load(file).sources["tied"]
    minutes = costs.num_frames(source.train, source.valid) / 28 / 60
    assert costs.read_costs(grid) == pytest.approx({"small": minutes, "large": minutes}, rel=1e-3)
    page.main([str(file)])
    made = json.loads((toy_grid.path / "page/results.json").read_text())
    for network in made["networks"]:
        assert network["minutes"] == pytest.approx(2 * [2 * minutes], rel=1e-3)
        assert network["seconds"] == [pytest.approx([60 * minutes] * 2, rel=1e-3)] * 2
    assert "epochs times the processor time of one" in (toy_grid.path / "page/README.md").read_text()


def test_without_a_cost_or_with_a_damaged_file_there_is_no_page(toy_grid, python_steps, clock, capsys):
    file = toy_grid.write(clock="side_by_side", seeds=[1])
    run.main([str(file), "--only", "small", "--nj", "1"])
    costs_json = toy_grid.path / "page/costs.json"
    known = json.loads(costs_json.read_text())
    costs_json.write_text(json.dumps({"networks": {"small": {**known["networks"]["small"], "settings": "others"}}}))
    with pytest.raises(SystemExit):
        page.main([str(file)])
    assert f"{costs_json}: the cost of small with its present settings is not known; run" in capsys.readouterr().err
    costs_json.write_text('{"networks": {"small": 3}}')
    with pytest.raises(UserError, match="it is not a file of costs; delete it"):
        costs.read_costs(load(file))
