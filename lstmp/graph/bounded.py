"""Work on graphs that might have no end, in a process of its own which limits of time and memory end.

kaldifst cannot be stopped, and what a determinization takes is not known before it is done: a few hundred states may
become billions. But of a lexicon and a language model as they are used, it takes time and memory that grow with their
arcs. The limits are several times these, and those of time rise on a slow machine.
"""

import ctypes
import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lstmp import files
from lstmp.errors import UserError, is_memory

Result = TypeVar("Result")
# mini_librispeech's graph takes 40 µs of the processor and 1.7 kB for each arc of lexicon and language model
_SECONDS, _SECONDS_OF_ARC = 3.0, 300e-6
_BYTES, _BYTES_OF_ARC = 700 << 20, 10_000
_LOOP, _LOOP_SECONDS = 200_000, 0.012  # additions, and how long they take where the above was measured


def bounded(work: Callable[[], Result], arcs: int, fault: UserError) -> Result:
    """What ``work()`` returns, pickled on its way here.

    Args:
        work: what it prints is seen, but not what is written on stderr.
        arcs: how many there are in all that it works on.
        fault: raised if it takes too much, or kaldifst gives up.

    Raises:
        UserError: ``fault``; or the process was killed. What ``work`` raises is raised here too.
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
            raise UserError("a process that builds the graph was killed", file=fault.file,
                            hint="most often the memory ran out: close other programs, or take a smaller model")
        if status:
            raise fault
        with open(result, "rb") as f:
            done, value = pickle.load(f)
        if not done:
            raise value
        return value


def _set_limits(parent: int, arcs: int):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive a killed parent
        if os.getppid() != parent:
            os._exit(1)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _lower(resource.RLIMIT_AS, mapped + _BYTES + _BYTES_OF_ARC * arcs)
    _lower(resource.RLIMIT_CPU, round(_slowness() * (_SECONDS + _SECONDS_OF_ARC * arcs)))
    _lower(resource.RLIMIT_CORE, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if "torch" in sys.modules:  # its pool of threads is not inherited, and would be waited for
        sys.modules["torch"].set_num_threads(1)


def _lower(which: int, limit: int):
    """Set a limit unless it is lower already. The hard one stays: at the soft one of time a signal comes that tells
    this end from others."""
    soft, hard = resource.getrlimit(which)
    if soft == resource.RLIM_INFINITY or limit < soft:
        resource.setrlimit(which, (limit, hard))


def _slowness() -> float:
    """How many times longer a simple loop takes than where the limits were measured; at least 1."""
    begin, total = time.process_time(), 0
    for i in range(_LOOP):
        total += i
    return max(1.0, (time.process_time() - begin) / _LOOP_SECONDS)


def _work(work: Callable[[], Result], result: Path) -> int:
    """Run it and write what it returns, or the fault that it raises; returns the status to exit with."""
    answer: tuple[bool, Result | Exception]
    try:
        answer = True, work()
    except Exception as e:
        if is_memory(e) or isinstance(e, RuntimeError):  # so kaldifst says that it cannot go on
            return 1
        answer = False, e
    try:
        _write(result, answer)
    except OSError as e:  # such as of a full disk, where that still has room
        _write(result, (False, e))
    return 0


def _write(path: Path, answer: tuple):
    with open(path, "wb") as f:
        pickle.dump(answer, f, protocol=pickle.HIGHEST_PROTOCOL)
