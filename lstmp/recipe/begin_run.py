"""Begin run.sh: lock its folder, so that no other run works there, and install the configuration.

    python -m lstmp.recipe.begin_run FD EXP CONF [PLAN]

FD is the descriptor of run.sh's open file <EXP>/.lock. The lock lasts as long as run.sh or a process that it has
started has this file open. The files of CONF, which :mod:`lstmp.recipe` has written, are moved to <EXP>/conf if they
differ from those there; other files there are kept. PLAN is a file with the steps of the run, in the form that
``./run.sh --dry-run`` prints, for the record of its progress.
"""

import os
import shutil
import sys
from pathlib import Path

from lstmp import lock, run_plan
from lstmp.errors import UserError, command, only_warn
from lstmp.report.page import begin_page


@command
def main(argv=None):
    """Take the lock and install the configuration.

    Raises:
        UserError: CONF is not <EXP>/.conf.*, or another run holds the lock.
    """
    fd, exp, new, *plan = sys.argv[1:] if argv is None else argv
    exp, new = Path(exp), Path(new)
    if new.parent != exp or not new.name.startswith(".conf."):  # it will be removed
        raise UserError("not a folder of new configurations of this run", file=new, hint="call run.sh")
    try:
        with os.fdopen(int(fd), "a+b", closefd=False) as file:
            lock.take(file, exp, os.environ.get("LSTMP_COMMAND", "./run.sh"))
        (exp / "conf").mkdir(exist_ok=True)
        for path in sorted(new.iterdir()):
            target = exp / "conf" / path.name
            if not target.is_file() or target.read_bytes() != path.read_bytes():
                os.replace(path, target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    for leftover in exp.glob(".conf.*"):  # left by a run that was killed at this point
        shutil.rmtree(leftover, ignore_errors=True)
    with only_warn("the page of the report cannot be begun"):
        begin_page(exp, os.environ.get("LSTMP_COMMAND", "./run.sh"))
    for steps in plan:
        with only_warn("the progress of this run is not recorded"):
            run_plan.begin(exp, Path(steps).read_text(encoding="utf-8"), os.environ["LSTMP_RUN"])


if __name__ == "__main__":
    main()
