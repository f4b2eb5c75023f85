"""What a step of run.sh prints is also kept: <exp>/log/<stage>-<step>.log, one after the other for every call.

Each call begins with its command, commit, versions, machine and time and ends with its exit status and how long it
took. Progress bars are left out. ``LSTMP_LOG`` names the folder; without it, as where a step is called alone, nothing
is kept.
"""

import contextlib
import importlib.metadata
import os
import platform
import shlex
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from lstmp.machine import machine

_OPEN = "LSTMP_STEP_LOG"  # the file that is written to, for the processes that the step starts
_PACKAGES = ("lstmp", "torch", "numpy", "k2", "kaldi-native-fbank", "kaldifst", "kaldilm", "soundfile", "soxr")


class _Log:
    """The file. That it cannot be written to ends no step: a full disk is told of by what the step itself writes."""

    def __init__(self, path: Path):
        self._file = open(path, "a", buffering=1, encoding="utf-8", errors="replace")

    def write(self, text: str):
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def close(self):
        with contextlib.suppress(OSError):
            self._file.close()


class _Tee:
    """A stream whose whole lines go into the log as well."""

    def __init__(self, stream, log: _Log):
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        if "\r" not in text and "\x1b" not in text:  # a bar, or what removes it
            self._log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def current() -> str | None:
    """The log of the step at work, if it has one."""
    return os.environ.get(_OPEN)


def join():
    """Write into the log of the step that has started this process, if there is one."""
    if (log := current()) and not isinstance(sys.stdout, _Tee):
        with contextlib.suppress(OSError):
            _tee(Path(log))


def _tee(path: Path) -> _Log:
    log = _Log(path)
    sys.stdout, sys.stderr = _Tee(sys.stdout, log), _Tee(sys.stderr, log)
    return log


@contextlib.contextmanager
def kept(module: str) -> Iterator[None]:
    """Keep what the command ``module`` prints, where ``LSTMP_LOG`` says so and no other step keeps it already."""
    folder, streams = os.environ.get("LSTMP_LOG"), (sys.stdout, sys.stderr)
    if not folder or current():
        join()
        yield
        return
    path = Path(folder) / f"{os.environ.get('LSTMP_STAGE', '0')}-{module.rpartition('.')[2]}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = _tee(path)
    except OSError as e:
        print(f"warning: {path}: no log is kept: {e.strerror}", file=sys.stderr)
        yield
        return
    os.environ[_OPEN] = str(path)
    began, status, first = time.time(), 0, os.environ.get("RANK", "0") == "0"
    try:
        if first:
            log.write(_header(module))
        yield
    except SystemExit as e:
        status = e.code if isinstance(e.code, int) else int(e.code is not None)
        raise
    except BaseException:
        status = 1
        log.write(traceback.format_exc())  # Python prints it when the streams are themselves again
        raise
    finally:
        if first:
            log.write(f"==== exit status {status} after {time.time() - began:.1f} s\n\n")
        sys.stdout, sys.stderr = streams
        del os.environ[_OPEN]
        log.close()


def _header(module: str) -> str:
    versions = []
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return (f"==== {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n"
            f"command: python -m {module} {shlex.join(sys.argv[1:])}\n"
            f"of: {os.environ.get('LSTMP_COMMAND', 'no run.sh')}\n"
            f"commit: {os.environ.get('LSTMP_COMMIT') or 'not known'}\n"
            f"versions: Python {platform.python_version()}, {', '.join(versions)}\n"
            f"machine: {socket.gethostname()}, {machine()}, {platform.platform()}\n")
