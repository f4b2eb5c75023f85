"""Prints the progress of a command: time-stamped lines, warnings, and progress bars.

A bar is drawn only on a terminal. In a file it is a plain line, without carriage returns, about once a minute.
"""

import contextlib
import os
import sys
import time
import weakref
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

# LSTMP_QUIET is inherited by the processes that a quiet one starts. Of torchrun's processes only the first prints
# lines, but all print warnings.
_not_first = os.environ.get("RANK", "0") != "0"
_quiet = os.environ.get("LSTMP_QUIET") == "1" or _not_first
_bars = True
tqdm.monitor_interval = 0  # no thread of its own: workers are forked, and a fork while another thread works is not safe
_FIRST, _AGAIN = 30, 60  # seconds until the first plain line of a bar, and between two of them
left_in_run: Callable[[], str] = str  # lstmp.progress sets it: how long the whole run will still take; "": not known
_newest: "weakref.ref[tqdm] | None" = None


@contextlib.contextmanager
def quiet(on: bool = True, bars: bool = True):
    """Print no lines inside this block, so that the result is the only output.

    Progress bars are shown only on a terminal; without ``bars``, not even there.
    """
    global _quiet, _bars
    previous_quiet, previous_bars, _quiet, _bars = _quiet, _bars, on, bars
    previous_variable, os.environ["LSTMP_QUIET"] = os.environ.get("LSTMP_QUIET"), str(int(on))
    try:
        yield
    finally:
        _quiet, _bars = previous_quiet, previous_bars
        if previous_variable is None:
            os.environ.pop("LSTMP_QUIET", None)
        else:
            os.environ["LSTMP_QUIET"] = previous_variable


def say(message: str):
    """Print one line that begins with the time of day."""
    if _quiet:
        return
    tqdm.write(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stdout)
    sys.stdout.flush()


def printable(text: str) -> str:
    """Escape the characters that move a terminal's cursor, are invisible, or cannot be encoded."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def warn(message: str):
    """Print a warning of one line on stderr."""
    tqdm.write(f"warning: {printable(message)}", file=sys.stderr)


def close_bars():
    """Remove the bars of work that an exception has ended, so that the next line starts in the first column."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def on_terminal() -> bool:
    """Whether stderr is a terminal on which a line can be drawn anew."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def progress(items, what: str, total: int | None = None, unit: str = "utt", here: bool = True):
    """Iterate over ``items`` with a progress bar, if ``here``; in a file, it is a line about every minute."""
    global _newest
    terminal = on_terminal()
    bar = (tqdm if terminal else _Lines)(
        items, desc=what, total=total, unit=unit, mininterval=0.5, miniters=1, dynamic_ncols=terminal, leave=False,
        file=sys.stderr,
        disable=not here or _not_first or _quiet and not (_bars and terminal))
    if not bar.disable:
        _newest = weakref.ref(bar)
    return bar


def newest_bar() -> "tqdm | None":
    """The bar of the work that is going on in this process, if it has one."""
    bar = _newest() if _newest else None
    return None if bar is None or bar.disable else bar


def bar_line(bar: tqdm) -> str:
    """What a bar shows, as a line such as ``decode test: 40 %, about 2 min left``."""
    state = bar.format_dict
    done, total, rest = state["n"], state["total"], state["postfix"]
    text = f"{state['prefix']}: " + (f"{100 * done // total} %" if total else f"{done} {state['unit']}")
    if total and done:
        text += f", {about(state['elapsed'] * (total - done) / done)} left"
    return text + (f"; {rest}" if rest else "")


def about(seconds: float) -> str:
    """A time that was estimated, rounded to what an estimate is worth: ``about 25 min``."""
    if seconds < 45:
        return "a few seconds" if seconds < 15 else "under a minute"
    minutes = seconds / 60
    step = next((step for limit, step in ((10, 1), (30, 5), (90, 10), (300, 30)) if minutes < limit), 60)
    return f"about {_minutes(max(1, step * round(minutes / step)))}"


def duration(seconds: float) -> str:
    """A time that was measured: ``8 s``, ``3 min``, ``1 h 20 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else _minutes(round(seconds / 60))


def _minutes(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{rest} min"] * (rest > 0))


class _Lines(tqdm):
    """A bar for a file: a whole line now and then, and nothing that moves a cursor."""

    def __init__(self, *arguments: Any, **keywords: Any):
        self._due = time.monotonic() + _FIRST
        super().__init__(*arguments, **keywords)

    def display(self, msg=None, pos=None):
        if msg is None and time.monotonic() >= self._due:
            self._due = time.monotonic() + _AGAIN
            run = left_in_run()
            self.fp.write(f"{time.strftime('%H:%M:%S')} {bar_line(self)}{run and f' ({run} in the whole run)'}\n")
            self.fp.flush()
        return False  # nothing is on the screen that would have to be removed

    def clear(self, nolock=False):
        """Nothing is on the screen."""
