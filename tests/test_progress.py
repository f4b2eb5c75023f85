"""The record of a run's progress: which step runs, the time left, the line on a terminal, the lines in a file."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT

from lstmp import log, progress, progress_text, run_plan
from lstmp.recipe import show_progress

PLAN = """== stage 0: environment
== stage 1: data (after 0 min)
  local/one.sh --out data/one
== stage 2: a longer title (after 0 min)
  local/two.sh --out data/two -n 1
  local/two.sh --out data/two -n 2
== stage 3: nothing (after 0 min)
"""

STEP = """
import sys, time
from lstmp import log, progress
from lstmp.errors import UserError, command
from lstmp.stage import Stage

log._FIRST = log._AGAIN = 0.2
progress._DRAW = progress._SAVE = 0.05

@command
def main(argv=None):
    stage = Stage(sys.argv[2], "work", [], {})
    if stage.is_done():
        return
    log.say("before")
    if "fork" in sys.argv:
        from lstmp.parallel import run_jobs
        for _ in range(5):
            run_jobs(abs, [1, 2, 3], 2, "forked")
    for _ in log.progress(range(8), "slow work"):
        time.sleep(0.1)
    log.say("after")
    if "fail" in sys.argv:
        raise UserError("what is wrong")
    if "hang" in sys.argv:
        print("hangs", flush=True)
        time.sleep(60)
    stage.mark([])

main()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_step.py").write_text(STEP)
    return tmp_path


def begin(token="run 1", plan=PLAN) -> dict:
    run_plan.begin(Path("exp"), plan, token)
    return state()


def state() -> dict:
    return json.loads(Path("exp/progress.json").read_bytes())


def environment(stage=1, token="run 1", **more) -> dict:
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:.", "LSTMP_LOG": "exp/log", "LSTMP_STAGE": str(stage),
            "LSTMP_RUN": token, "LC_ALL": "C.UTF-8", "TERM": "xterm", **more}


def step(*arguments, stage=1, token="run 1", **more):
    return subprocess.run([sys.executable, "-m", "a_step", *arguments], capture_output=True, text=True,
                          env=environment(stage, token, **more), timeout=100)


def on_a_terminal(*arguments, columns=60, **more) -> str:
    """What the step writes to its terminal."""
    leader, follower = pty.openpty()
    os.set_blocking(leader, True)
    subprocess.run(["stty", "rows", "24", "cols", str(columns)], stdin=follower, check=True)
    process = subprocess.Popen([sys.executable, "-m", "a_step", *arguments], stdout=follower, stderr=follower,
                               env=environment(**more))
    os.close(follower)
    written = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:  # Linux's way to say that the other side is closed
            block = b""
        written += block
        if not block:
            break
    assert process.wait() == 0, written
    os.close(leader)
    return written.decode()


def screen(written: str) -> list[str]:
    """The lines that remain on the screen, without blanks at the ends."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[A|\r|\n|[^\x1b\r\n]+", written):
        if part == "\x1b[A":
            row -= 1
        elif part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        else:
            lines[row] = lines[row].ljust(column)[:column] + part + lines[row][column + len(part):]
            column += len(part)
    return [line.rstrip() for line in lines if line.strip()]


def test_steps_are_recorded_one_after_the_other(folder):
    first = begin()
    assert [s["state"] for s in first["stages"]] == ["waiting", "waiting"] and first["left"] > 0
    assert [s["title"] for s in first["stages"]] == ["data", "a longer title"]
    assert step("--out", "data/one", "fork").returncode == 0
    now = state()
    assert [s["state"] for s in now["stages"]] == ["done", "waiting"] and not now["finished"]
    assert now["stages"][0]["seconds"] >= 0.8 and now["stages"][0]["left"] == 0 and now["stages"][1]["left"] > 0
    step("--out", "data/two", "-n", "1", stage=2)
    assert state()["stages"][1]["state"] == "running"
    step("--out", "data/two", "-n", "2", stage=2)  # the same work: found done
    last = state()
    assert [s["state"] for s in last["steps"]] == ["done", "done", "skipped"]
    assert last["stages"][1]["state"] == "done" and last["finished"] and last["left"] == 0
    text = Path("exp/log/progress.log").read_text()
    assert "stage 2: two data/two: done after" in text and "\r" not in text


def test_a_failure_ends_the_run(folder):
    begin()
    assert step("--out", "data/one", "fail").returncode == 1
    assert state()["stages"][0]["state"] == "failed" and state()["finished"]
    assert step("--out", "data/one", token="run 2").returncode == 0  # of another run, which has no record
    assert state()["stages"][0]["state"] == "failed"
    assert step("--out", "data/one").returncode == 0  # begun anew
    assert state()["stages"][0]["state"] == "skipped" and not state()["finished"]


def test_in_a_file_there_are_plain_lines(folder):
    begin()
    done = step("--out", "data/one")
    assert "\r" not in done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr
    assert re.search(r"^\d\d:\d\d:\d\d stage 1 of 2, data: \d+ s so far, a few seconds left$", done.stdout, re.M)
    lines = done.stderr.splitlines()
    assert 1 <= len(lines) <= 5 and all("slow work: " in line for line in lines), done.stderr
    assert re.fullmatch(r"[\d:]+ slow work: \d+ %, (a few seconds left) \(\1 in the whole run\)", lines[0])
    assert step("--out", "data/three", token="", LSTMP_LOG="").stderr.endswith(" left\n")  # called alone


@pytest.mark.parametrize("columns", [60, 20])
def test_on_a_terminal_a_line_shows_the_stages_and_leaves_nothing(folder, columns):
    begin()
    written = on_a_terminal("--out", "data/one", columns=columns)
    assert ("▶1 data ·2" if columns == 60 else "▶1 a few seconds") in written and "slow work" in written
    assert all(len(part) <= columns for part in re.split(r"\r|\n|\x1b\[A", written)), "a line that is too long wraps"
    assert [line[9:] for line in screen(written)] == ["before", "after"]
    log_file = Path("exp/log/1-a_step.log").read_text()
    assert "▶" not in log_file and "slow work" not in log_file and not re.search("\n\n(?!$)", log_file)


def test_a_dumb_terminal_gets_plain_lines(folder):
    begin()
    written = on_a_terminal("--out", "data/one", TERM="dumb").replace("\r\n", "\n")
    assert "\r" not in written and "\x1b" not in written and "▶" not in written and "slow work: " in written


def test_a_killed_run_is_reported_as_stopped_and_can_go_on(folder, capsys):
    begin()
    process = subprocess.Popen([sys.executable, "-m", "a_step", "--out", "data/one", "hang"], env=environment(),
                               stdout=subprocess.PIPE, text=True)
    assert any("hangs" in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    show_progress.main(["exp"])
    assert "stopped before its end" in (shown := capsys.readouterr().out) and "✗  1 data" in shown
    begin("run 2")
    step("--out", "data/one", token="run 2")
    assert state()["stages"][0]["state"] == "done"
    show_progress.main(["exp", "--json"])
    assert json.loads(capsys.readouterr().out) == state()


def test_only_the_first_process_and_the_outermost_step_speak(folder):
    begin()
    before = state()
    for more in ({"RANK": "1"}, {"LSTMP_STEP_TAKEN": "run 1"}, {"LSTMP_RUN": ""}):
        assert step("--out", f"data/{len(more)}", "--out", "data/one", **more).returncode == 0
    assert state() == before


def test_a_step_that_is_called_alone_writes_nothing(folder):
    begin()
    before = state()
    assert step("--out", "data/one", LSTMP_LOG="", token="").returncode == 0
    assert state() == before and {p.name for p in folder.iterdir()} <= {"a_step.py", "__pycache__", "data", "exp"}


def test_a_record_that_cannot_be_written_is_one_warning(folder, capsys):
    Path("exp/progress.json").mkdir(parents=True)
    run_plan.begin(Path("exp"), PLAN, "run 1")
    assert capsys.readouterr().err.count("warning: exp/progress.json: progress cannot be recorded: ") == 1
    assert not step("--out", "data/one").stderr.count("progress cannot")


def test_a_page_that_cannot_be_written_does_not_end_the_record(folder, capsys):
    begin()
    Path("exp/report/data/progress.js/in the way").mkdir(parents=True)
    run = progress.Run.load(Path("exp"), "run 1")
    run.save(12345.0)
    assert state()["updated"] == 12345 and capsys.readouterr().err == ""


def test_a_disk_that_fills_up_ends_no_step(folder, capsys, monkeypatch):
    begin()
    run = progress.Run.load(Path("exp"), "run 1")

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("lstmp.config.write_text", full)
    for _ in range(3):
        run.save(time.time())
    where, _, why = capsys.readouterr().err.partition(" progress cannot be recorded: ")
    assert (where, why) == ("warning: exp/progress.json:", "No space left on device\n")
    assert progress.Run.load(Path("exp"), "run 1") is None  # so the steps that follow do not try


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"run": "run 1"}', '{"run": "run 1", "steps": [{}]}'])
def test_a_damaged_record_ends_no_step(folder, content):
    begin()
    Path("exp/progress.json").write_text(content)
    done = step("--out", "data/one")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_earlier_calls_tell_how_long_a_step_takes_and_what_will_be_skipped(folder):
    begin()
    for arguments in (["data/one"], ["data/two", "-n", "1"]):
        step("--out", *arguments)
    again = begin("run 2", PLAN.replace("data/two -n 2", "data/three -n 2"))
    assert [s["skip"] for s in again["steps"]] == [True, True, False]
    assert [s["expected"] for s in again["steps"]][:2] == [1.5, 1.5] and again["left"] < 10
    Path("data/one/.done.work.json").unlink()  # made again, and what reads its folder
    plan = PLAN.replace("two.sh --out data/two -n 1", "two.sh --out data/two -n 1 --data data/one")
    once_more = begin("run 3", plan)
    assert [s["skip"] for s in once_more["steps"]] == [False, False, False]
    assert 1.5 < once_more["steps"][0]["expected"] < 20 and once_more["steps"][0]["earlier"]


def test_the_factor_follows_what_was_measured(folder):
    begin()
    run = progress.Run.load(Path("exp"), "run 1")
    for s, seconds in zip(run.state["steps"], (300, 0, 0), strict=True):
        s |= {"expected": 100.0, "seconds": seconds}
    assert run.left_of(run.state["steps"][1], time.time()) == pytest.approx(100)
    run.state["steps"][0]["state"] = "done"
    assert 200 < run.left_of(run.state["steps"][1], time.time()) < 300  # a step of another script
    run.state["steps"][1] |= {"state": "done", "seconds": 500}
    assert run.left_of(run.state["steps"][2], time.time()) > 400  # the same script as the second
    run.state["steps"][2]["expected"] = None
    run.update(time.time())
    assert run.state["left"] is None


def test_the_time_left_does_not_flicker():
    assert progress._steady(None, 0, 100) == 100
    assert progress._steady(100, 10, 95) == 90  # counted down, not changed by a small difference
    assert progress._steady(100, 10, 200) == 200
    assert progress._steady(100, 10, None) is None
    assert progress._steady(3, 10, 0.5) == 0


def test_a_training_tells_how_far_it_is(folder, monkeypatch):
    begin()
    Path("exp/report/data").mkdir(parents=True)
    run = progress.Run.load(Path("exp"), "run 1")
    run.begin(run.state["steps"][0])
    monkeypatch.setattr(progress, "_network", None)
    progress.note_training(name="net<1>", epoch=2, of=5, batches=3, of_batches=9, loss=1.25, frames_per_second=1000,
                           left=77)
    run.save(time.time())
    assert state()["stages"][0]["left"] == 77
    script = Path("exp/report/data/progress.js").read_text()
    call = re.fullmatch(r'lstmpReport\.add\("progress", (\{.*\}) *\);\n', script)
    shown = json.loads(call[1])
    assert shown["network"] == {"name": "net<1>", "epoch": 2, "of": 5, "batches": 3, "of_batches": 9, "loss": 1.25,
                                "frames_per_second": 1000}
    assert set(shown) == {"command", "began", "updated", "finished", "machine", "stages", "left", "network"}
    assert "<" not in script.replace("lstmpReport", "") and set(shown["stages"][0]) == {
        "stage", "title", "state", "seconds", "left"}
    assert "net<1>: epoch 2/5, batch 3/9, loss 1.250, 1,000 frames/s" in "\n".join(
        progress_text.stage_list(state(), True, time.time()))


@pytest.mark.parametrize(("seconds", "text"), [
    (3, "a few seconds"), (44, "under a minute"), (50, "about 1 min"), (8.4 * 60, "about 8 min"),
    (24 * 60, "about 25 min"), (41 * 60, "about 40 min"), (95 * 60, "about 1 h 30 min"), (179 * 60, "about 3 h"),
    (26.4 * 3600, "about 26 h")])
def test_estimates_are_rounded(seconds, text):
    assert log.about(seconds) == text


def test_durations():
    assert [log.duration(x) for x in (0.4, 89, 90, 3600, 4800)] == ["0 s", "89 s", "2 min", "1 h", "1 h 20 min"]


def test_marks_of_other_encodings():
    assert progress_text.encodable("✓1 ▶2 ·3", "ascii") == "+1 >2 .3"
    assert progress_text.encodable("✓1 ▶2 ·3", "utf-8") == "✓1 ▶2 ·3"


def test_no_record_is_one_error(tmp_path, capsys):
    for content, text in ((None, "no such file"), ("{}", "not the record of a run")):
        if content:
            (tmp_path / "progress.json").write_text(content)
        with pytest.raises(SystemExit):
            show_progress.main([str(tmp_path)])
        assert text in capsys.readouterr().err


def test_run_sh_records_its_progress(tmp_path):
    """A short run, with its output in a file."""
    with open(tmp_path / "out", "w") as out:
        subprocess.run([ROOT / "run.sh", "--exp", tmp_path / "exp", "--data", tmp_path / "data", "--stop-stage", "2",
                        "--train_utterances", "44", "--test_utterances", "8"], stdout=out, stderr=out, check=True,
                       stdin=subprocess.DEVNULL, env={**os.environ, "LSTMP_PYTHON": sys.executable}, timeout=300)
    written = (tmp_path / "out").read_bytes()
    assert b"\r" not in written and b"\x1b" not in written and b"stage 1 of 2, data of tiny" in written
    record = json.loads((tmp_path / "exp/progress.json").read_bytes())
    assert record["finished"] and [s["state"] for s in record["stages"]] == ["done", "done"]
    assert all(s["state"] == "done" and s["expected"] for s in record["steps"]) and len(record["steps"]) == 4


def test_a_run_without_steps_leaves_the_record(folder):
    before = begin()
    assert begin("run 2", "== stage 0: environment\n") == before


def test_a_loss_that_is_no_number_is_not_shown(folder, monkeypatch):
    monkeypatch.setattr(progress, "_network", None)
    for loss in (2.5, float("nan"), float("inf")):
        progress.note_training(loss=loss)
    assert progress._network == {"loss": 2.5}


def test_a_step_without_a_folder_makes_no_other_run_again(folder):
    plan = "== stage 1: data\n  local/one.sh -n 1\n  local/two.sh --out data/two\n"
    begin(plan=plan)
    step("--out", "data/two")
    assert [s["skip"] for s in begin("run 2", plan)["steps"]] == [False, True]


def test_the_folder_of_a_step():
    note = ["--note", f"after coding at 24 kbit/s {'x' * 300}"]  # too long for a name
    assert progress_text.folder_of(["steps/a.sh", "--out", "exp/a", "--data", "data/a"]) == "exp/a"
    assert progress_text.folder_of(["steps/a.sh", "data/a b", "--config", "conf/a.yaml", *note]) == "data/a b"
    assert progress_text.folder_of(["steps/a.sh", "--nj", "2", *note]) == ""
