"""Several processes on one job: each takes its share of the utterances, sums are made with ``all_reduce``.

Under ``torchrun`` the processes are torchrun's, on one machine or many. Without it, :func:`launch` starts ``nj``
processes on this machine, so that ``--nj`` needs no launcher. Work that is given by utterances is shared by taking
every world-size-th one, in order of length, so that shares are of nearly equal size.
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

_PATIENCE = 30.0  # minutes to wait for another process
_LOST_PEER = 77  # exit status of a worker that only noticed that another one had gone

_apart = contextvars.ContextVar("_apart", default=False)


class LostPeer(RuntimeError):
    """Another process does not answer; it, or torchrun, says why."""


@contextlib.contextmanager
def apart():
    """Have nothing to do with the processes of torchrun or of a process group meanwhile: they are of the program that
    calls this package, and about its own work."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def _met() -> bool:
    return dist.is_initialized() and not _apart.get()


def _by_torchrun() -> bool:
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ and not _apart.get()


def begin(minutes: float = _PATIENCE):
    """Meet the other processes that torchrun has started, unless that is done; without torchrun nothing happens.

    ``minutes`` is how long to wait for another one, then and later.
    """
    if _by_torchrun() and not dist.is_initialized():
        here, size = int(os.environ.get("LOCAL_WORLD_SIZE", "0")), int(os.environ["WORLD_SIZE"])
        path = _meeting(here == size)
        if here == size:
            _stay_on_this_machine()
        own: dict[str, Any] = {} if path is None else {
            "store": dist.FileStore(str(path), size), "rank": int(os.environ["RANK"]), "world_size": size}
        dist.init_process_group("gloo", timeout=timedelta(minutes=minutes), **own)


def _meeting(alone: bool) -> Path | None:
    """The file by which torchrun's processes find each other; None: by torch's store, which listens on all interfaces.

    ``alone``: all are on this machine.
    """
    where = f"{os.environ.get('MASTER_ADDR')}-{os.environ.get('MASTER_PORT')}"  # new with each start of the processes
    if os.environ.get("LSTMP_MEETING"):
        return files.meeting_folder() / where
    if alone:
        files.sweep(tempfile.gettempdir())
        return files.meeting_folder() / f"{where}-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    return None


def _stay_on_this_machine():
    """Listen to this machine's processes alone."""
    if any(name == "lo" for _, name in socket.if_nameindex()):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def rank() -> int:
    return dist.get_rank() if _met() else 0


def local_rank() -> int:
    """Which of its machine's processes this is."""
    return int(os.environ.get("LOCAL_RANK", rank()))


def world_size() -> int:
    return dist.get_world_size() if _met() else 1


def all_reduce(*tensors: torch.Tensor):
    """Sum each tensor in place over all processes; every process gets the same bits."""
    if _met():
        for tensor in tensors:
            dist.all_reduce(tensor)


def share(items: list, cost) -> list:
    """This process's part of ``items``: of the list sorted by falling ``cost(item)``, every world-size-th one."""
    ordered = sorted(items, key=lambda item: (-cost(item), item))
    return ordered[rank()::world_size()]


def gather(value, group=None) -> list:
    """A small value, see :mod:`lstmp.message`, from every process (of a group), in order of rank, on every process."""
    if not _met():
        return [value]
    data, count = message.pack(value), dist.get_world_size(group)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count)]
    dist.all_gather(sizes, torch.tensor([len(data)]), group=group)
    longest = max(map(int, sizes))
    parts = [torch.empty(longest, dtype=torch.uint8) for _ in range(count)]
    dist.all_gather(parts, torch.nn.functional.pad(data, (0, longest - len(data))), group=group)
    return [message.unpack(part[:int(size)]) for part, size in zip(parts, sizes, strict=True)]


def launch(fn, nj: int, *args, timeout: float = _PATIENCE):
    """Call ``fn(*args)`` in ``nj`` processes that can talk to each other (or in this one, if ``nj`` is 1).

    Under torchrun only the process of rank 0 returns; the others exit once all have ended, so that the rest of a
    command runs once. A process that waits for another one longer than ``timeout`` minutes gives up.

    Raises:
        UserError: the one that a process raised, or one that says that a process was killed.
        Exception: any other that a process raised, with that process's traceback as a note.
    """
    if _by_torchrun():  # torchrun has made the processes already
        _under_torchrun(fn, args, timeout)
        return
    if nj <= 1:
        fn(*args)
        return
    with files.temporary_folder() as folder:
        threads = max(1, torch.get_num_threads() // nj)
        context = torch.multiprocessing.get_context("spawn")
        with locks_of_workers():
            errors = context.SimpleQueue()
        workers = [context.Process(target=_work, args=(fn, args, i, nj, threads, folder, errors, os.getpid(),
                                                      timedelta(minutes=timeout)))
                   for i in range(nj)]
        try:
            for worker in workers:
                worker.start()
            _wait(workers, errors)
        finally:
            for worker in workers:
                if worker.pid is not None:
                    worker.kill()
                    worker.join()


def together(fn, *args):
    """Call ``fn(*args)``, in every process that torchrun has started: one a machine, which shares out its work by
    :func:`lstmp.parallel.iter_jobs` and does what must be done once by :func:`on_first`. As for :func:`launch`, only
    the process of rank 0 returns.
    """
    if _by_torchrun():
        _under_torchrun(fn, args, _PATIENCE)
    else:
        fn(*args)


_alone = False  # on_first is at work


def shares_work() -> bool:
    """Whether there are other processes to share work with, here and now."""
    return world_size() > 1 and not _alone


def on_first(fn, *args):
    """Call ``fn(*args)`` in the process of rank 0 alone; the others wait. Returns what it returned, in all."""
    global _alone
    begin()
    if not shares_work():
        return fn(*args)
    value = None
    if rank() == 0:
        _alone = True
        try:
            value = fn(*args)
        finally:
            _alone = False
    try:
        return pass_on(value, 0)
    except RuntimeError as e:
        if _lost_peer(e):
            _leave(_LOST_PEER)
        raise


def pass_on(value, source: int):
    """The value that the process of rank ``source`` has, in all."""
    if not _met():
        return value
    data = message.pack(value) if rank() == source else None
    size = torch.tensor([0 if data is None else len(data)])
    dist.broadcast(size, src=source)
    data = torch.empty(int(size), dtype=torch.uint8) if data is None else data
    dist.broadcast(data, src=source)
    return value if rank() == source else message.unpack(data)


def hand_in(value, source: int):
    """The value that the process of rank ``source`` has, in that of rank 0; None in the others."""
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
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it looked at them only afterwards
    torch.set_flush_denormal(True)
    try:
        begin(timeout)
        fn(*args)  # if it raises, the group is left as it is: to take it down would wait for the others
        dist.barrier()
    except RuntimeError as e:
        if _lost_peer(e):
            _leave(_LOST_PEER)
        raise
    follower, here = rank() != 0, int(os.environ.get("LOCAL_WORLD_SIZE", "0")) == world_size()
    dist.destroy_process_group()
    if follower:
        _leave(0)
    if here and not os.environ.get("LSTMP_MEETING"):
        shutil.rmtree(files.meeting_folder(), ignore_errors=True)


def _leave(status: int):
    """End this process, whose work is done or lost, at once.

    Were Python taken down first, torch 2 would now and then abort it for a thread of a process group that still runs.
    """
    if status == 0:
        # as after a fork: gives back semaphores, such as that of the bars
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # it is private
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(status)


def _lost_peer(e: Exception) -> bool:
    """Whether it says only that another process has gone; that one gives the reason."""
    return isinstance(e, LostPeer) or isinstance(e, RuntimeError) and "gloo" in str(e)


def _wait(workers, errors):
    """Return when all have ended well; raise as soon as one has ended for a reason of its own."""
    running = list(workers)
    while running:
        wait([worker.sentinel for worker in running])
        for worker in [w for w in running if w.exitcode is not None]:
            running.remove(worker)
            if worker.exitcode == 0:
                continue
            if not errors.empty():
                raise errors.get()
            if worker.exitcode != _LOST_PEER or not running:
                raise UserError(f"a worker process ended with status {worker.exitcode}",
                                hint="if it was killed for memory, lower --nj; run the same command again to go on")


def _work(fn, args, index, count, threads, folder, errors, parent, timeout):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive a killed parent
        if os.getppid() != parent:
            os._exit(1)
    step_log.join()
    torch.set_num_threads(threads)
    _stay_on_this_machine()
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it looked at them only afterwards
    torch.set_flush_denormal(True)
    try:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder) / 'rendezvous'}", rank=index,
                                world_size=count, timeout=timeout)
        fn(*args)
    except Exception as e:
        if _lost_peer(e):
            _leave(_LOST_PEER)
        if is_memory(e):
            e = out_of_memory(e)
        where = "".join(traceback.format_exception(e))
        if hasattr(e, "add_note"):
            e.add_note(where)
        elif not isinstance(e, UserError):  # Python 3.10, whose exceptions have no notes
            print(where, file=sys.stderr)
        errors.put(e)
        _leave(1)  # not through destroy_process_group, which would wait for the others
    dist.destroy_process_group()
    _leave(0)
