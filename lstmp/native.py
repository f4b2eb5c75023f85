"""C++ parts of the package: compiled at their first use, for the processor at hand, and kept.

Each has a counterpart in plain PyTorch, which is its reference in the tests and does its work where there is no
compiler. Set ``LSTMP_NATIVE=0`` to go without.
"""

import contextlib
import ctypes
import functools
import hashlib
import io
import os
import platform
import threading
import warnings
from pathlib import Path

from lstmp.log import say, warn

ROOT = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-std=c++17")


_lock = threading.Lock()


def library(source: str, *flags: str) -> ctypes.CDLL | None:
    """The compiled ``lstmp/<source>``, or None where it cannot be compiled; the reason is told once.

    ``flags`` are the compiler's, besides those of all sources.

    It lies below ``TORCH_EXTENSIONS_DIR`` (default: torch's folder in ~/.cache), under a name that stands for its text,
    that of the headers beside it, the flags and the processor.
    """
    with _lock:  # threads that ask at the same time wait for one compilation
        return _library(source, *flags)


@functools.cache
def _library(source: str, *flags: str) -> ctypes.CDLL | None:
    if os.environ.get("LSTMP_NATIVE", "1") == "0":
        return None
    path = ROOT / source
    texts = [p.read_bytes() for p in (path, *sorted(path.parent.glob("*.h")))]
    key = hashlib.blake2b(b"\0".join([*texts, " ".join(FLAGS + flags).encode(), _processor()]), digest_size=6)
    name = f"lstmp_{path.stem}_{key.hexdigest()}"
    folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions") / name
    built = folder / f"{name}.so"
    try:
        if not built.is_file() or (folder / "lock").exists():  # absent, or being written
            _compile(name, path, folder, [*FLAGS, *flags])
        return ctypes.CDLL(str(built))
    except Exception as e:  # no compiler, no ninja, no place to write: all have their own kinds
        warn(f"{source} is not compiled, going on without it, slower: {str(e).strip().splitlines()[0]}")
        return None


library.cache_clear = _library.cache_clear  # for tests


def _compile(name: str, path: Path, folder: Path, flags: list[str]):
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        from torch.utils import cpp_extension  # says on stderr that there is no GPU
    say(f"compiling {path.name}, once")
    cpp_extension.load(name, [str(path)], extra_cflags=flags, build_directory=str(folder), is_python_module=False)


def _processor() -> bytes:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return "".join(sorted({x for x in lines if x.startswith(("model name", "flags"))})).encode()
    except OSError:
        return platform.processor().encode()
