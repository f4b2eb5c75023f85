"""The log of each step of run.sh."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEP = """
import sys
from lstmp.errors import UserError, command
from lstmp.log import progress, say, warn
from lstmp.parallel import run_jobs
import torch

def job(n):
    warn(f"worker {n}")
    return n

@command
def main(argv=None):
    say("at work")
    for _ in progress(range(3), "a bar"):
        pass
    run_jobs(job, [1, 2], 2, "jobs")
    print("printed")
    if "user" in sys.argv:
        raise UserError("what is wrong", file="some/file")
    if "bug" in sys.argv:
        raise ZeroDivisionError("a bug")

main()
"""


@pytest.fixture
def step(tmp_path):
    (tmp_path / "a_step.py").write_text(STEP)

    def call(*arguments, **more):
        env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{Path.cwd()}:{tmp_path}", "LSTMP_STAGE": "6",
               "LSTMP_COMMAND": "./run.sh --seed 2", "LSTMP_COMMIT": "abc123", **more}
        return subprocess.run([sys.executable, "-m", "a_step", *arguments], capture_output=True, text=True, env=env,
                              cwd=tmp_path)
    return call


def test_the_whole_output_of_a_step_is_logged(step, tmp_path):
    done = step("--out", "a folder", LSTMP_LOG=str(tmp_path / "log"))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "log/6-a_step.log").read_text()
    for part in ("command: python -m a_step --out 'a folder'", "of: ./run.sh --seed 2", "commit: abc123",
                 "versions: Python 3.", "torch", "cores", "at work", "warning: worker 1", "warning: worker 2",
                 "printed\n", "==== exit status 0 after"):
        assert part in text, text
    assert "a bar" not in text and "\r" not in text
    assert "at work" in done.stdout and "worker 1" in done.stderr


def test_the_last_line_of_a_log_says_what_the_step_used(step, tmp_path):
    step(LSTMP_LOG=str(tmp_path / "log"))
    end, used = (tmp_path / "log/6-a_step.log").read_text().rstrip("\n").splitlines()[-2:]
    assert end.startswith("==== exit status 0 after ") and used.startswith("used: ")
    values = json.loads(used.removeprefix("used: "))
    assert set(values) == {"seconds", "cpu_seconds", "peak_mib"}
    assert 0 <= values["seconds"] < 60 and 0 < values["cpu_seconds"]
    assert 50 < values["peak_mib"] < 20_000  # it imports torch


def test_an_error_names_the_log(step, tmp_path):
    step(LSTMP_LOG=str(tmp_path / "log"))
    done = step("user", LSTMP_LOG=str(tmp_path / "log"))
    path = tmp_path / "log/6-a_step.log"
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"error: some/file: what is wrong [log: {path}]"
    assert path.read_text().count("command: ") == 2  # further calls of a step are appended
    assert "what is wrong" in path.read_text() and "exit status 1" in path.read_text()


def test_a_traceback_is_logged(step, tmp_path):
    assert "ZeroDivisionError" in step("bug", LSTMP_LOG=str(tmp_path / "log")).stderr
    assert "ZeroDivisionError: a bug\n==== exit status 1" in (tmp_path / "log/6-a_step.log").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_step_runs_even_if_the_log_cannot_be_written(step, tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log/6-a_step.log").symlink_to("/dev/full")  # a full disk
    done = step(LSTMP_LOG=str(tmp_path / "log"))
    assert done.returncode == 0 and "at work" in done.stdout and "Traceback" not in done.stderr, done.stderr
    (tmp_path / "file").write_text("")
    done = step("user", LSTMP_LOG=str(tmp_path / "file"))
    assert any(f"{name}: the log cannot be written" in done.stderr for name in ("file/6-a_step.log", "file"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.endswith("error: some/file: what is wrong\n")


def test_a_step_called_by_hand_has_no_log(step, tmp_path):
    assert step("user").stderr.endswith("error: some/file: what is wrong\n")
    assert {p.name for p in tmp_path.iterdir()} <= {"a_step.py", "__pycache__"}
