"""Protects a program that uses this package as a library: :func:`contained` restores the settings of its process."""

import contextlib
import threading

import torch

from lstmp.distributed import apart
from lstmp.nnet.distributed.workers import flush_denormals

_lock, _thread_state = threading.Lock(), threading.local()
_entered, _num_threads = 0, 1


@contextlib.contextmanager
def contained():
    """Use the commands' settings, one torch thread and flushed denormals, and restore both at the end of the block.

    Other processes of torchrun, or of a process group that the program has made, take no part in the work. The block
    may be entered in several threads at once, and may be nested. Also a decorator: ``@contained()``.
    """
    global _entered, _num_threads
    if getattr(_thread_state, "inside", False):
        yield
        return
    with _lock:
        current = torch.get_num_threads()  # torch initializes the number at a thread's first call, so call it now
        _num_threads = _num_threads if _entered else current  # else another thread inside has set the current number
        _entered += 1
    flushed = _flushes_denormals()
    _thread_state.inside = True
    try:
        torch.set_num_threads(1)
        flush_denormals()
        with apart():
            yield
    finally:
        _thread_state.inside = False
        torch.set_flush_denormal(flushed)
        with _lock:
            _entered -= 1
            torch.set_num_threads(_num_threads)


def _flushes_denormals() -> bool:
    """Whether the calling thread treats denormal numbers as 0; torch has no function for this."""
    return float(torch.full((1,), 1e-40) * 1) == 0
