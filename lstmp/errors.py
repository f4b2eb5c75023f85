"""One clear line for every fault that a user can hint, and never a traceback.

Library code raises :class:`UserError`; every command's ``main`` is wrapped by :func:`command`, which prints the
line and exits with status 1.
"""

import contextlib
import errno
import functools
import os
import re
import sys
import traceback
from pathlib import Path

from lstmp import step_log
from lstmp.log import close_bars, printable

_DISK = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again, finished work is kept",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again, finished work is kept",
    errno.EROFS: "the file system is read-only; choose a folder that can be written to",
    errno.EACCES: "permission denied; check the owner and the mode of the file or its folder",
    errno.EPERM: "operation not permitted; check the owner and the mode of the file or its folder",
    errno.ENOENT: "no such file; check the path, or run the stage that makes it",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EISDIR: "it is a folder, not a file; check the path",
    errno.EMFILE: "too many open files; raise the limit with `ulimit -n 4096`",
    errno.EFBIG: "the file grows larger than the file system or `ulimit -f` allows; raise the limit",
}

# how libraries say that memory ran out: torch on the CPU and on a GPU, C++, Python of a thread's stack
_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory", "bad_alloc", "can't start new thread",
           "Cannot allocate memory")
_LESS = "lower --nj or the batch size in conf/"
_HERE = Path(__file__).parent
_LONGEST = 1000  # letters of what a message says


class UserError(Exception):
    """A fault in input, configuration or machine, said in one line: where it is, what it is, and the mend.

    Args:
        what: what is wrong, without a full stop.
        file: the file at fault.
        line: its 1-based line number.
        hint: what the user can do about it.
    """

    def __init__(self, what: str, *, file=None, line: int | None = None, hint: str | None = None):
        self.what, self.file, self.line, self.hint = what, file, line, hint
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        shown = what if len(what) <= _LONGEST else f"{what[:_LONGEST]} …"  # what it quotes may be megabytes
        text = where + shown + (f"; {hint}" if hint else "")
        super().__init__(printable(" ".join(text.split())))

    def __reduce__(self):  # so that a worker process can hand it to its parent
        return _rebuild, (self.what, self.file, self.line, self.hint)


def _rebuild(what, file, line, hint):
    return UserError(what, file=file, line=line, hint=hint)


def command(main):
    """Wrap a command's ``main(argv=None)``: mendable faults end in one line on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(argv=None):
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        with step_log.kept(spec.name if spec and main.__module__ == "__main__" else main.__module__):
            run(argv)

    def run(argv):
        if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" and (note := _note()) and note.exists():
            sys.exit(1)  # torchrun starts it again, but the fault is the user's, and told
        try:
            main(argv)
        except UserError as e:
            fail(str(e))
        except BrokenPipeError:  # the reader of our output went away, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            print("\nerror: interrupted; run the same command again to go on", file=sys.stderr)
            sys.exit(130)
        except Exception as e:
            if is_memory(e):
                fail(str(out_of_memory(e)))
            if not isinstance(e, OSError) or e.errno is None:
                raise
            fail(f"{e.filename2 or e.filename or _asked(e)}: {_DISK.get(e.errno) or os.strerror(e.errno)}")

    return wrapped


@contextlib.contextmanager
def naming(path, *also):
    """Have faults of disk and memory in the ``with`` block name the file ``path``, where they name none or ``also``."""
    try:
        yield
    except Exception as e:
        if is_memory(e):
            e.file = getattr(e, "file", None) or str(path)  # type: ignore[attr-defined]  # for out_of_memory()
        elif isinstance(e, OSError) and e.errno is not None:
            named = {str(name) for name in (e.filename, e.filename2) if name is not None}
            if not named or named & set(map(str, also)):
                e.filename, e.filename2 = str(path), None
        raise


@contextlib.contextmanager
def locks_of_workers():
    """Have a fault say what the ``with`` block needs: it makes locks for worker processes, which lie in /dev/shm."""
    try:
        yield
    except OSError as e:
        raise UserError(f"no room for the locks of worker processes: {e.strerror or e}", file="/dev/shm",
                        hint="make it larger, a container's with --shm-size=64m, or give --nj 1") from None


def is_memory(e: BaseException) -> bool:
    """Whether it says that memory ran out."""
    return isinstance(e, MemoryError) or isinstance(e, OSError) and e.errno == errno.ENOMEM or (
        isinstance(e, RuntimeError) and any(text in str(e) for text in _MEMORY))


def out_of_memory(e: BaseException) -> UserError:
    """The line that says for which file, or in which function, memory ran out, and for how much if that is known."""
    amount = re.search(r"allocate (\d[\d.]* ?[KMGT]?i?B|\d+ bytes)", str(e))
    file = getattr(e, "file", None) or getattr(e, "filename", None)
    what = "out of memory" + (f", {amount[1]} asked for" if amount else "") + ("" if file else f" in {_asked(e)}")
    return UserError(what, file=file, hint=_LESS)


def _asked(e: BaseException) -> str:
    """The function of the package in which it was raised."""
    frames = [f for f in traceback.extract_tb(e.__traceback__) if _HERE in Path(f.filename).parents]
    own = next((f for f in reversed(frames) if Path(f.filename) != Path(__file__) and f.name[0] != "<"), None)
    if own is None:
        return "input/output"
    return ".".join([*Path(own.filename).relative_to(_HERE.parent).with_suffix("").parts, own.name])


def fail(message: str):
    """Print ``error: message`` on stderr and exit with status 1.

    Of torchrun's processes that have not met yet, one a machine speaks: all have the same options and files.
    """
    close_bars()
    group = sys.modules.get("torch.distributed")
    met = group is not None and group.is_available() and group.is_initialized()
    if met or os.environ.get("LOCAL_RANK", "0") == "0":
        log = f" [log: {step_log.current()}]" if step_log.current() else ""
        print(f"error: {message}{log}", file=sys.stderr, flush=True)
    if note := _note():
        with contextlib.suppress(OSError):
            note.touch(exist_ok=True)
    sys.exit(1)


def _note() -> Path | None:
    """A file that says that a fault which no new start can mend has ended this run of torchrun.

    It lies in the folder in which the processes meet, which only this user can enter.
    """
    if not (os.environ.get("LSTMP_MEETING") or os.environ.get("TORCHELASTIC_RUN_ID", "none") != "none"):
        return None
    from lstmp import files  # which imports this module

    with contextlib.suppress(OSError):
        return files.meeting_folder() / "fault"
    return None
