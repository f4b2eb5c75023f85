"""Time and memory of each step of run.sh, from the logs that :mod:`lstmp.step_log` writes."""

import re
import shlex
from datetime import datetime
from pathlib import Path

from lstmp import past_calls
from lstmp.aliases import Json

TITLES = ("environment", "data", "dictionary and lang", "language model", "features", "monophones", "triphones",
          "alignment", "networks", "graphs", "decoding", "scoring")


def read_calls(log: Path) -> list[Json]:
    """The calls of the steps of a log folder, by stage and time: stage, step, command, began, seconds, cpu_seconds,
    peak_mib, status, log, and what the header says about the run (``of``, ``commit``, ``versions``, ``machine``).

    Numbers that the log does not have, such as those of a step that was killed, are None.
    """
    calls = [call for call in past_calls.calls(log, finished=False) if call.stage >= 0]
    return [{"stage": c.stage, "step": c.step, "command": f"python -m {c.line}", "began": c.began.isoformat(),
             "seconds": c.seconds, "cpu_seconds": c.cpu_seconds, "peak_mib": c.peak_mib, "status": c.status,
             "log": c.log, **c.about} for c in sorted(calls, key=lambda c: (c.stage, c.began))]


def stages(calls: list[Json]) -> list[Json]:
    """Time and memory by stage.

    A step that was called again with the same arguments counts once, with its longest successful call: a call that
    finds everything done takes only a moment.
    """
    best: dict[tuple[int, str], Json] = {}
    for call in calls:
        key = call["stage"], call["command"]
        if key not in best or _worth(call) >= _worth(best[key]):
            best[key] = call
    by_stage: dict[int, list[Json]] = {}
    for call in best.values():
        by_stage.setdefault(call["stage"], []).append(call)
    out = []
    for stage, steps in sorted(by_stage.items()):
        title = TITLES[stage] if stage < len(TITLES) else ""
        totals = {key: _total(steps, key) for key in ("seconds", "cpu_seconds")}
        peaks = [s["peak_mib"] for s in steps if s["peak_mib"] is not None]
        keys = ("step", "command", "began", "seconds", "cpu_seconds", "peak_mib", "status", "log")
        out.append({"stage": stage, "title": title, **totals, "peak_mib": max(peaks, default=None),
                    "steps": [{k: s[k] for k in keys} for s in steps]})
    return out


def _worth(call: Json) -> tuple[bool, float]:
    return call["status"] == 0, call["seconds"] or 0.0


def _total(steps: list[Json], key: str) -> float | None:
    values = [s[key] for s in steps if s[key] is not None]
    return round(sum(values), 1) if values else None


def about(calls: list[Json]) -> Json:
    """What the latest step says about its run: ``command``, ``commit``, ``machine``, ``versions`` by package."""
    latest: Json = max(calls, key=lambda c: datetime.fromisoformat(c["began"]), default={})
    versions = dict(entry.rsplit(" ", 1) for entry in str(latest.get("versions", "")).split(", ") if " " in entry)
    return {"command": latest.get("of", ""), "commit": latest.get("commit", ""), "machine": latest.get("machine", ""),
            "versions": versions}


def run_command(of: str) -> str:
    """The command of a run without the options that only choose stages; it reproduces the whole run."""
    return re.sub(r" --(stage|stop-stage)[ =]\S+", "", of)


def quoted(*words: str) -> str:
    """A command, to be copied to a shell."""
    return shlex.join(words)
