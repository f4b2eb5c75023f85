"""Reads from the logs of steps (:mod:`lstmp.step_log`) which calls there were, and what time and memory they took."""

import contextlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lstmp import config
from lstmp.stage import SKIPPED
from lstmp.step_log import COMMAND, HEADER

_NAME = re.compile(r"(?P<stage>\d+)-(?P<step>.+)\.log")
_END = re.compile(r"==== exit status (?P<status>\d+) after (?P<seconds>[\d.]+) s")
_SAID = re.compile(r"\d\d:\d\d:\d\d ")  # what lstmp.log.say prints
_ABOUT = re.compile(r"(of|commit|versions|machine): (.*)")
_USED = "used: "


@dataclass
class Call:
    """A call of a step. Numbers that its log does not have are None.

    Attributes:
        log: name of the log file.
        stage, step: number of the stage, and name of the step; -1 and the name of the file if that has no number.
        began: when it began.
        line, command: module and arguments, as one line and as a list.
        status: exit status; None if it was killed, or is still running.
        seconds: how long it took, without the start of Python.
        skipped: whether it found that its work was done already.
        cpu_seconds: processor time of the step and the processes that it has started.
        peak_mib: memory of the largest of these processes.
        about: what the log's header says of the run: ``of`` (its command), ``commit``, ``versions``, ``machine``.
    """

    log: str
    stage: int
    step: str
    began: datetime
    line: str = ""
    command: list[str] = field(default_factory=list)
    status: int | None = None
    seconds: float | None = None
    skipped: bool = False
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    about: dict[str, str] = field(default_factory=dict)

    @property
    def ended(self) -> float:
        """When it ended, in seconds since 1970."""
        return self.began.timestamp() + (self.seconds or 0.0)


def calls(folder: Path, finished: bool = True) -> list[Call]:
    """The calls that the logs in a folder tell of, in the order of their ends; with ``finished``, only ended ones."""
    found = []
    for path in sorted(folder.glob("*.log")):
        with contextlib.suppress(OSError):
            found += [call for call in _calls_in(path) if call.status is not None or not finished]
    return sorted(found, key=lambda call: call.ended)


def _calls_in(path: Path) -> Iterator[Call]:
    name, last = _NAME.fullmatch(path.name), ""
    stage, step = (int(name["stage"]), name["step"]) if name and config.is_count(name["stage"]) else (-1, path.stem)
    call: Call | None = None
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(ValueError):  # text of a step that looks like ours
                if line.startswith("==== ") and not _END.match(line):
                    began = datetime.strptime(line.strip(), HEADER)
                    if call and call.line:
                        yield call
                    call = Call(path.name, stage, step, began)
                elif call:
                    _take(line, call, last)
            last = line.strip() if _SAID.match(line) else last
    if call and call.line:
        yield call


def _take(line: str, call: Call, last: str):
    """Take what a line says of the call; ``last`` is the last line before it that has a time of day."""
    if call.status is not None:
        if line.startswith(_USED):
            used = config.json_value(line.removeprefix(_USED))
            for name in ("cpu_seconds", "peak_mib"):
                if isinstance(used, dict) and isinstance(used.get(name), (int, float)):
                    setattr(call, name, used[name])
    elif ended := _END.match(line):
        call.status, call.seconds, call.skipped = int(ended["status"]), float(ended["seconds"]), last.endswith(SKIPPED)
    elif not call.line and line.startswith(COMMAND) and line.endswith("\n"):
        text = line.removeprefix(COMMAND).strip()
        call.command = shlex.split(text)  # ValueError: its quotes are not closed
        call.line = text
    elif (about := _ABOUT.match(line)) and about[1] not in call.about:
        call.about[about[1]] = about[2].strip()
