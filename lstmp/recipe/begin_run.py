"""The beginning of run.sh: no other run in its folder, and the configuration in its place.

    python -m lstmp.recipe.begin_run FD EXP CONF

FD is run.sh's open file <EXP>/.lock, with which the lock stays for as long as run.sh or what it has started is there.
CONF, which :mod:`lstmp.recipe` wrote, becomes <EXP>/conf; other files there stay, and so do those that are alike.
"""

import os
import shutil
import sys
from pathlib import Path

from lstmp import lock
from lstmp.errors import command


@command
def main(argv=None):
    """Take the lock and put the configuration in its place."""
    fd, exp, new = sys.argv[1:] if argv is None else argv
    exp, new = Path(exp), Path(new)
    try:
        with os.fdopen(int(fd), "a+b", closefd=False) as file:
            lock.take(file, exp, os.environ.get("LSTMP_COMMAND", "./run.sh"))
        (exp / "conf").mkdir(exist_ok=True)
        for path in sorted(new.iterdir()):
            there = exp / "conf" / path.name
            if not there.is_file() or there.read_bytes() != path.read_bytes():
                os.replace(path, there)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    for left in exp.glob(".conf.*"):  # of a run that was killed at this point
        shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main()
