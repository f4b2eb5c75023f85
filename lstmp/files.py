"""Temporary names that no two processes share, and an end for what killed processes leave under them.

A name holds the machine, the process and a random number: ``.feats.ark.1f0c22aa.4711-8123.9be3a1c4.tmp``. Who writes
into a folder first removes what is left there by processes of the same machine and user that no longer run; of other
machines it cannot be known. A process is told from a later one with its number by the time at which it was started.
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
_BEFORE = re.compile(r"\..+\.(?P<pid>\d+)\.tmp")  # of earlier versions, without the machine
_LONGEST = 120  # bytes of a file's own name that are kept, so that a long one with the rest is still a name
_swept: set[str] = set()


def temporary_name(path, kind: str = "tmp") -> Path:
    """A new name in the folder of ``path``."""
    path = Path(path)
    name = path.name.encode()[:_LONGEST].decode(errors="ignore")
    return path.with_name(f".{name}.{identity()}.{secrets.token_hex(4)}.{kind}")


@contextlib.contextmanager
def replacing(path):
    """The name to write a file under; at the end of the ``with`` block it becomes ``path``.

    Missing folders are made. After a fault nothing is left and ``path`` is what it was; the fault names ``path``.
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
    """A folder for this process alone, which is removed at the end of the ``with`` block.

    Args:
        inside: where it is to lie, where there is room for what is large; by default the system's place.
    """
    place = Path(inside or tempfile.gettempdir())
    sweep(place)
    made = temporary_name(place / "work") if inside else place / f"lstmp-{identity()}.{secrets.token_hex(8)}"
    with naming(place, made):
        made.mkdir(mode=0o700)
    try:
        with naming(place):  # the disk is full, and a library does not say of which file
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def private_folder(folder) -> Path:
    """A folder of a known name that this user alone can enter; made where it is not there.

    Raises:
        PermissionError: it is somebody else's, no folder, or others can enter it.
    """
    folder = Path(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(errno.EPERM, "not a folder that only this user can enter", str(folder))
    return folder


def meeting_folder() -> Path:
    """A folder for the processes that torchrun starts, and starts again: of lstmp.machines, which all machines see;
    or one of their agent's, on this machine, which is swept when that has gone.

    Raises:
        PermissionError: it is somebody else's.
    """
    if folder := os.environ.get("LSTMP_MEETING"):
        return Path(folder)
    return private_folder(Path(tempfile.gettempdir()) / f"lstmp-{identity(os.getppid())}.meeting")


def replace_folder(new, path):
    """Give the folder ``new`` the name ``path``; a folder of that name is removed.

    The two names are exchanged in one step where the file system can. Elsewhere the old folder has another name for a
    moment; :func:`restore_folder` gives it back where a kill has come between.
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
    """The folder that was ``path`` until a kill came between the two steps of :func:`replace_folder`."""
    path = Path(path)
    if path.exists():
        return None
    found = (p for p in path.parent.glob(".*.old") if p.name.startswith(f".{path.name}.") and _FILE.fullmatch(p.name))
    return max(found, key=lambda p: p.stat().st_mtime, default=None)


def restore_folder(path):
    """Give ``path`` back to the folder that a killed process has left without its name."""
    if old := hidden_folder(path):
        os.replace(old, path)


def sweep(place):
    """Remove the temporary files and folders that processes of this machine and user have left in a folder, once."""
    place = os.path.realpath(place)
    if place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for path in [e.path for e in entries if e.name[0] in ".l" and _is_left(e)]:
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(path)


def _is_left(entry: os.DirEntry) -> bool:
    name = _FILE.fullmatch(entry.name) or _FOLDER.fullmatch(entry.name)
    found = name or _BEFORE.fullmatch(entry.name)
    if name and name["machine"] != _machine() or not found:
        return False
    state = entry.stat(follow_symlinks=False)
    if state.st_uid != os.geteuid() or stat.S_ISLNK(state.st_mode):
        return False
    if name and entry.name.endswith(".old") and hidden_folder(_without(entry.path, name)) is not None:
        return False  # the only one there is: restore_folder's
    started = _started(int(found["pid"]))
    return started is None or name is not None and started != int(name["start"])


def _without(path: str, name: re.Match) -> Path:
    """``path`` of which a temporary name was made."""
    return Path(path).with_name(Path(path).name[1:name.start("machine") - 1])


def identity(pid: int | None = None) -> str:
    """Machine, process number and start, of this process or of another one of this machine."""
    pid = pid or os.getpid()
    return f"{_machine()}.{pid}-{_started(pid) or 0}"


@functools.cache
def _machine() -> str:
    """This machine, or container: where a process number means the same process."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.blake2b(f"{socket.gethostname()} {numbers}".encode(), digest_size=4).hexdigest()


def _started(pid: int) -> int | None:
    """When a process was started, in the kernel's ticks; None if it does not run, 0 where that cannot be known."""
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
    fields = text.rpartition(")")[2].split()  # its name, before, may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names in one step; False where kernel or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # another C library
        return False
    at_cwd, exchange = -100, 2
    return renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), exchange) == 0
