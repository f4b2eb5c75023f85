"""Several processes on one job: each takes its share of the utterances, sums are made with ``all_reduce``.

Under ``torchrun`` the processes are torchrun's, on one machine or many. Without it, :func:`launch` starts ``nj``
processes on this machine, so that ``--nj`` needs no launcher. Work that is given by utterances is shared by taking
every world-size-th one, in order of length, so that shares are of nearly equal size.
"""

import contextlib
import contextvars
import ctypes
import os
import pickle
import signal
import sys
import tempfile
import traceback
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from lstmp import step_log
from lstmp.errors import UserError

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
        dist.init_process_group("gloo", timeout=timedelta(minutes=minutes))


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


def gather(value) -> list:
    """A small Python value from every process, in order of rank, on every process."""
    if not _met():
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


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
    with tempfile.TemporaryDirectory() as folder:
        threads = max(1, torch.get_num_threads() // nj)
        context = torch.multiprocessing.get_context("spawn")
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
    values = [value]
    dist.broadcast_object_list(values, src=source)
    return values[0]


def hand_in(value, source: int):
    """The value that the process of rank ``source`` has, in that of rank 0; None in the others."""
    if source == 0:
        return value if rank() == 0 else None
    size = torch.zeros(1, dtype=torch.int64)
    if rank() == source:
        data = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
        size[0] = len(data)
        dist.send(size, dst=0), dist.send(data, dst=0)
    elif rank() == 0:
        dist.recv(size, src=source)
        data = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(data, src=source)
        return pickle.loads(data.numpy().tobytes())
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
    follower = rank() != 0
    dist.destroy_process_group()
    if follower:
        _leave(0)


def _leave(status: int):
    """End this process, whose work is done or lost, at once.

    Were Python taken down first, torch 2 would now and then abort it for a thread of a process group that still runs.
    """
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
                                mend="if it was killed for memory, lower --nj; run the same command again to go on")


def _work(fn, args, index, count, threads, folder, errors, parent, timeout):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive a killed parent
        if os.getppid() != parent:
            os._exit(1)
    step_log.join()
    torch.set_num_threads(threads)
    np.finfo(np.float32), np.finfo(np.float64)  # numpy would warn if it looked at them only afterwards
    torch.set_flush_denormal(True)
    try:
        dist.init_process_group("gloo", init_method=f"file://{Path(folder) / 'rendezvous'}", rank=index,
                                world_size=count, timeout=timeout)
        fn(*args)
    except Exception as e:
        if _lost_peer(e):
            _leave(_LOST_PEER)
        where = "".join(traceback.format_exception(e))
        if hasattr(e, "add_note"):
            e.add_note(where)
        elif not isinstance(e, UserError):  # Python 3.10, whose exceptions have no notes
            print(where, file=sys.stderr)
        errors.put(e)
        _leave(1)  # not through destroy_process_group, which would wait for the others
    dist.destroy_process_group()
    _leave(0)
