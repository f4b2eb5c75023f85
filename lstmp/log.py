"""What a command says while it works: time-stamped lines, and a progress bar on long work."""

import contextlib
import os
import sys
import time

from tqdm import tqdm

# set for the processes that a quiet one starts; of torchrun's processes only the first speaks, but all may warn
_follows = os.environ.get("RANK", "0") != "0"
_quiet = os.environ.get("LSTMP_QUIET") == "1" or _follows
_bars = True


@contextlib.contextmanager
def quiet(on: bool = True, bars: bool = True):
    """No lines, and bars on a terminal alone, or without ``bars`` nowhere: where the only output is the result."""
    global _quiet, _bars
    before, bars_before, _quiet, _bars = _quiet, _bars, on, bars
    told, os.environ["LSTMP_QUIET"] = os.environ.get("LSTMP_QUIET"), str(int(on))
    try:
        yield
    finally:
        _quiet, _bars = before, bars_before
        if told is None:
            os.environ.pop("LSTMP_QUIET", None)
        else:
            os.environ["LSTMP_QUIET"] = told


def say(message: str):
    """Print one line with the time of day before it."""
    if _quiet:
        return
    tqdm.write(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stdout)
    sys.stdout.flush()


def printable(text: str) -> str:
    """Text in which nothing moves a terminal's cursor, is not seen, or is a character that no encoding has."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def warn(message: str):
    """Print one line of warning on stderr."""
    tqdm.write(f"warning: {printable(message)}", file=sys.stderr)


def close_bars():
    """Remove the bars of work that an exception has ended, so that the next line begins at the margin."""
    for bar in list(getattr(tqdm, "_instances", ())):
        bar.close()


def progress(items, what: str, total: int | None = None, unit: str = "utt", here: bool = True):
    """Iterate over ``items`` with a progress bar (unless not ``here``); in a log file, a line every half minute."""
    terminal = sys.stderr.isatty()
    return tqdm(items, desc=what, total=total, unit=unit, mininterval=0.5 if terminal else 30, maxinterval=60,
                dynamic_ncols=terminal, leave=False, file=sys.stderr,
                disable=not here or _follows or _quiet and not (_bars and terminal))
