"""Running jobs in worker processes: order, errors, killed workers."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from lstmp.errors import UserError
from lstmp.parallel import iter_jobs, run_jobs


@pytest.mark.parametrize("nj", [1, 2, 5])
def test_results_are_in_order_and_functions_may_be_closures(nj):
    table = np.arange(100) ** 2

    def square(i):
        time.sleep(0.002 * (i % 3))  # later jobs end before earlier ones
        return int(table[i])
    assert run_jobs(square, range(100), nj, "squares") == [i**2 for i in range(100)]
    assert run_jobs(square, [], nj, "nothing") == [] and run_jobs(square, [3], nj, "one") == [9]


def test_the_work_runs_in_other_processes():
    pids = set(run_jobs(lambda i: (time.sleep(0.01), os.getpid())[1], range(20), 2, "pids"))
    assert len(pids) == 2 and os.getpid() not in pids


@pytest.mark.parametrize("nj", [1, 2])
def test_a_user_error_of_a_worker_is_preserved(nj):
    def fail(i):
        if i == 30:
            raise UserError("bad", file="f.txt", line=30, hint="fix it")
        return i
    with pytest.raises(UserError) as e:
        run_jobs(fail, range(1000), nj, "failing")
    assert (str(e.value), e.value.line) == ("f.txt:30: bad; fix it", 30)


@pytest.mark.parametrize("nj", [1, 2])
def test_a_bug_in_a_worker_is_raised(nj):
    with pytest.raises(ZeroDivisionError):
        run_jobs(lambda i: 1 // i, range(3), nj, "dividing")


def test_a_killed_worker_gives_one_clear_line():
    def die(i):
        if i == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return i
    with pytest.raises(UserError, match="dying: a worker process was killed; probably the memory ran out"):
        run_jobs(die, range(1000), 2, "dying")


def test_torch_works_in_workers_after_its_threads_have_started():
    threads = torch.get_num_threads()
    a = torch.randn(300, 300)
    try:
        torch.set_num_threads(2)
        expected = a @ a
        got = run_jobs(lambda i: ((a @ a).numpy(), torch.get_num_threads()), range(6), 2, "matrices")
    finally:
        torch.set_num_threads(threads)
    assert len(got) == 6 and all(n == 1 and np.allclose(x, expected.numpy(), atol=1e-3) for x, n in got)


def test_results_come_before_all_jobs_are_done():
    begun = time.monotonic()
    results = iter_jobs(lambda i: (time.sleep(0.05), i)[1], range(10_000), 2, "endless")
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert time.monotonic() - begun < 30  # all jobs would take 250 s


def test_calls_can_be_nested():
    def inner(i):
        return sum(run_jobs(lambda j: i * j, range(4), 2, "inner"))
    assert run_jobs(inner, range(4), 2, "outer") == [6 * i for i in range(4)]


PROGRAM = """
import faulthandler, os, time
faulthandler.dump_traceback_later(15)
from lstmp.parallel import run_jobs
def job(i):
    os.write(1, b"%d\\n" % os.getpid())  # in one piece: the other worker writes too
    time.sleep(60)
run_jobs(job, range(4), 2, "sleeping")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a service of Linux")
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT])
def test_workers_do_not_outlive_their_parent(sig, tmp_path):
    with open(tmp_path / "stderr", "w+", encoding="utf-8") as stderr:
        parent = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=stderr, text=True,
                                  preexec_fn=_heed_interrupts)
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(sig)
        try:
            parent.wait(20)
        except subprocess.TimeoutExpired:
            stderr.seek(0)
            raise AssertionError(f"the parent did not end; where its threads were:\n{stderr.read()}") from None
    for _ in range(200):
        alive = [w for w in workers if _is_running(w)]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"{alive} still run")


def _heed_interrupts():
    """Restore the default for SIGINT, which background jobs of a shell ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs a separate /dev/shm")
@pytest.mark.parametrize("start", ["parallel.run_jobs(len, ['a', 'b'], 2, 'w')", "distributed.launch(len, 2, 'a')"])
def test_a_full_dev_shm_is_named(start):
    code = ("from lstmp import distributed, parallel\nfrom lstmp.errors import command\n@command\n"
            f"def main(argv):\n    {start}\nmain()")
    full = "mount -t tmpfs -o size=4k none /dev/shm && printf %5000s x > /dev/shm/x; exec \"$@\""
    done = subprocess.run(["unshare", "-m", "bash", "-c", full, "bash", sys.executable, "-c", code], text=True,
                          capture_output=True)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("error: /dev/shm: no room for the locks of worker processes: No space left on device"), said
