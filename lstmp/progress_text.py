"""Says in words how far a run is: the line on the terminal, the lines in a file, the list of stages."""

import os
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lstmp.log import about, duration

NETWORK_TRAINING = ("train_lstmp", "train_sequence")  # scripts
_MARKS = {"done": "✓", "skipped": "✓", "running": "▶", "waiting": "·", "failed": "✗"}
_PLAIN = {"✓": "+", "▶": ">", "·": ".", "✗": "!"}  # where the terminal's encoding lacks them


def left(state: dict[str, Any]) -> str:
    """How long the run will still take: ``about 25 min left``; "" if that is not known."""
    return "" if state["left"] is None or state["finished"] else f"{about(state['left'])} left"


def folder_of(command: list[str]) -> str:
    """The folder that a step writes to: that of ``--out``, or else the last one of its command; "" if it has none."""
    if "--out" in command[:-1]:
        return command[command.index("--out") + 1]
    folders = [c for before, c in zip(command, command[1:], strict=False)
               if "/" in c and before != "--note" and not c.endswith(".yaml")]
    return folders[-1] if folders else ""


def name_of(step: dict[str, Any]) -> str:
    """A step as lines name it: its stage, its script, and the folder that it writes to."""
    return f"stage {step['stage']}: {Path(step['command'][0]).stem} {folder_of(step['command'])}".rstrip()


def running_stage(state: dict[str, Any]) -> dict[str, Any] | None:
    """The stage that runs, or the one that has failed."""
    return next((s for s in state["stages"] if s["state"] in ("running", "failed")), None)


def one_line(state: dict[str, Any]) -> str:
    """The state of a run in one line."""
    stage, rest = running_stage(state), left(state)
    what = f"stage {stage['stage']} of {state['stages'][-1]['stage']}, {stage['title']}" if stage else "all stages"
    so_far = duration(state["updated"] - state["began"])
    return f"{what}: {so_far} so far, {rest or 'time left not known yet'}"


def stage_line(state: dict[str, Any], width: int) -> str:
    """The stages in one line of at most ``width`` columns: ``✓1 ✓2 ▶3 features ·4 ·5  12 s, about 5 min left``."""
    rest, so_far = left(state), duration(state["updated"] - state["began"])
    times = f"  {so_far}" + (f", {rest}" if rest else "")
    for titled in (True, False):
        stages = [f"{_MARKS[s['state']]}{s['stage']}" + f" {s['title']}" * (titled and s["state"] == "running")
                  for s in state["stages"]]
        if len(line := " ".join(stages) + times) <= width:
            return line
    stage = running_stage(state)
    return f"{_MARKS['running']}{stage['stage'] if stage else ''} {rest or so_far}"[:max(width, 0)]


def stage_list(state: dict[str, Any], running: bool, now: float) -> list[str]:
    """The stages of a run, a line for each.

    Args:
        running: whether the run is going on.
        now: the time, in seconds since 1970.
    """
    ended = state["finished"] or (now if running else state["updated"])
    failed = any(s["state"] == "failed" for s in state["stages"])
    how = (left(state) or "time left not known yet") if running else "failed" if failed else \
        "finished" if state["finished"] else "stopped before its end; the same command resumes it"
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(state["began"]))
    lines = [f"{state['command']}", f"began {began}, {duration(ended - state['began'])}: {how}"]
    width = max(len(s["title"]) for s in state["stages"])
    for s in state["stages"]:
        mark = "failed" if s["state"] == "running" and not running else s["state"]
        times = duration(s["seconds"]) if s["seconds"] >= 0.5 else ""
        rest = f"{about(s['left'])}{' left' if times else ''}" if running and s["left"] else ""
        about_network = ""
        if s["state"] == "running" and running and (n := state["network"]):
            about_network = (f"   {n['name']}: epoch {n['epoch']}/{n['of']}, batch {n['batches']}/{n['of_batches']}, "
                             f"loss {n['loss']:.3f}, {n['frames_per_second']:,.0f} frames/s")
        lines.append(f"{_MARKS[mark]} {s['stage']:2} {s['title']:{width}}  {times:>10}  {rest}{about_network}".rstrip())
    return lines


def encodable(text: str, encoding: str | None) -> str:
    """``text`` with plain marks, if the encoding lacks ours."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        for mark, plain in _PLAIN.items():
            text = text.replace(mark, plain)
    return text


class StatusLine:
    """The line on the terminal that shows the stages; below it is the bar of the work that is going on.

    Only this line and the bar are ever drawn again, so that nothing is left to repair if the program is killed.
    """

    def __init__(self):
        self._bar = tqdm(total=0, bar_format="{desc}", file=sys.stderr, leave=False)

    def show(self, state: dict[str, Any]):
        """Draw it again, for the present width of the terminal."""
        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns - 1
        except OSError:
            width = 79
        text = encodable(stage_line(state, width), getattr(sys.stderr, "encoding", None))
        self._bar.set_description_str(text)

    def close(self):
        """Remove it."""
        self._bar.close()
