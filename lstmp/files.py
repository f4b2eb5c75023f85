"""Makes temporary names that no two processes share, and removes the temporary files that killed processes left.

A name contains the machine, the process and a random number: ``.feats.ark.1f0c22aa.4711-8123.9be3a1c4.tmp``. Before a
process writes into a folder, it removes the files left there by processes of the same machine and user that no longer
run. Whether a process of another machine still runs cannot be known. The start time distinguishes a process from a
later one that has the same number.
"""

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from pathlib import Path

from lstmp.errors import naming

_ID = r"(?P<machine>[0-9a-f]{8})\.(?P<pid>\d+)-(?P<start>\d+)"
_FILE = re.compile(rf"\..+\.{_ID}\.[0-9a-f]{{8}}\.(tmp|old)")
_FOLDER = re.compile(rf"lstmp-{_ID}\.\w+")  # in the system's folder for temporary files
_OLD_FILE = re.compile(r"\..+\.(?P<pid>\d+)\.tmp")  # names of earlier versions, without the machine
_MAX_NAME = 120  # bytes of the file's own name that are kept, so that the temporary name is not too long
_swept: set[str] = set()


def temporary_name(path, suffix: str = "tmp") -> Path:
    """Make a new temporary name in the folder of ``path``."""
    path = Path(path)
    name = path.name.encode()[:_MAX_NAME].decode(errors="ignore")
    return path.with_name(f".{name}.{identity()}.{secrets.token_hex(4)}.{suffix}")


@contextlib.contextmanager
def replacing(path):
    """Give a temporary name to write a file to; at the end of the ``with`` block it is renamed to ``path``.

    Missing folders are made. If an error is raised, the temporary file is removed, ``path`` is unchanged, and the error
    names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    tmp = temporary_name(path)
    try:
        with naming(path, tmp):
            yield tmp
            os.replace(tmp, path)
    finally:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_folder(inside=None):
    """Make a folder for this process alone; it is removed at the end of the ``with`` block.

    Args:
        inside: folder to make it in, one with enough space for large files; by default the system's temporary folder.
    """
    place = Path(inside or tempfile.gettempdir())
    sweep(place)
    made = temporary_name(place / "work") if inside else place / f"lstmp-{identity()}.{secrets.token_hex(8)}"
    with naming(place, made):
        made.mkdir(mode=0o700)
    try:
        with naming(place):  # a library that fails on a full disk may not name the file
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def private_folder(folder) -> Path:
    """Make or check a folder with a known name that only this user can enter.

    Raises:
        PermissionError: it belongs to another user, is not a folder, or others can enter it.
    """
    folder = Path(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a folder that only this user can enter", str(folder))
    return folder


def meeting_folder() -> Path:
    """The folder through which the processes that torchrun starts, or restarts, find each other.

    It is the folder of :mod:`lstmp.machines`, which all machines see; or else a folder on this machine that belongs to
    torchrun's agent and is swept when the agent has ended.

    Raises:
        PermissionError: it belongs to another user.
    """
    if folder := os.environ.get("LSTMP_MEETING"):
        return Path(folder)
    return private_folder(Path(tempfile.gettempdir()) / f"lstmp-{identity(os.getppid())}.meeting")


def replace_folder(new, path):
    """Rename the folder ``new`` to ``path``; a folder that had this name is removed.

    Where the file system allows it, the two names are exchanged in one step. Elsewhere the old folder has another name
    for a moment; if the process is killed in that moment, :func:`restore_folder` renames it back.
    """
    new, path = Path(new), Path(path)
    if not path.exists():
        os.replace(new, path)
    elif _exchange(new, path):
        shutil.rmtree(new, ignore_errors=True)
    else:
        old = temporary_name(path, "old")
        os.replace(path, old)
        os.replace(new, path)
        shutil.rmtree(old, ignore_errors=True)


def hidden_folder(path) -> Path | None:
    """The folder that was ``path`` before a process was killed between the two steps of :func:`replace_folder`."""
    path = Path(path)
    if path.exists():
        return None
    old = (p for p in path.parent.glob(".*.old") if p.name.startswith(f".{path.name}.") and _FILE.fullmatch(p.name))
    return max(old, key=lambda p: p.stat().st_mtime, default=None)


def restore_folder(path):
    """Rename back to ``path`` the folder that a killed process left under another name."""
    if old := hidden_folder(path):
        os.replace(old, path)


def sweep(place):
    """Remove the temporary files and folders that ended processes of this machine and user left in a folder.

    This is done once per folder and process.
    """
    place = os.path.realpath(place)
    if place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for path in [e.path for e in entries if e.name[0] in ".l" and _is_leftover(e)]:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(path)


def _is_leftover(entry: os.DirEntry) -> bool:
    name = _FILE.fullmatch(entry.name) or _FOLDER.fullmatch(entry.name)
    found = name or _OLD_FILE.fullmatch(entry.name)
    if name and name["machine"] != _machine() or not found:
        return False
    state = entry.stat(follow_symlinks=False)
    if state.st_uid != os.geteuid() or stat.S_ISLNK(state.st_mode):
        return False
    if name and entry.name.endswith(".old") and hidden_folder(_without(entry.path, name)) is not None:
        return False  # the only copy: restore_folder needs it
    started = _started(int(found["pid"]))
    return started is None or name is not None and started != int(name["start"])


def _without(path: str, name: re.Match) -> Path:
    """The path from which a temporary name was made."""
    return Path(path).with_name(Path(path).name[1:name.start("machine") - 1])


def identity(pid: int | None = None) -> str:
    """Machine, process number and start time, of this process or of another one on this machine."""
    pid = pid or os.getpid()
    return f"{_machine()}.{pid}-{_started(pid) or 0}"


@functools.cache
def _machine() -> str:
    """Identify this machine or container, within which a process number is unique."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.blake2b(f"{socket.gethostname()} {numbers}".encode(), digest_size=4).hexdigest()


def _started(pid: int) -> int | None:
    """When a process was started, in the kernel's ticks; None if it does not run, 0 if that cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        if os.path.isdir("/proc/self"):
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return 0
    fields = text.rpartition(")")[2].split()  # the name in parentheses may contain anything
    return None if fields[0] in "ZX" else int(fields[19])


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; False if the kernel or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another C library
        return False
    at_cwd, exchange = -100, 2
    return renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), exchange) == 0
