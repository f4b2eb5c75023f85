"""The lock of an output folder: one process at a time, and none after it has ended."""

import os
import signal
import subprocess
import sys
import time

import pytest

from lstmp import lock
from lstmp.errors import UserError
from lstmp.stage import Stage

HOLDER = """
import sys, time
from lstmp import lock
lock.hold(sys.argv[1])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path / "out"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield tmp_path / "out", process
    process.kill()
    process.wait()


def test_the_error_names_the_process_that_holds_the_lock(holder):
    folder, process = holder
    with pytest.raises(UserError) as e:
        lock.hold(folder)
    assert f"process {process.pid} on " in str(e.value) and str(folder) in str(e.value)
    with pytest.raises(UserError, match="is at work here"):
        Stage(folder, "x", [], {}).is_done()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_ends_with_its_process(holder, how):
    folder, process = holder
    process.send_signal(how)
    process.wait()
    lock.hold(folder)
    lock.release(folder)


def test_a_stage_that_is_done_needs_no_lock(tmp_path):
    folder = tmp_path / "out"
    stage = Stage(folder, "x", [], {})
    assert not stage.is_done()
    stage.mark([])
    process = subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        assert Stage(folder, "x", [], {}).is_done()
    finally:
        process.kill()
        process.wait()


def test_an_error_frees_the_lock_if_the_process_continues(tmp_path):
    def fail():
        assert not Stage(tmp_path / "out", "x", [], {}).is_done()
        raise UserError("an error")
    with pytest.raises(UserError):
        fail()
    done = subprocess.run([sys.executable, "-c", "import sys; from lstmp import lock; lock.hold(sys.argv[1])",
                           tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_process_may_hold_it_several_times(tmp_path):
    """The passes of a decoding do so; another process gets the lock only after the last release."""
    def other():
        return subprocess.run([sys.executable, "-c", "import sys; from lstmp import lock; lock.hold(sys.argv[1])",
                               tmp_path], capture_output=True, text=True)
    lock.hold(tmp_path)
    lock.hold(tmp_path)
    lock.release(tmp_path)
    assert "UserError" in other().stderr
    lock.release(tmp_path)
    assert other().returncode == 0
    lock.release(tmp_path)  # once too often: nothing happens


def test_a_forked_child_does_not_keep_it(tmp_path):
    """A worker that outlives its killed parent does not block the next run."""
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        lock.hold(tmp_path)
        if not os.fork():
            os.write(write, b"child")
            time.sleep(5)
            os._exit(0)
        os.write(write, b"parent")
        os._exit(0)
    os.waitpid(parent, 0)
    assert os.read(read, 6)
    time.sleep(0.2)
    lock.hold(tmp_path)
    lock.release(tmp_path)


def test_a_shell_script_can_hold_the_lock(tmp_path):
    (tmp_path / "out/.conf.1").mkdir(parents=True)
    script = (f'exec 9>> out/.lock; "{sys.executable}" -m lstmp.recipe.begin_run 9 out out/.conf.1 || exit 7; '
              'echo in; exec sleep 60')
    env = {**os.environ, "LSTMP_COMMAND": "./run.sh --seed 2", "PYTHONPATH": os.getcwd()}
    first = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout.readline() == "in\n"
        second = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert second.returncode == 7
        assert f"out: process {first.pid} on " in second.stderr and "./run.sh --seed 2" in second.stderr
    finally:
        first.kill()
        first.wait()
