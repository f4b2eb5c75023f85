"""Several processes on one job: each takes its share of the utterances, sums are made with ``all_reduce``.

Under ``torchrun`` the processes are torchrun's, on one machine or many. Without it, :func:`launch` starts ``nj``
processes on this machine, so that ``--nj`` needs no launcher. Work that is given by utterances is shared by taking
every world-size-th one, in order of length, so that shares are of nearly equal size.
"""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from lstmp.errors import UserError


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def all_reduce(*tensors: torch.Tensor):
    """Sum each tensor in place over all processes; every process gets the same bits."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.all_reduce(tensor)


def share(items: list, cost) -> list:
    """This process's part of ``items``: of the list sorted by falling ``cost(item)``, every world-size-th one."""
    ordered = sorted(items, key=lambda item: (-cost(item), item))
    return ordered[rank()::world_size()]


def gather(value) -> list:
    """A small Python value from every process, in order of rank, on every process."""
    if not dist.is_initialized():
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def launch(fn, nj: int, *args):
    """Call ``fn(*args)`` in ``nj`` processes that can talk to each other (or in this one, if ``nj`` is 1).

    Raises:
        UserError: the one that a process raised, or one that says that a process was killed.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:  # torchrun has made the processes already
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
        dist.init_process_group("gloo")
        try:
            return fn(*args)
        finally:
            dist.destroy_process_group()
    if nj <= 1:
        return fn(*args)
    with tempfile.TemporaryDirectory() as folder:
        threads = max(1, torch.get_num_threads() // nj)
        context = torch.multiprocessing.get_context("spawn")
        errors = context.SimpleQueue()
        workers = [context.Process(target=_work, args=(fn, args, i, nj, threads, folder, errors)) for i in range(nj)]
        for worker in workers:
            worker.start()
        try:
            _wait(workers, errors)
        finally:
            for worker in workers:
                worker.kill()
                worker.join()


def _wait(workers, errors):
    while any(worker.is_alive() for worker in workers):
        for worker in workers:
            worker.join(timeout=0.05)
            if worker.exitcode not in (None, 0):
                if not errors.empty():
                    raise errors.get()
                raise UserError(f"a worker process ended with status {worker.exitcode}",
                                mend="if it was killed for memory, lower --nj; run the same command again to go on")
    if not errors.empty():
        raise errors.get()


def _work(fn, args, index, count, threads, folder, errors):
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    dist.init_process_group("gloo", init_method=f"file://{Path(folder) / 'rendezvous'}", rank=index, world_size=count)
    try:
        fn(*args)
    except (UserError, OSError, MemoryError) as e:
        errors.put(e)
        os._exit(1)  # not through destroy_process_group, which would wait for the others
    dist.destroy_process_group()
