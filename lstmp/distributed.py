"""Runs one job in several processes: each takes its share of the utterances; sums are made with ``all_reduce``.

Under ``torchrun`` the processes are those that torchrun has started, on one machine or several. Without it,
:func:`launch` starts ``nj`` processes on this machine, so that ``--nj`` needs no launcher. Utterances are sorted by
length and dealt out in turn, so that all shares are nearly equal.
"""

import contextlib
import contextvars
import ctypes
import multiprocessing.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from lstmp import files, message, step_log
from lstmp.errors import UserError, is_memory, locks_of_workers, out_of_memory

_TIMEOUT = 30.0  # minutes to wait for another process
_LAST_WORDS = 60.0  # seconds that a worker has to say why it failed, after another one has lost it
_LOST_PEER = 77  # exit status of a worker that stopped only because another worker had ended

_apart = contextvars.ContextVar("_apart", default=False)


class LostPeer(RuntimeError):
    """Another process does not answer; that process, or torchrun, reports the reason."""


@contextlib.contextmanager
def apart():
    """Ignore torchrun's processes and any process group inside this block.

    They belong to the program that calls this package, and serve its own work.
    """
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def _in_group() -> bool:
    return dist.is_initialized() and not _apart.get()


def _started_by_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ and not _apart.get()


def begin(minutes: float = _TIMEOUT):
    """Form a process group with the other processes that torchrun has started, if that has not been done yet.

    Without torchrun nothing happens. ``minutes`` is how long to wait for another process, now and later.
    """
    if _started_by_torchrun() and not dist.is_initialized():
        local_size, size = int(os.environ.get("LOCAL_WORLD_SIZE", "0")), int(os.environ["WORLD_SIZE"])
        path = _rendezvous_file(local_size == size)
        if local_size == size:
            _use_loopback_only()
        by_file: dict[str, Any] = {} if path is None else {
            "store": dist.FileStore(str(path), size), "rank": int(os.environ["RANK"]), "world_size": size}
        dist.init_process_group("gloo", timeout=timedelta(minutes=minutes), **by_file)


def _rendezvous_file(one_machine: bool) -> Path | None:
    """The file through which torchrun's processes find each other.

    None: they use torch's store, which listens on all network interfaces. ``one_machine``: all processes are on this
    machine.
    """
    name = f"{os.environ.get('MASTER_ADDR')}-{os.environ.get('MASTER_PORT')}"  # new with each start of the processes
    if os.environ.get("LSTMP_MEETING"):
        return files.meeting_folder() / name
    if one_machine:
        files.sweep(tempfile.gettempdir())
        return files.meeting_folder() / f"{name}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    return None


def _use_loopback_only():
    """Accept connections only from processes of this machine."""
    if any(name == "lo" for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def rank() -> int:
    return dist.get_rank() if _in_group() else 0


def local_rank() -> int:
    """Index of this process among those of its machine."""
    return int(os.environ.get("LOCAL_RANK", rank()))


def world_size() -> int:
    return dist.get_world_size() if _in_group() else 1


def all_reduce(*tensors: torch.Tensor):
    """Sum each tensor in place over all processes; every process gets bit-identical results."""
    if _in_group():
        for tensor in tensors:
            dist.all_reduce(tensor)


def share(items: list, cost) -> list:
    """This process's part of ``items``: every world-size-th item of the list, sorted by decreasing ``cost(item)``."""
    ordered = sorted(items, key=lambda item: (-cost(item), item))
    return ordered[rank()::world_size()]


def gather(value, group=None) -> list:
    """Gather a small value (see :mod:`lstmp.message`) from every process of a group on every process, by rank."""
    if not _in_group():
        return [value]
    data, count = message.pack(value), dist.get_world_size(group)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count)]
    dist.all_gather(sizes, torch.tensor([len(data)]), group=group)
    longest = max(map(int, sizes))
    parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(count)]
    dist.all_gather(parts, torch.nn.functional.pad(data, (0, longest - len(data))), group=group)
    return [message.unpack(part[:int(size)]) for part, size in zip(parts, sizes, strict=True)]


def launch(fn, nj: int, *args, timeout: float = _TIMEOUT):
    """Call ``fn(*args)`` in ``nj`` processes that form a process group (or in this process, if ``nj`` is 1).

    Under torchrun only the process of rank 0 returns. The others exit when all have finished, so that the rest of a
    command runs once. A process that waits for another one longer than ``timeout`` minutes gives up.

    Raises:
        UserError: as raised in one of the processes, or because a process was killed.
        Exception: any other exception of a process, with that process's traceback as a note.
    """
    if _started_by_torchrun():  # the processes exist already
        _under_torchrun(fn, args, timeout)
        return
    if nj <= 1:
        fn(*args)
        return
    with files.temporary_folder() as folder:
        threads = max(1, torch.get_num_threads() // nj)
        context = torch.multiprocessing.get_context("spawn")
        with locks_of_workers():
            errors, losses = context.SimpleQueue(), context.SimpleQueue()
        workers = [context.Process(target=_work, args=(fn, args, i, nj, threads, folder, errors, losses, os.getpid(),
                                                      timedelta(minutes=timeout)))
                   for i in range(nj)]
        try:
            for worker in workers:
                worker.start()
            _wait(workers, errors, losses)
        finally:
            for worker in workers:
                if worker.pid is not None:
                    worker.kill()
                    worker.join()


def together(fn, *args):
    """Call ``fn(*args)`` in every process that torchrun has started, one per machine.

    ``fn`` shares its work with :func:`lstmp.parallel.iter_jobs`, and uses :func:`on_first` for what must be done only
    once. As with :func:`launch`, only the process of rank 0 returns.
    """
    if _started_by_torchrun():
        _under_torchrun(fn, args, _TIMEOUT)
    else:
        fn(*args)


_inside_on_first = False


def shares_work() -> bool:
    """Whether there are other processes that now take part in the work."""
    return world_size() > 1 and not _inside_on_first


def on_first(fn, *args):
    """Call ``fn(*args)`` only in the process of rank 0, while the others wait. Returns its result in all processes."""
    global _inside_on_first
    begin()
    if not shares_work():
        return fn(*args)
    value = None
    if rank() == 0:
        _inside_on_first = True
        try:
            value = fn(*args)
        finally:
            _inside_on_first = False
    try:
        return pass_on(value, 0)
    except RuntimeError as e:
        if _lost_peer(e):
            _leave(_LOST_PEER)
        raise


def pass_on(value, source: int):
    """Broadcast ``value`` from the process of rank ``source``. Returns it in all processes."""
    if not _in_group():
        return value
    data = message.pack(value) if rank() == source else None
    size = torch.tensor([0 if data is None else len(data)])
    dist.broadcast(size, src=source)
    data = torch.empty(int(size), dtype=torch.uint8) if data is None else data
    dist.broadcast(data, src=source)
    return value if rank() == source else message.unpack(data)


def hand_in(value, source: int):
    """Send ``value`` from the process of rank ``source`` to rank 0. Returns it there, and None in the others."""
    if source == 0:
        return value if rank() == 0 else None
    size = torch.zeros(1, dtype=torch.int64)
    if rank() == source:
        data = message.pack(value)
        size[0] = len(data)
        dist.send(size, dst=0), dist.send(data, dst=0)
    elif rank() == 0:
        dist.recv(size, src=source)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(data, src=source)
        return message.unpack(data)
    return None


def _under_torchrun(fn, args, timeout):
    torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it computed them after denormals are flushed
    torch.set_flush_denormal(True)
    try:
        begin(timeout)
        fn(*args)  # if it raises, the group is not destroyed: that would wait for the other processes
        dist.barrier()
    except RuntimeError as e:
        if _lost_peer(e):
            _leave(_LOST_PEER)
        raise
    first, one_machine = rank() == 0, int(os.environ.get("LOCAL_WORLD_SIZE", "0")) == world_size()
    dist.destroy_process_group()
    if not first:
        _leave(0)
    if one_machine and not os.environ.get("LSTMP_MEETING"):
        shutil.rmtree(files.meeting_folder(), ignore_errors=True)


def _leave(status: int):
    """End this process at once, with its work done or lost.

    If Python were shut down in the usual way, torch 2 would sometimes abort it, because a thread of a process group
    still runs.
    """
    if status == 0:
        # as after a fork: frees semaphores, such as that of the progress bars
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # it is private
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)


def _lost_peer(e: Exception) -> bool:
    """Whether an exception means only that another process has ended; that process reports the reason."""
    return isinstance(e, LostPeer) or isinstance(e, RuntimeError) and "gloo" in str(e)


def _wait(workers, errors, losses):
    """Return when all workers have succeeded; raise as soon as one fails, unless it only lost its peer.

    Then that one says why it failed, but only for so long: it may be one that has stopped to answer.
    """
    running, lost_at = list(workers), None
    while running:
        ended = wait([worker.sentinel for worker in running],
                     None if lost_at is None else max(0.0, lost_at + _LAST_WORDS - time.monotonic()))
        if not ended:
            raise _out_of_touch(losses)
        for worker in [w for w in running if w.exitcode is not None]:
            running.remove(worker)
            if worker.exitcode == 0:
                continue
            if not errors.empty():
                raise errors.get()
            if worker.exitcode == _LOST_PEER:
                lost_at = lost_at or time.monotonic()
                if not running:
                    raise _out_of_touch(losses)
            else:
                raise UserError(f"a worker process ended with status {worker.exitcode}",
                                hint="if it was killed for memory, lower --nj; run the same command again to continue")


def _out_of_touch(losses) -> UserError:
    """The error if every worker has only lost another one, or one of them does not answer."""
    reason = "" if losses.empty() else f": {losses.get()}"
    return UserError(f"the worker processes have lost touch with each other{reason}",
                     hint="if one was only slow, raise timeout_minutes; if one was killed for memory, lower --nj; run "
                          "the same command again to continue")


def _work(fn, args, index, count, threads, folder, errors, losses, parent, timeout):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive a killed parent
        if os.getppid() != parent:
            os._exit(1)
    step_log.join()
    torch.set_num_threads(threads)
    _use_loopback_only()
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it computed them after denormals are flushed
    torch.set_flush_denormal(True)
    try:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder) / 'rendezvous'}", rank=index,
                                world_size=count, timeout=timeout)
        fn(*args)
    except Exception as e:
        if _lost_peer(e):
            losses.put((str(e).strip().splitlines() or ["no reason given"])[0])
            _leave(_LOST_PEER)
        if is_memory(e):
            e = out_of_memory(e)
        trace = "".join(traceback.format_exception(e))
        if hasattr(e, "add_note"):
            e.add_note(trace)
        elif not isinstance(e, UserError):  # Python 3.10, where exceptions have no notes
            print(trace, file=sys.stderr)
        errors.put(e)
        _leave(1)  # without destroy_process_group, which would wait for the others
    dist.destroy_process_group()
    _leave(0)
