"""How long the steps of a run will take: the plans of the recipes, the sizes of data dirs, the calls in the logs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from lstmp import expected, past_calls, run_plan

CALL = """==== 2026-01-02 03:04:05 +0000
command: python -m lstmp.{module} --kind mfcc {arguments}
of: ./run.sh
03:04:06 {said}
==== exit status {status} after {seconds} s
used: {{"seconds": 1}}

"""


def dry_run(*options: str) -> str:
    return subprocess.run([ROOT / "run.sh", "--dry-run", *options], capture_output=True, text=True, check=True,
                          env={**os.environ, "LSTMP_PYTHON": sys.executable}).stdout


def with_times(tmp_path, **hours: float) -> None:
    for name, value in hours.items():
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "utt2dur").write_text(f"a {1800 * value}\nb {1800 * value}\n")


def test_every_step_of_tiny_has_a_time_before_there_is_any_data(tmp_path):
    stages, steps = run_plan.read_plan(dry_run("--data", str(tmp_path / "data"), "--exp", str(tmp_path / "exp")))
    assert [s["stage"] for s in stages] == list(range(1, 12)) and len(steps) > 25
    commands = [s["command"] for s in steps]
    sizes = expected.Sizes(commands, {})
    assert sizes(str(tmp_path / "data/train_fbank")) == pytest.approx(700 * 2.8 / 3600)
    missing = [c for c in commands if Path(c[0]).stem == "train_lstmp"]  # its configuration is not written yet
    times = [expected.seconds(c, sizes, 2) for c in commands if c not in missing]
    assert len(missing) == 1 and all(t and 1 <= t < 60 for t in times)


def test_speech_that_a_run_makes_is_counted(tmp_path):
    with_times(tmp_path, train=3.0, dev=1.0)
    plan = f"""== stage 1: x
  steps/make_fbank.sh --out {tmp_path}/train_fbank {tmp_path}/train
  steps/perturb_data_dir.sh {tmp_path}/train {tmp_path}/copies --speeds 0.5 1 2 --mp3 0 --nj 2
  steps/make_fmllr.sh --data {tmp_path}/copies --out {tmp_path}/adapted
  steps/subset_data_dir.sh {tmp_path}/train {tmp_path}/held --held-out 0.1
  local/validate_data_dir.sh --nj 2 {tmp_path}/train {tmp_path}/dev
"""
    commands = [s["command"] for s in run_plan.read_plan(plan)[1]]
    read: dict[str, list[float]] = {}
    sizes = expected.Sizes(commands, read)
    found = {name: sizes(f"{tmp_path}/{name}") for name in ("train_fbank", "copies", "adapted", "held", "none")}
    assert found == {"train_fbank": 3.0, "copies": 10.5, "adapted": 10.5, "held": pytest.approx(0.3), "none": None}
    assert sizes.of(commands[-1]) == 4.0 and read[f"{tmp_path}/train"][1] == 3.0
    one, two = (expected.seconds(["steps/make_mfcc.sh", f"{tmp_path}/train"], sizes, nj) for nj in (1, 2))
    assert one - two == pytest.approx(two - (1 + expected.START))


def test_without_data_the_time_is_not_known(tmp_path):
    command = ["steps/make_mfcc.sh", str(tmp_path)]
    assert expected.seconds(command, expected.Sizes([command], {}), 2) is None


def test_training_takes_longer_with_more_epochs_and_states(tmp_path):
    with_times(tmp_path, train=1.0)
    text = (ROOT / "conf/lstmp.yaml").read_text()
    (tmp_path / "num_pdfs").write_text("1000")
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text(text.replace("epochs: 12", "epochs: 24"))

    def seconds(name):
        command = ["steps/train_lstmp.sh", "--train", f"{tmp_path}/train", "--ali", str(tmp_path), "--config",
                   f"{tmp_path}/{name}.yaml", "--device", "cpu"]
        return expected.seconds(command, expected.Sizes([command], {}), 2)
    few = seconds("a")
    assert seconds("b") == pytest.approx(2 * few, rel=0.1)
    (tmp_path / "num_pdfs").write_text("9000")
    assert seconds("a") > 1.3 * few


def test_calls_are_read_from_the_logs(tmp_path):
    done = "data/one: feats is done, inputs and configuration unchanged\nreport: a/index.html"
    (tmp_path / "4-extract.log").write_text(
        "".join([CALL.format(module="x", arguments="'data/a b'", said="==== what a step says", status=0, seconds="7.5"),
                 CALL.format(module="x", arguments="'data/a b'", said=done, status=0, seconds="8.1"),
                 CALL.format(module="x", arguments="data/c", said="no", status=1, seconds="9.0"),
                 "==== 2026-01-02 03:04:05 +0000\ncommand: python -m lstmp.killed data/c\n"]))
    (tmp_path / "progress.log").write_text("2026 stage 1\n")
    calls = past_calls.calls(tmp_path)
    assert [(c.command[-1], c.status, c.seconds, c.skipped) for c in calls] == [
        ("data/a b", 0, 7.5, False), ("data/a b", 0, 8.1, True), ("data/c", 1, 9.0, False)]
    worked, last = expected.last_call(["steps/make_mfcc.sh", "data/a b"], calls)
    assert worked is calls[0] and last is calls[1]
    assert expected.last_call(["steps/make_mfcc.sh", "data/d"], calls) == (None, None)
    assert expected.last_call(["steps/make_mfcc.sh", "data/c"], calls) == (None, calls[2])


@pytest.mark.parametrize("word", [
    "plain", "", "a b", "it's", "$'x'", "a\n\tb", "it's\n\\n \"'", "\x01\x1b7", "é ż\n'日本'", "\r"])
def test_words_are_read_as_bash_prints_them(word):
    printed = subprocess.run(["bash", "-c", "printf ' %q' step \"$1\" end", "-", word], capture_output=True, check=True,
                             env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout.decode()
    assert run_plan.words(printed) == ["step", word, "end"]
