"""Prints the progress of a command: time-stamped lines, warnings, and progress bars."""

import contextlib
import os
import sys
import time

from tqdm import tqdm

# LSTMP_QUIET is inherited by the processes that a quiet one starts. Of torchrun's processes only the first prints
# lines, but all print warnings.
_not_first = os.environ.get("RANK", "0") != "0"
_quiet = os.environ.get("LSTMP_QUIET") == "1" or _not_first
_bars = True
tqdm.monitor_interval = 0  # no thread of its own: workers are forked, and a fork while another thread works is not safe


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


def progress(items, what: str, total: int | None = None, unit: str = "utt", here: bool = True):
    """Iterate over ``items`` with a progress bar, if ``here``; in a log file, it is a line every half minute."""
    terminal = sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, unit=unit, mininterval=0.5 if terminal else 30, miniters=1,
                dynamic_ncols=terminal, leave=False, file=sys.stderr,
                disable=not here or _not_first or _quiet and not (_bars and terminal))
