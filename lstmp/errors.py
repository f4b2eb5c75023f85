"""One clear line for every fault that a user can mend, and never a traceback.

Library code raises :class:`UserError`; every command's ``main`` is wrapped by :func:`command`, which prints the
line and exits with status 1.
"""

import errno
import functools
import os
import sys
import tempfile
from pathlib import Path

from lstmp.log import close_bars

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
}


_LONGEST = 1000  # letters

# how torch says that memory ran out: on the CPU, and on a GPU
_TORCH_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory")


class UserError(Exception):
    """A fault in input, configuration or machine, said in one line: where it is, what it is, and the mend.

    Args:
        what: what is wrong, without a full stop.
        file: the file at fault.
        line: its 1-based line number.
        mend: what the user can do about it.
    """

    def __init__(self, what: str, *, file=None, line: int | None = None, mend: str | None = None):
        self.what, self.file, self.line, self.mend = what, file, line, mend
        where = "" if file is None else f"{file}:{line}: " if line is not None else f"{file}: "
        shown = what if len(what) <= _LONGEST else f"{what[:_LONGEST]} …"  # what it quotes may be megabytes
        text = where + shown + (f"; {mend}" if mend else "")
        text = " ".join(text.split())  # and nothing that moves a terminal's cursor, or that no encoding has
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text))

    def __reduce__(self):  # so that a worker process can hand it to its parent
        return _rebuild, (self.what, self.file, self.line, self.mend)


def _rebuild(what, file, line, mend):
    return UserError(what, file=file, line=line, mend=mend)


def command(main):
    """Wrap a command's ``main(argv=None)``: mendable faults end in one line on stderr and exit status 1."""

    @functools.wraps(main)
    def wrapped(argv=None):
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
        except MemoryError:
            fail("out of memory; lower --nj or the batch size in conf/")
        except OSError as e:
            if e.errno is None:
                raise
            fail(f"{e.filename2 or e.filename or 'input/output'}: {_DISK.get(e.errno) or os.strerror(e.errno)}")
        except RuntimeError as e:
            if not any(text in str(e) for text in _TORCH_MEMORY):
                raise
            fail("out of memory; lower --nj or the batch size in conf/")

    return wrapped


def fail(message: str):
    """Print ``error: message`` on stderr and exit with status 1.

    Of torchrun's processes that have not met yet, one a machine speaks: all have the same options and files.
    """
    close_bars()
    group = sys.modules.get("torch.distributed")
    met = group is not None and group.is_available() and group.is_initialized()
    if met or os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"error: {message}", file=sys.stderr, flush=True)
    if note := _note():
        note.touch()
    sys.exit(1)


def _note() -> Path | None:
    """A file that says that a fault which no new start can mend has ended this run of torchrun."""
    run = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return None if run == "none" else Path(tempfile.gettempdir()) / f"lstmp-fault-{run}"
