"""Times and memory of steps, from their logs."""

import pytest

from lstmp.report.stages import about, read_calls, run_command, stages

LOG = """==== 2026-01-02 10:00:00 +0000
command: python -m lstmp.nnet.train --out exp/x/lstmp
of: ./run.sh --stage 8
commit: abc
versions: Python 3.11.7, torch 2.13.0+cpu
machine: here, 2 cores
10:00:01 at work, ==== not the end
==== exit status 0 after 100.0 s
used: {"seconds": 100.0, "cpu_seconds": 190.5, "peak_mib": 700}

==== 2026-01-02 12:00:00 +0000
command: python -m lstmp.nnet.train --out exp/x/lstmp
of: ./run.sh
commit: def
12:00:01 exp/x/lstmp: lstmp is done, inputs and configuration unchanged
==== exit status 0 after 0.3 s
used: {"seconds": 0.3, "cpu_seconds": 0.2, "peak_mib": 100}

==== 2026-01-02 13:00:00 +0000
command: python -m lstmp.nnet.train --out exp/x/wider
of: ./run.sh
10:00:01 killed
"""


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "8-train.log").write_text(LOG)
    old = LOG.split("\n\n")[0].replace("2026-01-02", "2025-01-02").replace("nnet.train", "gmm.align")
    (tmp_path / "7-align.log").write_text("\n".join(x for x in old.splitlines() if not x.startswith("used")) + "\n\n")
    (tmp_path / "notes-of-mine.log").write_text("==== \n")
    return tmp_path


def test_calls_are_read_with_what_they_used(logs):
    calls = read_calls(logs)
    assert [(c["stage"], c["step"], c["seconds"], c["cpu_seconds"], c["peak_mib"], c["status"]) for c in calls] == [
        (7, "align", 100.0, None, None, 0), (8, "train", 100.0, 190.5, 700, 0), (8, "train", 0.3, 0.2, 100, 0),
        (8, "train", None, None, None, None)]
    assert calls[1]["command"] == "python -m lstmp.nnet.train --out exp/x/lstmp" and calls[1]["log"] == "8-train.log"


def test_a_repeated_step_counts_once_with_the_call_that_did_the_work(logs):
    seventh, eighth = stages(read_calls(logs))
    assert (seventh["title"], seventh["seconds"], seventh["peak_mib"]) == ("alignment", 100.0, None)
    assert (eighth["stage"], eighth["seconds"], eighth["cpu_seconds"], eighth["peak_mib"]) == (8, 100.0, 190.5, 700)
    assert [(s["seconds"], s["status"]) for s in eighth["steps"]] == [(100.0, 0), (None, None)]


def test_the_latest_step_tells_about_the_run(logs):
    assert about(read_calls(logs))["command"] == "./run.sh"
    first = about([c for c in read_calls(logs) if c["began"].startswith("2026-01-02T10")])
    assert first == {"command": "./run.sh --stage 8", "commit": "abc", "machine": "here, 2 cores",
                     "versions": {"Python": "3.11.7", "torch": "2.13.0+cpu"}}
    assert about([]) == {"command": "", "commit": "", "machine": "", "versions": {}}
    assert run_command("./run.sh --recipe x --stage 8 --stop-stage=9") == "./run.sh --recipe x"


def test_without_logs_there_are_no_stages(tmp_path):
    assert stages(read_calls(tmp_path / "none")) == []
    (tmp_path / "8-train.log").write_bytes(LOG[:400].replace('{"seconds"', "{broken\xff").encode("latin-1"))
    (call,) = read_calls(tmp_path)
    assert call["status"] in (0, None) and call["peak_mib"] is None
    (tmp_path / "8-train.log").write_bytes(b"")
    assert read_calls(tmp_path) == []
