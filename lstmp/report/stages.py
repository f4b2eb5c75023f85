"""Time and memory of each step of run.sh, from the logs that :mod:`lstmp.step_log` writes."""

import re
import shlex
from datetime import datetime
from pathlib import Path

from lstmp import config
from lstmp.aliases import Json

TITLES = ("environment", "data", "dictionary and lang", "language model", "features", "monophones", "triphones",
          "alignment", "networks", "graphs", "decoding", "scoring")
_CALL = re.compile(r"^==== (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [-+]\d{4})\ncommand: (.*)\n((?:\w+: .*\n)*)", re.M)
_END = re.compile(r"^==== exit status (\d+) after ([\d.]+) s\n(?:used: (.*)\n)?", re.M)


def read_calls(log: Path) -> list[Json]:
    """The calls of the steps of a log folder, in order: stage, step, command, began, seconds, cpu_seconds, peak_mib,
    status, log, and what the header says about the run (``of``, ``commit``, ``versions``, ``machine``).

    Numbers that the log does not have, such as those of a step that was killed, are None.
    """
    calls = []
    for path in log.glob("*-*.log") if log.is_dir() else ():
        stage, _, step = path.stem.partition("-")
        if not config.is_count(stage):
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        starts = list(_CALL.finditer(text))
        for match, following in zip(starts, [*starts[1:], None], strict=False):
            ends = list(_END.finditer(text[match.end():following.start() if following else len(text)]))
            header = dict(line.split(": ", 1) for line in match[3].splitlines())
            calls.append({"stage": int(stage), "step": step, "command": match[2].strip(), "began": _time(match[1]),
                          **_end(ends[-1] if ends else None), "log": path.name, **header})
    return sorted(calls, key=lambda c: (c["stage"], datetime.fromisoformat(c["began"])))


def _time(text: str) -> str:
    """The time of a log in ISO 8601."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").isoformat()


def _end(match: re.Match[str] | None) -> Json:
    numbers: Json = {"seconds": None, "cpu_seconds": None, "peak_mib": None, "status": None}
    if match is None:
        return numbers
    try:
        used = config.json_value(match[3] or "{}")
    except ValueError:
        used = {}
    return {**numbers, "seconds": float(match[2]), "status": int(match[1]),
            **{key: used[key] for key in ("seconds", "cpu_seconds", "peak_mib")
               if isinstance(used, dict) and isinstance(used.get(key), (int, float))}}


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
