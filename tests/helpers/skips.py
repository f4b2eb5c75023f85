"""Which tests were skipped and why: a list at the end of a run, and an error for a reason that nobody has allowed."""

import re
from collections import Counter
from pathlib import Path

from helpers import ROOT

ALLOWED = ROOT / "tests/allowed_skips.txt"


def read_allowed(path=ALLOWED) -> list[re.Pattern]:
    """The regular expressions of a list of allowed reasons.

    Raises:
        ValueError: a line without its why, or one that is no regular expression.
    """
    found = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        reason, mark, why = line.partition("  # ")
        if not mark or not why.strip():
            raise ValueError(f"{path}:{number}: no `  # why` behind the reason")
        try:
            found.append(re.compile(reason))
        except re.error as e:
            raise ValueError(f"{path}:{number}: {e}") from None
    return found


def reason_of(report) -> str:
    """Why a skipped test, or a file of tests, was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ").strip()


def table(counts: Counter) -> list[str]:
    """A line for each reason, the most frequent first."""
    return [f"{count:6} {reason}" for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def not_allowed(counts: Counter, allowed: list[re.Pattern]) -> list[str]:
    """The reasons that no expression matches as a whole, sorted."""
    return sorted(reason for reason in counts if not any(p.fullmatch(reason) for p in allowed))
