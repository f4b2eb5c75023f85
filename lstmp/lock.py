"""One process at a time in a folder: the second one is told who is there, and stops.

The lock is on the file ``<folder>/.lock``, which stays, and is the system's own (``flock``): it ends with its process,
however that ends. ``.lock`` says who holds it.
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
except ImportError:  # a system without it
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

_held: dict[str, list] = {}  # folder → [open file, how often this process holds it]


def hold(folder):
    """Let no other process hold ``folder``, which is made if absent, until :func:`release` or this process ends.

    A process may hold a folder several times over, and must release it as often. What it forks does not hold it.

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
    """Undo one :func:`hold`; without one, nothing happens."""
    name = os.path.realpath(folder)
    if name not in _held:
        return
    _held[name][1] -= 1
    if not _held[name][1]:
        _held.pop(name)[0].close()


def _forget():
    """In a forked process, whose copies of the files would keep the locks after the death of their holder."""
    for file, _ in _held.values():
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def take(file, folder: Path, who: str | None = None):
    """Lock an open ``.lock`` and write into it who holds it.

    Args:
        who: the command line of this process's parent, which has opened the file; None: it is this process's own.

    Raises:
        UserError: another process holds it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{_holder(folder)} is at work here", file=folder,
                        hint="wait for its end, or choose another folder") from None
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
    warn(f"the file system has no locks ({why}); see to it that one process at a time works in a folder")


def _holder(folder: Path) -> str:
    try:
        about = json.loads((folder / ".lock").read_bytes())
        return f"process {about['process']} on {about['host']} (`{about['command']}`, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
