"""Kills the process group at its n-th change of a file below a folder. On PYTHONPATH, it works in every Python.

LSTMP_KILL_BELOW    the folder
LSTMP_KILL_COUNT    a file that grows by one byte at each change by any of the processes
LSTMP_KILL_AT       n, from 1; 0: only count

Changes are reported by Python's audit hooks: a file is opened to write, renamed, removed or linked; a folder is made.
Libraries that write files themselves are noticed at the rename that follows.
"""

import os
import signal
import sys

_below, _count, _at = (os.environ.get(f"LSTMP_KILL_{name}", "") for name in ("BELOW", "COUNT", "AT"))
_CHANGES = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
            "os.truncate": 1, "os.chmod": 1}


def _hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
        paths = [path] if writes else []
    else:
        paths = arguments[:_CHANGES.get(event, 0)]
    if any(isinstance(p, (str, bytes, os.PathLike)) and f"{os.path.abspath(os.fsdecode(p))}/".startswith(_below)
           for p in paths):
        handle = os.open(_count, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(handle, b".")
        number = os.fstat(handle).st_size
        os.close(handle)
        if number == int(_at):
            os.killpg(0, signal.SIGKILL)


if _below:
    _below = f"{os.path.abspath(_below)}/"
    sys.addaudithook(_hook)
