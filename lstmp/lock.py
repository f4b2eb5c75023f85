"""Locks a folder for one process at a time: a second process stops with an error that names the first.

The lock is an ``flock`` on the file ``<folder>/.lock``, which is never removed. The system frees the lock when its
process ends, in whatever way. The content of ``.lock`` says who holds it.
"""

import functools
import json
import os
import socket
import sys
import time
from pathlib import Path

from lstmp.errors import UserError
from lstmp.log import warn

try:
    import fcntl
except ImportError:  # this system lacks it
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

_held: dict[str, list] = {}  # folder → [open file, how often this process holds it]


def hold(folder):
    """Lock ``folder`` until :func:`release` or the end of this process; the folder is made if absent.

    A process may hold a folder several times, and must then release it as often. Its forked children do not hold it.

    Raises:
        UserError: another process holds it.
    """
    name = os.path.realpath(folder)
    if name in _held:
        _held[name][1] += 1
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = open(Path(folder) / ".lock", "a+b")
    try:
        take(file, Path(folder))
    except UserError:
        file.close()
        raise
    _held[name] = [file, 1]


def release(folder):
    """Undo one :func:`hold`; if there was none, nothing happens."""
    name = os.path.realpath(folder)
    if name not in _held:
        return
    _held[name][1] -= 1
    if not _held[name][1]:
        _held.pop(name)[0].close()


def is_held(folder) -> bool:
    """Whether a process holds ``folder`` now; False if that cannot be known."""
    try:
        with open(Path(folder) / ".lock", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):  # no such file, no locks here
        return False
    return False


def _forget():
    """Close the copies of the files in a forked process, which would keep the locks after their holder has ended."""
    for file, _ in _held.values():
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def take(file, folder: Path, who: str | None = None):
    """Lock an open ``.lock`` and write into it who holds it.

    Args:
        who: the command line of this process's parent, if the parent has opened the file; None: this process has.

    Raises:
        UserError: another process holds it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{_holder(folder)} is at work here", file=folder,
                        hint="wait until it ends, or choose another folder") from None
    except OSError as e:
        _warn_no_locks(e.strerror)
        return
    about = {"process": os.getpid() if who is None else os.getppid(), "host": socket.gethostname(),
             "since": time.strftime("%Y-%m-%d %H:%M:%S"), "command": who or " ".join(sys.argv)}
    file.truncate(0)
    file.seek(0)
    file.write(json.dumps(about).encode() + b"\n")
    file.flush()


@functools.cache
def _warn_no_locks(why: str):
    warn(f"the file system has no locks ({why}); make sure that only one process at a time works in a folder")


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / ".lock").read_bytes())
        return f"process {about['process']} on {about['host']} (`{about['command']}`, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
