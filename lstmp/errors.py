"""Reports every error that the user can fix in one clear line, without a traceback.

Library code raises :class:`UserError`. The ``main`` of every command is wrapped by :func:`command`, which prints that
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

from lstmp import progress, step_log
from lstmp.log import close_bars, printable, warn

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

# messages of libraries that ran out of memory: torch on the CPU and on a GPU, C++, Python for the stack of a thread
_MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "CUDA out of memory", "bad_alloc",
                    "can't start new thread", "Cannot allocate memory")
_MEMORY_HINT = "lower --nj or the batch size in conf/"
_PACKAGE = Path(__file__).parent
_MAX_LENGTH = 1000  # characters of the description in a message


class UserError(Exception):
    """An error in the input, the configuration or the machine. Its message is one line: where, what, and the fix.

    Args:
        what: what is wrong, without a full stop.
        file: the file with the error.
        line: 1-based line number in it.
        hint: what the user can do about it.
    """

    def __init__(self, what: str, *, file=None, line: int | None = None, hint: str | None = None):
        self.what, self.file, self.line, self.hint = what, file, line, hint
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        shown = what if len(what) <= _MAX_LENGTH else f"{what[:_MAX_LENGTH]} …"  # it may quote megabytes of input
        text = where + shown + (f"; {hint}" if hint else "")
        super().__init__(printable(" ".join(text.split())))

    def __reduce__(self):  # so that a worker process can hand it to its parent
        return _rebuild, (self.what, self.file, self.line, self.hint)


def _rebuild(what, file, line, hint):
    return UserError(what, file=file, line=line, hint=hint)


def command(main):
    """Wrap a command's ``main(argv=None)``: an error that the user can fix gives one line on stderr and status 1."""

    @functools.wraps(main)
    def wrapped(argv=None):
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec and main.__module__ == "__main__" else main.__module__
        with step_log.kept(module), progress.step(module):
            run(argv)

    def run(argv):
        restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
        if restarted and (marker := _failed_marker()) and marker.exists():
            sys.exit(1)  # torchrun has restarted it after an error that only the user can fix; it was printed before
        try:
            main(argv)
        except UserError as e:
            fail(str(e))
        except BrokenPipeError:  # the reader of our output has ended, for example `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except KeyboardInterrupt:
            print("\nerror: interrupted; run the same command again to continue", file=sys.stderr)
            sys.exit(130)
        except Exception as e:
            if is_memory(e):
                fail(str(out_of_memory(e)))
            if not isinstance(e, OSError) or e.errno is None:
                raise
            fail(f"{e.filename2 or e.filename or _origin(e)}: {_DISK.get(e.errno) or os.strerror(e.errno)}")

    return wrapped


@contextlib.contextmanager
def naming(path, *also):
    """Make disk and memory errors in the ``with`` block name the file ``path`` if they name no file or one of ``also``.
    """
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
def of_file(path):
    """Have a UserError in the ``with`` block name ``path``, if it names no file."""
    try:
        yield
    except UserError as e:
        if e.file is None:
            raise UserError(e.what, file=path, line=e.line, hint=e.hint) from None
        raise


@contextlib.contextmanager
def only_warn(what: str):
    """Make any error in the ``with`` block a warning that begins with ``what``: for what a run can do without."""
    try:
        yield
    except Exception as e:
        warn(f"{what}: {e if isinstance(e, (UserError, OSError)) else f'{type(e).__name__}: {e}'}")


@contextlib.contextmanager
def locks_of_workers():
    """Explain errors of the ``with`` block, which makes locks for worker processes: these are files in /dev/shm."""
    try:
        yield
    except OSError as e:
        raise UserError(f"no room for the locks of worker processes: {e.strerror or e}", file="/dev/shm",
                        hint="make it larger, a container's with --shm-size=64m, or give --nj 1") from None


def is_memory(e: BaseException) -> bool:
    """Whether an exception means that memory ran out."""
    return isinstance(e, MemoryError) or isinstance(e, OSError) and e.errno == errno.ENOMEM or (
        isinstance(e, RuntimeError) and any(text in str(e) for text in _MEMORY_MESSAGES))


def out_of_memory(e: BaseException) -> UserError:
    """Make the error that says for which file or in which function memory ran out, and the amount if it is known."""
    amount = re.search(r"allocate (\d[\d.]* ?[KMGT]?i?B|\d+ bytes)", str(e))
    file = getattr(e, "file", None) or getattr(e, "filename", None)
    what = "out of memory" + (f", {amount[1]} requested" if amount else "") + ("" if file else f" in {_origin(e)}")
    return UserError(what, file=file, hint=_MEMORY_HINT)


def _origin(e: BaseException) -> str:
    """The function of this package in which an exception was raised."""
    frames = [f for f in traceback.extract_tb(e.__traceback__) if _PACKAGE in Path(f.filename).parents]
    own = next((f for f in reversed(frames) if Path(f.filename) != Path(__file__) and f.name[0] != "<"), None)
    if own is None:
        return "input/output"
    return ".".join([*Path(own.filename).relative_to(_PACKAGE.parent).with_suffix("").parts, own.name])


def fail(message: str):
    """Print ``error: message`` on stderr and exit with status 1.

    Before torchrun's processes have formed their group, only one per machine prints it: all have the same options
    and files.
    """
    close_bars()
    group = sys.modules.get("torch.distributed")
    connected = group is not None and group.is_available() and group.is_initialized()
    if connected or os.environ.get("LOCAL_RANK", "0") == "0":
        log = f" [log: {step_log.current()}]" if step_log.current() else ""
        print(f"error: {message}{log}", file=sys.stderr, flush=True)
    if marker := _failed_marker():
        with contextlib.suppress(OSError):
            marker.touch(exist_ok=True)
    sys.exit(1)


def _failed_marker() -> Path | None:
    """The file that marks a torchrun job as failed: an error that no restart can fix has ended it.

    It is in the meeting folder of the processes, which only this user can enter.
    """
    if not (os.environ.get("LSTMP_MEETING") or os.environ.get("TORCHELASTIC_RUN_ID", "none") != "none"):
        return None
    from lstmp import files  # not at the top, because it imports this module

    with contextlib.suppress(OSError):
        return files.meeting_folder() / "fault"
    return None
