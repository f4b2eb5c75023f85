"""Show how far a run of run.sh is: its stages, what each took, and the time left."""

import argparse
import json
import sys
import time
from pathlib import Path

from lstmp import lock, progress_text
from lstmp.config import read_json
from lstmp.errors import UserError, command
from lstmp.program import program_name


@command
def main(argv=None):
    """Print the stages of a run.

    Raises:
        UserError: there is no record of a run, or it is damaged.
    """
    parser = argparse.ArgumentParser(prog=program_name("steps/show_progress.sh"), description=__doc__.splitlines()[0])
    parser.add_argument("exp", type=Path, help="folder of the run, such as exp/tiny")
    parser.add_argument("--json", action="store_true", help="print the record itself, progress.json")
    a = parser.parse_args(argv)
    path = a.exp / "progress.json"
    state = read_json(path, "./run.sh makes it")
    try:
        lines = progress_text.stage_list(state, not state["finished"] and lock.is_held(a.exp), time.time())
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError("not the record of a run", file=path, hint="run ./run.sh again, it makes a new one") from None
    for line in [json.dumps(state)] if a.json else lines:
        print(progress_text.encodable(line, sys.stdout.encoding))


if __name__ == "__main__":
    main()
