"""Compiles the C++ parts of the package at their first use, for this machine's processor, and caches them.

Each part has a counterpart in PyTorch or NumPy, which is the reference in its tests and replaces it where there is no
compiler. ``LSTMP_NATIVE=0`` disables the C++ parts.

They are plain C++17 with functions for ctypes, so only a compiler is needed: the one that ``CXX`` names, or else
``c++``, ``g++`` or ``clang++``. Code that needs certain instructions checks for them with the preprocessor
(fused.cpp), so that every source compiles for every processor.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from lstmp import files
from lstmp.aliases import Array
from lstmp.log import say, warn
from lstmp.paths import PACKAGE

# Use all instructions of this processor: on x86 with -march; on ARM with -mcpu, because older Clangs lack -march there.
# On other processors the compiler may know neither option; its default works anyway.
_NATIVE = {"x86_64": "-march=native", "amd64": "-march=native", "aarch64": "-mcpu=native", "arm64": "-mcpu=native"}
FLAGS = ("-O3", *filter(None, [_NATIVE.get(platform.machine().lower())]), "-std=c++17")

_TIMEOUT = 300.0  # seconds to wait for another process that compiles the same source
_lock = threading.Lock()


def library(source: str, *flags: str) -> ctypes.CDLL | None:
    """Load the compiled ``lstmp/<source>``; None if it cannot be compiled. The reason is printed once.

    ``flags`` are added to the compiler's flags for all sources.

    The library is kept below ``TORCH_EXTENSIONS_DIR`` (default: torch's folder in ~/.cache). Its name contains a digest
    of the source, the headers next to it, the flags, the processor and the C library. A process that is killed or hangs
    while it compiles does not prevent another one from compiling.
    """
    with _lock:  # threads that call this at the same time wait for one compilation
        return _library(source, *flags)


@functools.cache
def _library(source: str, *flags: str) -> ctypes.CDLL | None:
    if os.environ.get("LSTMP_NATIVE", "1") == "0":
        return None
    path = PACKAGE / source
    texts = [p.read_bytes() for p in (path, *sorted(path.parent.glob("*.h")), *sorted(PACKAGE.glob("*.h")))]
    key = hashlib.blake2b(b"\0".join([*texts, " ".join(FLAGS + flags).encode(), _processor()]), digest_size=6)
    name = f"lstmp_{path.stem}_{key.hexdigest()}"
    try:
        built = _cache() / name / f"{name}.so"
        if built.is_file():
            with contextlib.suppress(OSError):
                return _load(built)  # fails if the machine crashed before the whole file was on the disk
        compiler = _compiler()
        if compiler is None:
            _warn_no_compiler()
            return None
        _compile(compiler, [*FLAGS, *flags], path, built)
        return _load(built)
    except Exception as e:  # many types: nowhere to write, a compiler that fails, a file system without executables
        warn(f"{source} is not compiled; continuing without it, more slowly: {' '.join(str(e).split())}")
        return None


class _Guarded(ctypes.CDLL):
    """A library with guard.h: a function that runs out of memory raises MemoryError."""

    def __getattr__(self, name):
        function = super().__getattr__(name)
        if name not in ("lstmp_out_of_memory", "lstmp_fused_ready"):
            function.errcheck = self._check
        return function

    def _check(self, result, function, arguments):
        if self.lstmp_out_of_memory():
            raise MemoryError(f"no memory for {function.__name__}")
        return result


def array_at(x: Array) -> ctypes.c_void_p:
    """Pointer to the data of an array. The array must outlive the call that it is passed to."""
    return ctypes.c_void_p(x.ctypes.data)


def _load(built: Path) -> ctypes.CDLL:
    plain = ctypes.CDLL(str(built))
    return _Guarded(str(built)) if hasattr(plain, "lstmp_out_of_memory") else plain


def _cache() -> Path:
    """The folder of the compiled parts; without a writable home folder, one of this user's in the temporary folder.

    Raises:
        OSError: the temporary one belongs to another user, or others can enter it.
    """
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(named)
    with contextlib.suppress(RuntimeError, OSError):  # no HOME and a user unknown to the system; or it is read-only
        folder = Path.home() / ".cache" / "torch_extensions"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return files.private_folder(Path(tempfile.gettempdir()) / f"lstmp-compiled-{os.geteuid()}")


@functools.cache
def _warn_no_compiler():
    """Print one warning for all sources together."""
    named = os.environ.get("CXX")
    warn(f"no C++ compiler{f' where CXX says, `{named}`' if named else ''}: continuing without the compiled parts, "
         "more slowly; install one, for example with `apt-get install g++`")


def _forget():
    _library.cache_clear()
    _warn_no_compiler.cache_clear()


library.cache_clear = _forget  # type: ignore[attr-defined]  # for tests, which call it as that of a cached function


def _compiler() -> list[str] | None:
    """The command of the compiler, as a list (``CXX`` may have several words, such as ``ccache g++``)."""
    named = shlex.split(os.environ.get("CXX", ""))
    return next((c for c in ([named] if named else [["c++"], ["g++"], ["clang++"]]) if shutil.which(c[0])), None)


def _compile(compiler: list[str], flags: list[str], path: Path, built: Path):
    """Compile ``path`` to ``built``, which is either complete or absent at any time."""
    built.parent.mkdir(parents=True, exist_ok=True)
    previous = _inode(built)
    with _locked(built.parent), files.temporary_folder(built.parent) as scratch:
        if _inode(built) != previous:  # another process has made it while this one waited
            return
        say(f"compiling {path.name}, once")
        object_file, library_file = (str(scratch / f"{built.stem}{suffix}") for suffix in (".o", ".so"))
        _run([*compiler, *flags, "-fPIC", "-c", str(path), "-o", object_file])
        # Linking is a separate command, without the flags: when GCC links with -ffast-math, it adds a start-up function
        # that makes the whole process flush denormals to zero.
        _run([*compiler, "-shared", object_file, "-o", library_file])
        os.replace(library_file, built)


def _run(command: list[str]):
    """Run a compiler.

    Raises:
        RuntimeError: it failed; the message is its first error.
        subprocess.TimeoutExpired: it has not ended after a quarter of an hour.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          env={**os.environ, "LC_ALL": "C"}, timeout=3 * _TIMEOUT)
    if done.returncode:
        lines = done.stderr.split("\n")
        raise RuntimeError(next((x for x in lines if "error" in x), lines[0] or f"{command[0]} failed"))


@contextlib.contextmanager
def _locked(folder: Path):
    """Let only one process at a time compile in ``folder``, if its file system supports locks.

    The lock is freed when its process ends, in whatever way. If that process hangs, the next one continues after a
    while. This is safe, because each compiles in a separate folder; only the work is done twice.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl
            lock = stack.enter_context(open(folder / "busy", "w"))
            until = time.monotonic() + _TIMEOUT
            while time.monotonic() < until:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)
        yield


def _inode(path: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_ino
    return None


def _processor() -> bytes:
    """What ``native`` in the flags means on this machine, and what decides whether a compiled file can be loaded."""
    machine = " ".join((platform.machine(), *platform.libc_ver()))
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return f"{machine} {platform.processor()}".encode()
    fields = ("model name", "flags", "CPU implementer", "CPU part", "CPU variant", "Features")  # on x86, on ARM
    return "".join([machine, *sorted({x for x in lines if x.startswith(fields)})]).encode()
