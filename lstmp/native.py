"""C++ parts of the package: compiled at their first use, for the processor at hand, and kept.

Each has a counterpart in PyTorch or NumPy, which is its reference in the tests and does its work where there is no
compiler. Set ``LSTMP_NATIVE=0`` to go without.

They are plain C++17 with functions for ctypes, so a compiler is all that is needed: the one that ``CXX`` names, or
else ``c++``, ``g++`` or ``clang++``. What needs certain instructions asks the preprocessor for them (fused.cpp): every
source compiles for every processor.
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
from lstmp.log import say, warn
from lstmp.paths import PACKAGE

# All that the processor at hand can do: on x86 by -march; on ARM by -mcpu, as Clang did not always know the other.
# Elsewhere neither is sure to be known, and the compiler's own choice runs anyway.
_NATIVE = {"x86_64": "-march=native", "amd64": "-march=native", "aarch64": "-mcpu=native", "arm64": "-mcpu=native"}
FLAGS = ("-O3", *filter(None, [_NATIVE.get(platform.machine().lower())]), "-std=c++17")

_PATIENCE = 300.0  # seconds to wait for another process that compiles the same
_lock = threading.Lock()


def library(source: str, *flags: str) -> ctypes.CDLL | None:
    """The compiled ``lstmp/<source>``, or None where it cannot be compiled; the reason is told once.

    ``flags`` are the compiler's, besides those of all sources.

    It lies below ``TORCH_EXTENSIONS_DIR`` (default: torch's folder in ~/.cache), under a name that stands for its text,
    that of the headers beside it, the flags, the processor and the C library. A process that is killed meanwhile, or
    hangs, keeps no other one from compiling.
    """
    with _lock:  # threads that ask at the same time wait for one compilation
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
                return _load(built)  # unless the machine went down before all of it was on the disk
        compiler = _compiler()
        if compiler is None:
            _tell_no_compiler()
            return None
        _compile(compiler, [*FLAGS, *flags], path, built)
        return _load(built)
    except Exception as e:  # no place to write, a compiler that cannot, a file system without programs: of many kinds
        warn(f"{source} is not compiled, going on without it, slower: {' '.join(str(e).split())}")
        return None


class _Guarded(ctypes.CDLL):
    """A library with guard.h: what of it finds no memory raises MemoryError."""

    def __getattr__(self, name):
        function = super().__getattr__(name)
        if name not in ("lstmp_out_of_memory", "lstmp_fused_ready"):
            function.errcheck = self._check
        return function

    def _check(self, result, function, arguments):
        if self.lstmp_out_of_memory():
            raise MemoryError(f"no memory for {function.__name__}")
        return result


def _load(built: Path) -> ctypes.CDLL:
    found = ctypes.CDLL(str(built))
    return _Guarded(str(built)) if hasattr(found, "lstmp_out_of_memory") else found


def _cache() -> Path:
    """The folder of the compiled parts; where there is no home to write to, one of this user's for temporary files.

    Raises:
        OSError: that one is somebody else's, or others can enter it.
    """
    if named := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(named)
    with contextlib.suppress(RuntimeError, OSError):  # no HOME, and a user whom the system does not know; read-only
        folder = Path.home() / ".cache" / "torch_extensions"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return files.private_folder(Path(tempfile.gettempdir()) / f"lstmp-compiled-{os.geteuid()}")


@functools.cache
def _tell_no_compiler():
    """One line for all sources together."""
    named = os.environ.get("CXX")
    warn(f"no C++ compiler{f' where CXX says, `{named}`' if named else ''}: going on without the compiled parts, "
         "slower; get one by `apt-get install g++`, or as your system has it")


def _forget():
    _library.cache_clear()
    _tell_no_compiler.cache_clear()


library.cache_clear = _forget  # type: ignore[attr-defined]  # for tests, which call it as that of a cached function


def _compiler() -> list[str] | None:
    """The command of the compiler, with what belongs to it (as in ``CXX="ccache g++"``)."""
    named = shlex.split(os.environ.get("CXX", ""))
    return next((c for c in ([named] if named else [["c++"], ["g++"], ["clang++"]]) if shutil.which(c[0])), None)


def _compile(compiler: list[str], flags: list[str], path: Path, built: Path):
    """Make ``built``, which is there whole or not at all."""
    built.parent.mkdir(parents=True, exist_ok=True)
    before = _inode(built)
    with _alone(built.parent), files.temporary_folder(built.parent) as scratch:
        if _inode(built) != before:  # by another process, meanwhile
            return
        say(f"compiling {path.name}, once")
        part, made = (str(scratch / f"{built.stem}{kind}") for kind in (".o", ".so"))
        _run([*compiler, *flags, "-fPIC", "-c", str(path), "-o", part])
        # By a command of its own, without the flags: where GCC links for -ffast-math it adds a start-up function that
        # rounds the small numbers of the whole process to zero.
        _run([*compiler, "-shared", part, "-o", made])
        os.replace(made, built)


def _run(command: list[str]):
    """Run a compiler.

    Raises:
        RuntimeError: its first complaint.
        subprocess.TimeoutExpired: it has not ended after a quarter of an hour.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          env={**os.environ, "LC_ALL": "C"}, timeout=3 * _PATIENCE)
    if done.returncode:
        lines = done.stderr.split("\n")
        raise RuntimeError(next((x for x in lines if "error" in x), lines[0] or f"{command[0]} failed"))


@contextlib.contextmanager
def _alone(folder: Path):
    """Let one process at a time compile in ``folder``, where its file system can see to that; elsewhere each does.

    The lock is free when its process ends, however it does. Where that one hangs, the next goes on after a while: all
    compile in folders of their own, and it is only the work that is done twice.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl
            lock = stack.enter_context(open(folder / "busy", "w"))
            until = time.monotonic() + _PATIENCE
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
    """What the flags' "native" depends on, and whether what is compiled can be loaded."""
    machine = " ".join((platform.machine(), *platform.libc_ver()))
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return f"{machine} {platform.processor()}".encode()
    told = ("model name", "flags", "CPU implementer", "CPU part", "CPU variant", "Features")  # by x86; by ARM
    return "".join([machine, *sorted({x for x in lines if x.startswith(told)})]).encode()
