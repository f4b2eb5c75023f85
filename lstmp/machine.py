"""Describes the machine and the commit of a run, to be reported with every result that depends on them."""

import contextlib
import os
import platform
import subprocess
from pathlib import Path

from lstmp.paths import root


def machine() -> str:
    """Processor and number of cores."""
    name = platform.machine()
    with contextlib.suppress(OSError):  # not Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def commit() -> str:
    """The commit of the checkout, with a note if files have been changed since; "" for an installed package."""
    if not (root() / ".git").exists():
        return ""
    try:
        def git(*arguments):
            return subprocess.run(["git", "-C", str(root()), *arguments], capture_output=True, text=True,
                                  check=True).stdout
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
