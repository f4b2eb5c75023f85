"""Runs work on graphs that might never end in a separate process, with limits of time and memory.

kaldifst cannot be stopped, and the cost of a determinization is not known in advance: a few hundred states may become
billions. For usable lexicons and language models, time and memory grow with the number of arcs. The limits are several
times what these need; the time limit is longer on a slow machine.
"""

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from lstmp import files, message
from lstmp.errors import UserError, is_memory

Result = TypeVar("Result")
# mini_librispeech's graph takes 40 µs of CPU time and 1.7 kB for each arc of lexicon and language model
_SECONDS, _SECONDS_PER_ARC = 3.0, 300e-6
_BYTES, _BYTES_PER_ARC = 700 << 20, 10_000
_LOOP, _LOOP_SECONDS = 200_000, 0.012  # number of additions, and their time on the machine of these measurements


def bounded(work: Callable[[], Result], arcs: int, error: UserError) -> Result:
    """Call ``work()`` in a forked process and return its result.

    Args:
        work: what it returns must be a value that :mod:`lstmp.message` can pack. Its output to stdout is kept, that to
            stderr is discarded.
        arcs: number of arcs of all its input.
        error: raised if it needs too much time or memory, or kaldifst gives up.

    Raises:
        UserError: ``error``; one that says that the process was killed; or one that ``work`` raised.
        OSError: one that ``work`` raised.
        RuntimeError: for any other exception of ``work``, with its traceback.
    """
    with files.temporary_folder() as tmp:
        result, parent = tmp / "result", os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            status = 1
            try:
                _set_limits(parent, arcs)
                status = _work(work, result)
            finally:
                os._exit(status)
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        except BaseException:  # Ctrl-C
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        if status == -signal.SIGKILL:
            raise UserError("the process that builds the graph was killed", file=error.file,
                            hint="usually the memory ran out: close other programs, or use a smaller model")
        if status:
            raise error
        outcome, *content = message.unpack(torch.from_numpy(np.fromfile(result, np.uint8)))
        if outcome == "returned":
            return content[0]
        if outcome == "user error":
            raise content[0]
        if outcome == "system error":
            raise OSError(*content)
        raise RuntimeError(content[0])


def _set_limits(parent: int, arcs: int):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive a killed parent
        if os.getppid() != parent:
            os._exit(1)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _lower(resource.RLIMIT_AS, mapped + _BYTES + _BYTES_PER_ARC * arcs)
    _lower(resource.RLIMIT_CPU, round(_slowness() * (_SECONDS + _SECONDS_PER_ARC * arcs)))
    _lower(resource.RLIMIT_CORE, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)  # torch would wait for the threads of its pool, which are not inherited


def _lower(which: int, limit: int):
    """Set a soft limit unless it is lower already. At the soft time limit the process gets a signal of its own."""
    soft, hard = resource.getrlimit(which)
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(which, (limit, hard))


def _slowness() -> float:
    """How many times longer a simple loop takes than on the machine of the measurements; at least 1."""
    begin, total = time.process_time(), 0
    for i in range(_LOOP):
        total += i
    return max(1.0, (time.process_time() - begin) / _LOOP_SECONDS)


def _work(work: Callable[[], Result], result: Path) -> int:
    """Call ``work`` and write its outcome to the file ``result``. Returns the exit status of the process."""
    try:
        outcome = message.pack(("returned", work()))
    except UserError as e:
        outcome = message.pack(("user error", e))
    except Exception as e:
        if is_memory(e) or isinstance(e, RuntimeError):  # kaldifst raises RuntimeError if it gives up
            return 1
        outcome = message.pack(_failure(e))
    try:
        outcome.numpy().tofile(result)
    except OSError as e:  # for example, the disk is full; there may be room for the error
        message.pack(_failure(e)).numpy().tofile(result)
    return 0


def _failure(e: Exception) -> tuple:
    if isinstance(e, OSError):
        return "system error", e.errno, e.strerror, *([str(e.filename)] if e.filename else [])
    return "exception", "".join(traceback.format_exception(e))
