"""Begins the record of a run's progress: its stages and steps, and how long each will probably take."""

import os
import re
import shlex
import time
from pathlib import Path

from lstmp import expected, past_calls
from lstmp.config import Json
from lstmp.machine import machine
from lstmp.progress import Run
from lstmp.progress_text import folder_of

_STAGE = re.compile(r"== stage (\d+): (.*?)(?: \(after \d+ min\))?")
_ANSI_C = re.compile(r"(?<= )\$'((?:[^'\\]|\\.)*)'(?= |$)")  # bash's quotes of a word with control characters
_ESCAPES = dict(zip("abEfnrtv", "\a\b\x1b\f\n\r\t\v", strict=True))


def read_plan(text: str) -> tuple[list[Json], list[Json]]:
    """Read what ``./run.sh --dry-run`` prints.

    Returns:
        stages, each with ``stage`` (its number) and ``title``; and steps, each with ``stage`` and ``command`` (the
        script and its arguments). Stages without steps are left out.
    """
    stages: list[Json] = []
    steps: list[Json] = []
    for line in text.splitlines():
        if stage := _STAGE.fullmatch(line):
            stages.append({"stage": int(stage[1]), "title": stage[2]})
        elif line.startswith("  ") and stages:
            steps.append({"stage": stages[-1]["stage"], "command": words(line)})
    return [s for s in stages if any(x["stage"] == s["stage"] for x in steps)], steps


def words(line: str) -> list[str]:
    """The words of a command that bash has printed with ``printf %q``."""
    def plain(found: re.Match[str]) -> str:
        return shlex.quote(re.sub(r"\\([0-7]{3}|.)", lambda m: _character(m[1]), found[1]))

    return shlex.split(_ANSI_C.sub(plain, line))


def _character(escape: str) -> str:
    return chr(int(escape, 8)) if len(escape) == 3 else _ESCAPES.get(escape, escape)


def begin(exp: Path, text: str, token: str):
    """Write ``<exp>/progress.json`` for a new run, unless it has no steps.

    Args:
        exp: folder of the run.
        text: what ``./run.sh --dry-run`` prints with the options of this run.
        token: identifies the run; its steps have it in ``LSTMP_RUN``.
    """
    stages, steps = read_plan(text)
    if not steps:
        return
    commands = [step["command"] for step in steps]
    calls, changed = past_calls.calls(exp / "log"), set[Path]()
    for step, command in zip(steps, commands, strict=True):
        worked, last = expected.last_call(command, calls)
        skip = expected.will_be_skipped(command, last, changed)
        if not skip and (folder := folder_of(command)):
            changed.add(Path(folder))
        step |= {"state": "waiting", "seconds": 0.0, "skip": skip, "expected": None,
                 "earlier": (worked.seconds or 0.0) + expected.START if worked else None}
    now = time.time()
    nj = next((expected.option(c, "--nj") for c in commands if "--nj" in c), "1")
    run = Run(exp, {"run": token, "command": os.environ.get("LSTMP_COMMAND", "./run.sh"), "machine": machine(),
                    "nj": int(nj), "began": now, "updated": now, "ended": now, "finished": None, "left": None,
                    "network": None, "hours": {}, "stages": stages, "steps": steps})
    run.estimate()
    run.save(now)
