"""Reads from the logs of steps (:mod:`lstmp.step_log`) which calls there were, and how long they took."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lstmp.stage import SKIPPED
from lstmp.step_log import COMMAND, HEADER

_END = re.compile(r"==== exit status (?P<status>\d+) after (?P<seconds>[\d.]+) s")


@dataclass
class Call:
    """A finished call of a step.

    Attributes:
        command: module and arguments.
        status: exit status.
        seconds: how long it took, without the start of Python.
        ended: when it ended, in seconds since 1970.
        skipped: whether it found that its work was done already.
    """

    command: list[str]
    status: int
    seconds: float
    ended: float
    skipped: bool


def calls(folder: Path) -> list[Call]:
    """The calls that the logs in a folder tell of, in the order of their ends; calls that were killed are left out."""
    found = []
    for path in sorted(folder.glob("*.log")):
        with contextlib.suppress(OSError):
            found += list(_calls_in(path))
    return sorted(found, key=lambda call: call.ended)


def _calls_in(path: Path) -> Iterator[Call]:
    began, command, last = 0.0, "", ""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):  # text of a step that looks like ours
                if ended := _END.match(line):
                    seconds = float(ended["seconds"])
                    if command:
                        yield Call(shlex.split(command), int(ended["status"]), seconds, began + seconds,
                                   last.endswith(SKIPPED))
                    command = ""
                elif line.startswith("==== "):
                    began, command = datetime.strptime(line.strip(), HEADER).timestamp(), ""
                elif not command and line.startswith(COMMAND):
                    command = line.removeprefix(COMMAND).strip()
            last = line.strip() or last
