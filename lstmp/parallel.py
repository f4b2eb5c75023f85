"""One function over many items in several processes: results in order, faults as they are, killed workers noticed.

Workers are forked. They see the parent's memory without copying it (a decoding graph of 13 million arcs, a model), so
``fn`` may be any function, closures included, and start at once, where ``spawn`` would import torch and send the graph
to each. What makes forking unsafe beside torch is its pool of OpenMP threads, which a child does not inherit; each
worker runs torch on one thread and never touches it. A parent that has used CUDA must not let its workers use it.
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

_work: tuple[Callable, list] | None = None  # what the workers inherit by the fork
_AHEAD = 8  # jobs handed out per worker before the oldest result is taken; bounds the memory for results


def run_jobs(fn: Callable[[Item], Result], items: Iterable[Item], nj: int, what: str,
             unit: str = "utt") -> list[Result]:
    """``[fn(item) for item in items]`` over ``nj`` processes, with a progress bar named ``what``.

    With ``nj`` 1 all runs in this process. Results are pickled on their way back.

    Raises:
        UserError: as raised by ``fn`` in a worker, or because a worker was killed.
    """
    return list(iter_jobs(fn, items, nj, what, unit))


def iter_jobs(fn: Callable[[Item], Result], items: Iterable[Item], nj: int, what: str, unit: str = "utt",
              for_all: bool = True) -> Iterator[Result]:
    """As :func:`run_jobs`, but yields each result in turn, a few jobs behind the workers.

    Under torchrun each process, one a machine, does its share of the items with ``nj`` workers of its own. All get all
    results; or the first process alone, if they need not be known ``for_all``, and the others None.
    """
    items = list(items)
    if not distributed.shares_work():
        yield from _iter_here(fn, items, nj, what, unit)
        return
    first, count = distributed.rank(), distributed.world_size()
    mine = _iter_here(fn, items[first::count], nj, what, unit, fork=True)
    next(mine, None)  # starts the workers, which go on while this process waits for others' results
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
    before, outer = set(multiprocessing.active_children()), _work
    _work = fn, items
    with locks_of_workers():
        pool = concurrent.futures.ProcessPoolExecutor(
            nj, mp_context=multiprocessing.get_context("fork"), initializer=_begin, initargs=(os.getpid(),))
    pending: collections.deque[concurrent.futures.Future] = collections.deque()
    try:
        for i in range(min(len(items), _AHEAD * nj)):
            pending.append(pool.submit(_call, i))
        _work = outer  # all workers are forked by the first submit
        if fork:
            yield None
        for i in progress(range(len(items)), what, unit=unit):
            yield _await(pending.popleft())
            if i + _AHEAD * nj < len(items):
                pending.append(pool.submit(_call, i + _AHEAD * nj))
    except concurrent.futures.process.BrokenProcessPool:
        raise UserError(f"{what}: a worker process was killed", hint="most often the memory ran out: lower --nj, then "
                        "run the same command again") from None
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()  # rather than wait for jobs whose results nobody takes
        raise
    finally:
        _work = outer
        with contextlib.suppress(OSError):  # where a fault ends the command meanwhile, its pipes are closed already
            pool.shutdown(wait=True, cancel_futures=True)


def _await(future: concurrent.futures.Future):
    """The future's result, waited for in short sleeps: the kernel may hand Ctrl-C to another thread of this process,
    and Python acts on it only when the main thread wakes."""
    while not future.done():
        concurrent.futures.wait([future], timeout=1)
    return future.result()


def _begin(parent: int):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
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
            raise out_of_memory(e) from None  # here it is known who asked for it
        raise
