"""What a program that calls this package as a library may rely on: :func:`contained` leaves its process as it was."""

import contextlib
import threading

import torch

from lstmp.distributed import apart
from lstmp.nnet.distributed.workers import flush_denormals

_lock, _mine = threading.Lock(), threading.local()
_inside, _threads = 0, 1


@contextlib.contextmanager
def contained():
    """Work as the commands do, with torch on one thread and denormals flushed, and put both back afterwards.

    Other processes of torchrun, or of a process group that the program has made, are left out of the work. May be
    entered in several threads at once, and again within itself. Also a decorator: ``@contained()``.
    """
    global _inside, _threads
    if getattr(_mine, "here", False):
        yield
        return
    with _lock:
        told = torch.get_num_threads()  # at a thread's first call torch settles its number, and would do so later
        _threads = _threads if _inside else told  # while another thread is inside, the number is that set there
        _inside += 1
    flushed = _flushes()
    _mine.here = True
    try:
        torch.set_num_threads(1)
        flush_denormals()
        with apart():
            yield
    finally:
        _mine.here = False
        torch.set_flush_denormal(flushed)
        with _lock:
            _inside -= 1
            torch.set_num_threads(_threads)


def _flushes() -> bool:
    """Whether the calling thread takes denormal numbers for 0; torch does not tell."""
    return float(torch.full((1,), 1e-40) * 1) == 0
