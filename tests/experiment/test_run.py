"""A small grid from its file to its page, with the scripts of the steps."""

import fcntl
import json
import os
import re
import subprocess

import pytest
import yaml

from lstmp.experiment import page, run
from lstmp.experiment.grid_file import load
from lstmp.features.load import archives
from lstmp.paths import ROOT


def grid_run(file, *options):
    run.main([str(file), *options])


def test_a_grid_is_run_once_and_gets_its_page(toy_grid, python_steps, capsys):
    file = toy_grid.write()
    grid_run(file, "--nj", "2")
    output = capsys.readouterr().out
    assert "5 runs, 0 done before" in output and "5 of 5" in output and "core hours" in output
    grid_run(file)
    assert "5 runs, 5 done before" in capsys.readouterr().out
    page.main([str(file)])
    text = (toy_grid.path / "page/README.md").read_text()
    assert "5 of 5 runs of the grid are done" in text and "A trial." in text
    assert re.search(r"^\| large \| LSTMP r \| 16 \| 4 \| 2 \| 2 \| 5 \| 0\.00M \| 0\.02 \| 2 \|", text, re.M)
    assert re.search(r"^\| 2 \| It flies\. \| \*\*not tested\*\* \|", text, re.M) and "it has no wings" in text
    assert (toy_grid.path / "page/learning.png").stat().st_size > 1000
    made = json.loads((toy_grid.path / "page/results.json").read_text())
    assert [len(n["seeds"]) for n in made["networks"]] == [2, 2, 1]
    seeds = made["networks"][0]["accuracy_valid"]
    record = json.loads((toy_grid.path / "exp/small/seed2/train.json").read_text())
    assert seeds[1] == pytest.approx(100 * record["frame_accuracy_valid"])
    assert made["claims"][0]["comparisons"][0]["difference"] == pytest.approx(
        sum(made["networks"][1]["accuracy_valid"]) / 2 - sum(seeds) / 2)


def test_networks_can_be_run_by_name_and_run_again_after_a_change(toy_grid, python_steps, capsys):
    grid_run(toy_grid.write(), "--only", "once")
    assert sorted(p.name for p in (toy_grid.path / "exp").iterdir()) == ["once"]
    page.main([str(toy_grid.file)])
    assert "1 of 5 runs" in (toy_grid.path / "page/README.md").read_text()
    assert "not yet run: large, small" in (toy_grid.path / "page/README.md").read_text()
    networks = {**toy_grid.values["networks"], "once": {"layers": 1, "seeds": [3], "cells": 9}}
    capsys.readouterr()
    grid_run(toy_grid.write(networks=networks), "--only", "once")
    assert "1 runs, 0 done before" in capsys.readouterr().out
    once = toy_grid.path / "exp/once"
    assert json.loads((once / "seed3/train.json").read_text())["config"]["cells"] == 9
    # training has moved the earlier network away, and removed it at its end
    assert sorted(p.name for p in once.iterdir()) == ["seed3", "seed3.conf", "seed3.log"]
    assert yaml.safe_load((once / "seed3.conf/lstmp.yaml").read_text())["cells"] == 9
    assert "epoch 2/2" in (once / "seed3.log").read_text()


def test_with_alike_records_of_data_from_another_machine_count(toy_grid, python_steps, capsys):
    grid_run(toy_grid.write(), "--only", "once")
    feats = archives(toy_grid.values["sources"]["tied"]["train"])[0]
    data = bytearray(feats.read_bytes())
    data[-4] ^= 1  # the last bit of the last number
    feats.write_bytes(data)
    capsys.readouterr()
    grid_run(toy_grid.file, "--only", "once", "--dry-run")
    output = capsys.readouterr().out
    assert "1 runs, 0 done before" in output and "--alike counts them as done" in output
    grid_run(toy_grid.file, "--only", "once", "--alike")
    assert "1 runs, 1 done before" in capsys.readouterr().out


def test_a_dry_run_only_prints_the_expected_time(toy_grid, capsys):
    grid_run(toy_grid.write(), "--dry-run")
    output = capsys.readouterr().out
    weights = sum(4 * 8 * 4 + 4 * inputs * 8 + 3 * 8 + 8 * 4 for inputs in (6, 4)) + 4 * 5  # the papers' formula
    assert f"small: {weights} parameters, 2 x" in output and "5 runs to do" in output
    assert not (toy_grid.path / "exp").exists()


def test_a_failed_run_is_named_and_the_others_are_done(toy_grid, python_steps, capsys):
    networks = {"good": {}, "bad": {"optimizer": "sgd", "lr_initial": 1.0e+30, "divergence_retries": 0,
                                    "grad_clip": 0.0}}
    with pytest.raises(SystemExit):
        grid_run(toy_grid.write(networks=networks, seeds=[1], claims=[]))
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of 2 runs failed" in error and "bad/seed1" in error and "diverges" in error
    assert load(toy_grid.file).networks.keys() == networks.keys()
    assert (toy_grid.path / "exp/good/seed1/train.json").is_file()


def test_a_run_of_another_process_is_left_alone(toy_grid, python_steps, capsys):
    conf = load(toy_grid.write(networks={"good": {}}, seeds=[1], claims=[])).runs()[0].conf
    conf.mkdir(parents=True)
    (conf / "lstmp.yaml").write_text("of the other one")
    with open(conf / ".lock", "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SystemExit):
            grid_run(toy_grid.file)
    assert "is at work" in capsys.readouterr().err and (conf / "lstmp.yaml").read_text() == "of the other one"
    grid_run(toy_grid.file)
    assert "1 runs, 0 done before" in capsys.readouterr().out and "cells" in (conf / "lstmp.yaml").read_text()


def test_without_any_run_there_is_no_page(toy_grid, capsys):
    with pytest.raises(SystemExit):
        page.main([str(toy_grid.write())])
    assert "no network of the grid is done" in capsys.readouterr().err


@pytest.mark.parametrize("script", ["run_grid", "make_grid_page", "tie_states"])
def test_the_scripts_have_help(script):
    if not (ROOT / ".venv").is_dir():
        pytest.skip("no .venv here")
    output = subprocess.run([ROOT / "steps" / f"{script}.sh", "--help"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert output.returncode == 0 and "usage:" in output.stdout


def test_the_commands_of_a_run_decode_and_score_every_set(toy_grid):
    source = {**toy_grid.values["sources"]["tied"], "decode": {"dev": "d", "test": "t"}}
    grid = load(toy_grid.write(sets=["dev", "test"], sources={"tied": source}))
    one = grid.runs()[0]
    train, *decodes, score = run.commands(grid, one)
    assert train[0] == "steps/train_lstmp.sh" and [c[0] for c in decodes] == 2 * ["steps/decode.sh"]
    assert score[score.index("--dev") + 1].endswith("small/seed1/decode_dev")
    assert score[score.index("--test") + 1].endswith("small/seed1/decode_test")
