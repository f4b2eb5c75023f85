"""`kill -9` at random moments: running the same command again ends with the same table."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = 10
SMALL = """--train_utterances 120 --test_utterances 10 --mono_utterances 60 --nj 2
    --mono.em.num_iters 6 --mono.em.realign [1,2,3,4,5] --mono.em.num_gaussians 150 --mono.em.grow_until 4
    --tri1.tree.max_leaves 60 --tri1.em.num_iters 5 --tri1.em.realign [3] --tri1.em.num_gaussians 150
    --tri1.em.grow_until 4 --lstmp.cells 48 --lstmp.recurrent_projection 24 --lstmp.streams 4 --lstmp.epochs 6
    --lstmp.lr_initial 0.01 --lstmp.lr_final 0.001 --lstmp.dropout 0 --lstmp.checkpoint_minutes 0.02
    --decode.max_active 500 --decode.min_active 50 --decode.utts_per_job 3
    --score.replicates 200""".split()
MEASURED = ("rtf", "minutes", "command", "audio_seconds", "config")  # times, and what names the folder


def command(folder: Path) -> list[str]:
    return ["./run.sh", "--exp", str(folder / "exp"), "--data", str(folder / "data"), *SMALL]


def finish(folder: Path) -> tuple[list[dict], float]:
    """Run to the end: the rows of results.json without what was measured, and the seconds."""
    start = time.monotonic()
    done = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = json.loads((folder / "exp" / "results.json").read_text())["rows"]
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows], time.monotonic() - start


def kill_after(folder: Path, seconds: float) -> bool:
    """Start the command in a process group of its own and kill all of it; False if it ended before."""
    process = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


@pytest.mark.slow
def test_killed_runs_end_with_the_same_table(tmp_path):
    """The data dirs hold absolute paths, so both runs use the same folder, one after the other."""
    folder = tmp_path / "run"
    expected, seconds = finish(folder)
    assert len(expected) == 6
    shutil.rmtree(folder)
    rng = random.Random(9)
    moments, killed = [], 0
    while killed < KILLS:
        moment = rng.uniform(0.02, 0.8) * seconds
        if not kill_after(folder, moment):
            shutil.rmtree(folder)  # it got to the end, as what is done is skipped: begin anew, more kills to come
            continue
        killed += 1
        moments.append(round(moment, 1))
    print("killed after", moments, "seconds")
    table, _ = finish(folder)
    assert table == expected
