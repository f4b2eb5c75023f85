"""Copies the output of a step of run.sh to <exp>/log/<stage>-<step>.log; further calls are appended.

The log of a call begins with its command, commit, versions, machine and time. It ends with its exit status and
duration, and a line ``used: {…}`` with JSON: ``seconds``, ``cpu_seconds`` of the step and the processes that it has
started, and ``peak_mib``, the largest memory of one of these processes. Progress bars that are drawn on a terminal are
left out. ``LSTMP_LOG`` names the folder; without it, for example when a step is called by hand, there is no log.
:mod:`lstmp.past_calls` reads the logs.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import resource
import shlex
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from lstmp.machine import machine

_VARIABLE = "LSTMP_STEP_LOG"  # tells the processes that the step starts which file to write to
HEADER, COMMAND = "==== %Y-%m-%d %H:%M:%S %z", "command: python -m "  # of a call in a log
_PACKAGES = ("lstmp", "torch", "numpy", "k2", "kaldi-native-fbank", "kaldifst", "kaldilm", "soundfile", "soxr")


class _Log:
    """The log file. A failure to write to it does not end the step: on a full disk the step's own writing fails too."""

    def __init__(self, path: Path):
        self._file = open(path, "a", buffering=1, encoding="utf-8", errors="replace")

    def write(self, text: str):
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)

    def close(self):
        with contextlib.suppress(OSError):
            self._file.close()


class _Tee:
    """A stream whose lines also go into the log."""

    def __init__(self, stream, log: _Log):
        self._stream, self._log, self._in_line = stream, log, False

    def write(self, text: str) -> int:
        """Write to both; what draws, moves to or removes a progress bar goes to the stream only."""
        if "\r" not in text and "\x1b" not in text and (self._in_line or text.strip("\n")):
            self._log.write(text)
            self._in_line = not text.endswith("\n")
        return self._stream.write(text)

    def __getattr__(self, name):
        return getattr(self._stream, name)


def current() -> str | None:
    """The log file of the running step, if it has one."""
    return os.environ.get(_VARIABLE)


def join():
    """Copy the output of this process into the log of the step that has started it, if there is one."""
    if (log := current()) and not isinstance(sys.stdout, _Tee):
        with contextlib.suppress(OSError):
            _tee(Path(log))


def _tee(path: Path) -> _Log:
    log = _Log(path)
    sys.stdout, sys.stderr = _Tee(sys.stdout, log), _Tee(sys.stderr, log)
    return log


@contextlib.contextmanager
def kept(module: str) -> Iterator[None]:
    """Copy the output of the command ``module`` to a log if ``LSTMP_LOG`` is set and no other step already does so."""
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
        print(f"warning: {path}: the log cannot be written: {e.strerror}", file=sys.stderr)
        yield
        return
    os.environ[_VARIABLE] = str(path)
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
        log.write(traceback.format_exc())  # Python prints it only after the streams have been restored
        raise
    finally:
        if first:
            seconds = time.time() - began
            log.write(f"==== exit status {status} after {seconds:.1f} s\nused: {json.dumps(_used(seconds))}\n\n")
        sys.stdout, sys.stderr = streams
        del os.environ[_VARIABLE]
        log.close()


def _used(seconds: float) -> dict[str, float]:
    """What this process and the processes that it has started and waited for have used."""
    parts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10  # ru_maxrss is in bytes there, elsewhere in KiB
    return {"seconds": round(seconds, 1), "cpu_seconds": round(sum(p.ru_utime + p.ru_stime for p in parts), 1),
            "peak_mib": round(max(p.ru_maxrss for p in parts) / unit)}


def _header(module: str) -> str:
    versions = []
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return (f"{time.strftime(HEADER)}\n"
            f"{COMMAND}{module} {shlex.join(sys.argv[1:])}\n"
            f"of: {os.environ.get('LSTMP_COMMAND', 'no run.sh')}\n"
            f"commit: {os.environ.get('LSTMP_COMMIT') or 'not known'}\n"
            f"versions: Python {platform.python_version()}, {', '.join(versions)}\n"
            f"machine: {socket.gethostname()}, {machine()}, {platform.platform()}\n")
