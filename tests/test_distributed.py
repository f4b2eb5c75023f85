"""One job in several processes. The workers run text with ``exec``, so that they need not import a module."""

import contextlib
import inspect
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest

from lstmp import distributed
from lstmp.errors import UserError, command

HEAD = "import os, time, signal, torch\nfrom lstmp import distributed as d\nfrom lstmp.errors import UserError\n"


def launch(nj, code):
    distributed.launch(exec, nj, HEAD + code, {})


@pytest.mark.parametrize("nj", [1, 2])
def test_sums_gathering_and_shares(tmp_path, nj):
    launch(nj, f"""
a, b = torch.ones(2) * (d.rank() + 1), torch.tensor(10.0, dtype=torch.float64)
d.all_reduce(a, b)
items = [f'u{{i:02d}}' for i in range(11)]
mine = d.share(items, lambda u: len(u) + (u == 'u07'))
open(r'{tmp_path}/' + str(d.rank()), 'w').write(repr((d.world_size(), a.tolist(), float(b), d.gather(d.rank()), mine)))
""")
    results = [eval((tmp_path / str(i)).read_text()) for i in range(nj)]
    total = nj * (nj + 1) / 2
    for size, a, b, ranks, _ in results:
        assert (size, a, b, ranks) == (nj, [total, total], 10.0 * nj, list(range(nj)))
    shares = [mine for *_, mine in results]
    assert Counter(sum(shares, [])) == Counter(f"u{i:02d}" for i in range(11))
    assert shares[0][0] == "u07"  # the costliest first
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_without_other_processes_the_function_is_just_called():
    assert (distributed.rank(), distributed.world_size(), distributed.gather("x")) == (0, 1, ["x"])
    assert distributed.pass_on("x", 0) == distributed.hand_in("x", 0) == "x"
    assert distributed.share(["b", "a", "c"], {"a": 1, "b": 5, "c": 1}.get) == ["b", "a", "c"]
    with pytest.raises(UserError, match="here"):
        launch(1, "raise UserError('here')")


def test_an_error_of_a_worker_is_raised_and_nothing_else_is_printed(capfd):
    """The other workers wait in a sum; the loss of their peer must not be reported."""
    with pytest.raises(UserError) as e:
        launch(2, """
if d.rank() == 1:
    raise UserError('bad', file='f.txt', line=3, hint='fix it')
d.all_reduce(torch.ones(1))
""")
    assert (str(e.value), e.value.line) == ("f.txt:3: bad; fix it", 3)
    assert capfd.readouterr().err == ""


def test_a_bug_arrives_with_its_traceback():
    with pytest.raises(ZeroDivisionError) as e:
        launch(2, "d.all_reduce(torch.ones(1))\n1 // (1 - d.rank())\nd.all_reduce(torch.ones(1))")
    assert "Traceback" in e.value.__notes__[0] and "in <module>" in e.value.__notes__[0]


@pytest.mark.parametrize(("code", "reason"), [
    ("raise d.LostPeer('no word from process 1')", "no word from process 1"),
    ("time.sleep(600 * d.rank())\nraise d.LostPeer('no word from process 1')", "no word from process 1")])
def test_the_reason_is_given_if_no_worker_has_another_one_than_the_other(code, reason, monkeypatch):
    monkeypatch.setattr(distributed, "_LAST_WORDS", 3.0)  # the second process of the second case does not answer
    with pytest.raises(UserError, match=f"lost touch with each other: {reason}; .*timeout_minutes"):
        launch(2, code)


def test_a_killed_worker_gives_one_clear_line(capfd):
    with pytest.raises(UserError, match="a worker process ended with status -9; if it was killed for memory, lower"):
        launch(2, """
d.all_reduce(torch.ones(1))
if d.rank() == 0:
    os.kill(os.getpid(), signal.SIGKILL)
d.all_reduce(torch.ones(1))
""")
    assert "Traceback" not in capfd.readouterr().err


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc and the kernel's parent-death signal")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    code = HEAD + f"open(r'{tmp_path}/' + str(os.getpid()), 'w')\nd.all_reduce(torch.ones(1))\ntime.sleep(300)"
    parent = subprocess.Popen([sys.executable, "-c", f"from lstmp import distributed\n"
                               f"distributed.launch(exec, 2, {code!r}, {{}})"])
    try:
        deadline = time.monotonic() + 240
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            assert parent.poll() is None
            time.sleep(0.1)
        workers = [int(p.name) for p in tmp_path.iterdir()]
        assert len(workers) == 2 and not any(map(gone, workers))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    while not all(map(gone, workers)) and time.monotonic() < deadline + 30:
        time.sleep(0.05)
    assert all(map(gone, workers))


def under_torchrun(code, count=2):
    """Run ``code`` as torchrun does. Returns (exit status, stdout, stderr) of each process."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
           "MASTER_PORT": str(port)}
    processes = [subprocess.Popen([sys.executable, "-c", code], env={**env, "RANK": str(i)}, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) for i in range(count)]
    results = [p.communicate(timeout=300) for p in processes]
    return [(p.returncode, *said) for p, said in zip(processes, results, strict=True)]


def test_under_torchrun_the_rest_of_a_command_runs_once():
    job = HEAD + "x = torch.ones(1)\nd.all_reduce(x)\nprint('sum', float(x), 'of', d.world_size())"
    results = under_torchrun(f"from lstmp import distributed\ndistributed.launch(exec, 5, {job!r}, {{}})\n"
                             "print('the rest')")
    assert [status for status, *_ in results] == [0, 0]
    assert [re.sub(r"\s+", " ", out).strip() for _, out, _ in results] == ["sum 2.0 of 2 the rest", "sum 2.0 of 2"]


def test_under_torchrun_only_the_failing_process_prints_the_error():
    job = HEAD + "if d.rank():\n    raise UserError('bad')\nd.all_reduce(torch.ones(1))"
    results = under_torchrun("from lstmp import distributed\nfrom lstmp.errors import command\n@command\n"
                             f"def main(argv):\n    distributed.launch(exec, 1, {job!r}, {{}})\nmain()")
    assert results[0][0] != 0 and results[0][2] == ""
    assert results[1][0] == 1 and results[1][2] == "error: bad\n"


def test_several_machines_start_at_the_same_time(tmp_path):
    """Each starts its workers before it waits for results of the others; each gets all results, in order."""
    job = f"""
from lstmp.parallel import iter_jobs
began = time.time()
def work(i):
    start = time.time()
    time.sleep(1.0)
    return i, start
found = list(iter_jobs(work, range(6), 1, 'work'))
assert [i for i, _ in found] == list(range(6))
first = d.on_first(lambda: [list(iter_jobs(lambda i: i, range(3), 1, 'alone')), d.rank()])
starts = [start for _, start in found[:3]]
open(r'{tmp_path}/' + str(d.rank()), 'w').write(repr((max(starts) - min(starts), first)))
"""
    results = under_torchrun(f"from lstmp import distributed\ndistributed.together(exec, {HEAD + job!r}, {{}})", 3)
    assert [status for status, *_ in results] == [0, 0, 0], results
    for i in range(3):
        delay, first = eval((tmp_path / str(i)).read_text())
        assert delay < 0.9 and first == [[0, 1, 2], 0]


def test_a_users_error_is_not_retried(tmp_path, monkeypatch, capfd):
    """torchrun would restart the processes again and again. Another run with the same id does not see the error, and a
    link that another user has made instead of the marker is not followed."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "reused")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    calls = []

    @command
    def main(argv):
        calls.append(argv)
        raise UserError("bad")

    for count in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        with pytest.raises(SystemExit) as e:
            main()
        assert e.value.code == 1
    assert len(calls) == 1 and capfd.readouterr().err == "error: bad\n"
    (place,) = tmp_path.iterdir()
    assert place.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getppid", lambda: 1)  # another agent
    with pytest.raises(SystemExit):
        main()
    assert len(calls) == 2
    (other,) = set(tmp_path.iterdir()) - {place}
    shutil.rmtree(other)
    (tmp_path / "theirs").mkdir()
    other.symlink_to(tmp_path / "theirs")
    with pytest.raises(SystemExit):
        main()
    assert len(calls) == 3 and not list((tmp_path / "theirs").iterdir())


def addresses(pids) -> set[str]:
    """Local addresses of the processes' sockets that listen or are connected, in the form of /proc/net."""
    sockets = set()
    for pid in pids:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(entry.path))
    rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}").readlines()[1:]]
    return {row[1].partition(":")[0] for row in rows if f"socket:[{row[9]}]" in sockets}


LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
LISTEN = f"""
import contextlib
LOOPBACK = {LOOPBACK}
{inspect.getsource(addresses)}
d.all_reduce(torch.ones(1))
found = addresses(d.gather(os.getpid()))
assert found and found <= LOOPBACK, found
d.gather(None)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_on_one_machine_only_loopback_addresses_are_used(tmp_path, monkeypatch):
    launch(2, LISTEN)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    results = under_torchrun(f"from lstmp import distributed\ndistributed.launch(exec, 1, {HEAD + LISTEN!r}, {{}})")
    assert [status for status, *_ in results] == [0, 0], results
    assert not list(tmp_path.iterdir())


def test_values_sent_between_processes_are_not_pickled():
    """Neither our code nor the functions of torch that it calls use pickle."""
    launch(2, """
import pickle, io
def refuse(*args, **options):
    raise AssertionError('pickled')
pickle.loads = pickle.load = pickle.Unpickler = pickle.dumps = pickle.dump = pickle.Pickler = refuse
import torch.distributed.distributed_c10d as c10d
for name in ('_pickler', '_unpickler'):
    assert hasattr(c10d, name)
    setattr(c10d, name, refuse)
assert d.gather({'x': torch.ones(2)})[1]['x'].tolist() == [1, 1]
assert d.pass_on(('a', d.rank()), 1) == ('a', 1)
assert d.hand_in([d.rank()], 1) == ([1] if d.rank() == 0 else None)
assert d.on_first(lambda: 7) == 7
""")
