"""Records how far a run of run.sh is, and how long the rest will take, while its steps run.

The record is ``<exp>/progress.json``, which :mod:`lstmp.run_plan` begins. Each step notes there its begin and its end,
and while it runs a thread updates the record, the line on the terminal and the page of the report. Where the output is
a file, plain lines are printed instead. ``<exp>/log/progress.log`` gets the same lines. A step that is called by hand
does none of this. Nothing here ends a step: if the record cannot be written, one warning says so.
"""

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lstmp import log, progress_text

_TAKEN = "LSTMP_STEP_TAKEN"  # tells the processes that a step starts that the step is recorded already
_WEIGHT = 5.0  # seconds: how much must have been measured to count as much as what is expected
_DRIFT = 0.2  # the time left is corrected if it differs by this share from what was shown
_DRAW, _SAVE, _NOTE = 1.0, 5.0, 60.0  # seconds between two drawings, records and lines of the log
_done_before, _worked = 0, 0  # pieces of work of this process that were found done, and that were done
_network: dict[str, Any] | None = None


def note_work(needed: bool):
    """Note that a piece of work of this step was done now, or was found done (:mod:`lstmp.stage` calls this)."""
    global _done_before, _worked
    _done_before, _worked = _done_before + (not needed), _worked + needed


def note_training(**about: Any):
    """Note how far a training is: ``name``, ``epoch`` (from 1), ``of``, ``batches``, ``of_batches``, ``loss``,
    ``frames_per_second``, and ``left``, the seconds until its end. A loss that is not finite is not noted: the training
    returns to a checkpoint."""
    global _network
    if math.isfinite(about["loss"]):
        _network = about


class Run:
    """The record of a run.

    Args:
        exp: its folder.
        state: content of progress.json; :func:`lstmp.run_plan.begin` says what it has in the beginning.
    """

    def __init__(self, exp: Path, state: dict[str, Any]):
        self.exp, self.state, self.broken = exp, state, False
        self.current: dict[str, Any] | None = None

    @classmethod
    def load(cls, exp: Path, token: str | None = None) -> "Run | None":
        """Read the record; None if there is none, it is damaged, or it is of another run than ``token``."""
        try:
            run = cls(exp, json.loads((exp / "progress.json").read_bytes()))
            run.update(time.time())
            run.find([])
            return run if token is None or run.state["run"] == token else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def estimate(self):
        """Set the expected seconds of the steps that have not been measured before, by the data that is there now."""
        from lstmp import expected  # these modules import, as most do, lstmp.errors, which imports this one

        sizes = expected.Sizes([s["command"] for s in self.state["steps"]], self.state["hours"])
        for step in self.state["steps"]:
            if step["state"] in ("waiting", "running"):
                with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                    step["expected"] = expected.SKIP if step["skip"] else step["earlier"] or expected.seconds(
                        step["command"], sizes, self.state["nj"])

    def find(self, arguments: list[str]) -> dict[str, Any] | None:
        """The next step whose options are all among ``arguments``, those of a module."""
        given = Counter(arguments)
        for step in self.state["steps"]:
            if step["state"] not in ("done", "skipped") and Counter(step["command"][1:]) <= given:
                return step
        return None

    def begin(self, step: dict[str, Any]):
        """Note that a step begins. Those before it are over: steps run one after the other."""
        for earlier in self.state["steps"][:self.state["steps"].index(step)]:
            if earlier["state"] in ("waiting", "running", "failed"):
                earlier["state"] = "skipped"
        self.current, step["state"] = step, "running"
        self.state |= {"network": None, "finished": None}  # torchrun may begin a step anew that has failed

    def first_of_stage(self, step: dict[str, Any]) -> bool:
        """Whether a step is the first of its stage."""
        return step is next(s for s in self.state["steps"] if s["stage"] == step["stage"])

    def end(self, state: str, now: float):
        """Note the end of the step that runs. Its time is counted from the end of the step before."""
        assert self.current
        self.current |= {"state": state, "seconds": round(now - self.state["ended"], 1)}
        self.state["ended"], self.current = now, None
        if state == "failed" or all(s["state"] in ("done", "skipped") for s in self.state["steps"]):
            self.state["finished"] = now
        self.estimate()

    def factor(self, step: dict[str, Any]) -> float:
        """By how much the steps so far took longer than expected, those like this one in particular."""
        done = [s for s in self.state["steps"] if s["state"] == "done" and s["expected"] and not s["skip"]
                and bool(s["earlier"]) == bool(step["earlier"])]
        training = _trains_network(step)
        others = [s for s in done if not _trains_network(s)]
        alike = [s for s in done if s["command"][0] == step["command"][0]]
        general = 1.0 if training and not step["earlier"] else _ratio(others, _WEIGHT, 1.0)
        return _ratio(alike, _WEIGHT, general)

    def left_of(self, step: dict[str, Any], now: float) -> float | None:
        """The seconds that a step will still take; None: not known."""
        if step["state"] not in ("waiting", "running"):
            return 0.0
        if step is self.current and _network:
            return float(_network["left"])
        if step["expected"] is None:
            return None
        left = step["expected"] * self.factor(step)
        if step["state"] == "running":
            elapsed = now - self.state["ended"]
            left = max(left - elapsed, 0.15 * elapsed)
            if step is self.current and (bar := log.newest_bar()) and bar.total and bar.n:
                left = max(left, (now - bar.start_t) * (bar.total - bar.n) / bar.n)
        return float(left)

    def update(self, now: float):
        """Compute the time left of each stage and of the whole run, and what else a reader sees."""
        state = self.state
        if _worked and self.current and self.current["skip"]:  # it was expected to find its work done
            self.current["skip"] = False
            self.estimate()
        for stage in state["stages"]:
            steps = [s for s in state["steps"] if s["stage"] == stage["stage"]]
            states = {s["state"] for s in steps}
            stage["state"] = next((s for s in ("failed", "running") if s in states), None) or (
                "waiting" if states == {"waiting"} else "running" if "waiting" in states
                else "skipped" if states == {"skipped"} else "done")
            running = now - state["ended"] if "running" in states else 0.0
            stage["seconds"] = round(sum(s["seconds"] for s in steps) + running, 1)
            rest = [self.left_of(s, now) for s in steps]
            stage["left"] = None if None in rest else round(sum(x or 0.0 for x in rest), 1)
        lefts = [stage["left"] for stage in state["stages"]]
        left = None if None in lefts else float(sum(lefts))
        state["left"] = _steady(state["left"], now - state["updated"], left)
        state["updated"] = now
        if _network and self.current:
            state["network"] = {k: v for k, v in _network.items() if k != "left"}
        if state["finished"]:
            state |= {"left": 0.0, "network": None}

    def save(self, now: float):
        """Write the record, and the page's copy of it if there is a page. A failure is only a warning, once."""
        from lstmp import config
        from lstmp.shards import write_shard

        self.update(now)
        if self.broken:
            return
        try:
            config.write_text(self.exp / "progress.json", json.dumps(self.state) + "\n")
            if (self.exp / "report/data").is_dir():
                shown = {k: v for k, v in self.state.items() if k not in ("run", "nj", "ended", "hours", "steps")}
                with contextlib.suppress(OSError):  # run.sh has warned when it began the page
                    write_shard(self.exp / "report", "progress", shown)
        except OSError as e:
            self.broken = True
            with contextlib.suppress(OSError):
                (self.exp / "progress.json").unlink()  # so that the steps that follow do not warn again
            log.warn(f"{self.exp / 'progress.json'}: progress cannot be recorded: {e.strerror or e}")

    def note(self, text: str):
        """Add a line to the log of the progress."""
        if not self.broken:
            with contextlib.suppress(OSError), open(self.exp / "log/progress.log", "a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def _trains_network(step: dict[str, Any]) -> bool:
    return Path(step["command"][0]).stem in progress_text.NETWORK_TRAINING


def _ratio(steps: list[dict[str, Any]], weight: float, usual: float) -> float:
    """Measured by expected seconds of steps; few seconds count little against ``usual``."""
    return float((sum(s["seconds"] for s in steps) + weight * usual) / (sum(s["expected"] for s in steps) + weight))


def _steady(shown: float | None, passed: float, left: float | None) -> float | None:
    """The time left to show: what was shown, less the time that has passed, unless the estimate differs clearly."""
    if shown is None or left is None:
        return left
    counted = max(shown - passed, 0.0)
    return counted if abs(left - counted) <= max(_DRIFT * counted, 5) else left


class _Reporter:
    """Keeps the record, the terminal and the page up to date while a step runs."""

    def __init__(self, run: Run):
        self.run, self.lock, self.over = run, threading.Lock(), threading.Event()
        self.line = progress_text.StatusLine() if log.on_terminal() else None
        self.saved = self.noted = time.monotonic()
        self.thread = threading.Thread(target=self._work, name="progress", daemon=True)

    def start(self):
        """Begin the thread. A process is not forked while it draws, or the child would wait for ever for its locks."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.lock.acquire, after_in_parent=self.lock.release,
                                after_in_child=self.lock.release)
        self.thread.start()

    def stop(self):
        """End the thread, and remove the line from the terminal."""
        self.over.set()
        self.thread.join()
        if self.line:
            with contextlib.suppress(OSError):  # the terminal is gone
                self.line.close()

    def _work(self):
        while True:
            with self.lock:
                self._look()
            if self.over.wait(_DRAW if self.line else _SAVE):
                return

    def _look(self):
        clock, now = time.monotonic(), time.time()
        if clock - self.saved >= _SAVE:
            self.saved = clock
            self.run.save(now)
        else:
            self.run.update(now)
        if clock - self.noted >= _NOTE:
            self.noted = clock
            bar = log.newest_bar()
            self.run.note(progress_text.one_line(self.run.state) + (f"; {log.bar_line(bar)}" if bar else ""))
        if self.line:
            with contextlib.suppress(OSError):
                self.line.show(self.run.state)


@contextlib.contextmanager
def step(module: str) -> Iterator[None]:
    """Record the command ``module`` as a step of the run that has called it, if it was a run."""
    token, folder = os.environ.get("LSTMP_RUN"), os.environ.get("LSTMP_LOG")
    alone = not token or not folder or os.environ.get(_TAKEN) == token or os.environ.get("RANK", "0") != "0"
    run = None if alone or module == "lstmp.machines" else Run.load(Path(str(folder)).parent, token)
    planned = run.find(sys.argv[1:]) if run else None
    if not run or not planned:
        yield
        return
    os.environ[_TAKEN] = str(token)
    run.begin(planned)
    run.save(time.time())
    run.note(f"{progress_text.name_of(planned)} begins; {progress_text.one_line(run.state)}")
    log.left_in_run = lambda: progress_text.left(run.state)
    if run.first_of_stage(planned) and not log.on_terminal():
        log.say(progress_text.one_line(run.state))
    reporter, state = _Reporter(run), "failed"
    reporter.start()
    try:
        yield
        state = "skipped" if _done_before and not _worked else "done"
    except SystemExit as e:
        state = "failed" if e.code else "done"
        raise
    finally:
        reporter.stop()
        run.end(state, time.time())
        run.save(time.time())
        run.note(f"{progress_text.name_of(planned)}: {state} after {log.duration(planned['seconds'])}")
        del os.environ[_TAKEN]
