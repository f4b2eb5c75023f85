"""Applies a function to many items in several processes: results are in order, and errors of workers are raised.

Workers are forked. They read the parent's memory without copying it (a decoding graph of 13 million arcs, a model), so
``fn`` may be any function, including a closure. They also start at once, whereas ``spawn`` would import torch and send
the graph to each worker. Forking is unsafe with torch because a child does not inherit its pool of OpenMP threads;
therefore each worker runs torch on one thread and never uses the pool. If the parent has used CUDA, its workers must
not use it.
"""

import collections
import concurrent.futures
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from lstmp import distributed
from lstmp.errors import UserError, is_memory, locks_of_workers, out_of_memory
from lstmp.log import progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: tuple[Callable, list] | None = None  # function and items, which the workers inherit by the fork
_QUEUE_PER_WORKER = 8  # jobs handed out before the oldest result is taken; limits the memory for results


def run_jobs(fn: Callable[[Item], Result], items: Iterable[Item], nj: int, what: str,
             unit: str = "utt") -> list[Result]:
    """Compute ``[fn(item) for item in items]`` in ``nj`` processes, with a progress bar named ``what``.

    With ``nj`` 1 everything runs in this process. Results are pickled to be sent back.

    Raises:
        UserError: as raised by ``fn`` in a worker, or because a worker was killed.
    """
    return list(iter_jobs(fn, items, nj, what, unit))


def iter_jobs(fn: Callable[[Item], Result], items: Iterable[Item], nj: int, what: str, unit: str = "utt",
              for_all: bool = True) -> Iterator[Result]:
    """Like :func:`run_jobs`, but yield each result in turn, while the workers compute the next ones.

    Under torchrun each process, one per machine, computes its share of the items with ``nj`` workers. With ``for_all``
    every process gets all results; otherwise only the first process does, and the others get None.
    """
    items = list(items)
    if not distributed.shares_work():
        yield from _iter_here(fn, items, nj, what, unit)
        return
    first, count = distributed.rank(), distributed.world_size()
    mine = _iter_here(fn, items[first::count], nj, what, unit, fork=True)
    next(mine, None)  # starts the workers, which continue while this process waits for others' results
    for i in range(len(items)):
        owner = i % count
        result = next(mine) if owner == first else None
        yield distributed.pass_on(result, owner) if for_all else distributed.hand_in(result, owner)


def _iter_here(fn: Callable[[Item], Result], items: list[Item], nj: int, what: str, unit: str,
               fork: bool = False) -> Iterator[Any]:
    nj = min(nj, len(items))
    if nj <= 1 and not (fork and items):
        yield from map(fn, progress(items, what, unit=unit))
        return
    global _work
    older_children, outer = set(multiprocessing.active_children()), _work
    _work = fn, items
    with locks_of_workers():
        pool = concurrent.futures.ProcessPoolExecutor(
            nj, mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(os.getpid(),))
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for i in range(min(len(items), _QUEUE_PER_WORKER * nj)):
            pending.append(pool.submit(_call, i))
        _work = outer  # all workers are forked by the first submit
        if fork:
            yield None
        for i in progress(range(len(items)), what, unit=unit):
            yield _await(pending.popleft())
            if i + _QUEUE_PER_WORKER * nj < len(items):
                pending.append(pool.submit(_call, i + _QUEUE_PER_WORKER * nj))
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError(f"{what}: a worker process was killed", hint="probably the memory ran out: lower --nj, then "
                        "run the same command again") from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - older_children:
            process.terminate()  # do not wait for jobs whose results are no longer needed
        raise
    finally:
        _work = outer
        with contextlib.suppress(OSError):  # if an error ends the command, the pipes may be closed already
            pool.shutdown(wait=True, cancel_futures=True)


def _await(future: concurrent.futures.Future):
    """Wait for the future's result in short sleeps.

    The kernel may deliver Ctrl-C to another thread of this process, and Python handles it only when the main thread
    wakes up.
    """
    while not future.done():
        concurrent.futures.wait([future], timeout=1)
    return future.result()


def _begin(parent: int):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive a killed parent
        if os.getppid() != parent:
            os._exit(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _call(i: int):
    assert _work is not None
    fn, items = _work
    try:
        return fn(items[i])
    except Exception as e:
        if is_memory(e):
            raise out_of_memory(e) from None  # here the traceback still shows which function asked for it
        raise
