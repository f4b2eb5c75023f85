"""The kit: what belongs to the package beside its Python files: run.sh, steps/, local/, conf/, recipes/.

In a checkout these lie beside the package. A wheel carries a copy in ``lstmp/kit`` (setup.py), from which ``lstmp run``
lays out a working folder (:mod:`lstmp.working_folder`). setup.py runs this file by itself: it imports nothing that has
to be installed.
"""

import os
import subprocess
from pathlib import Path

PARTS = ("conf", "recipes", "steps", "local", "transcribe.sh", "run.sh")  # run.sh last: with it, a copy is complete
_RESULTS = ("records", "RESULTS.md", "results.json")  # of recipes; they and the pictures stay in the checkout
OWN_ENVIRONMENT = tuple(f"local/{name}" for name in ("env.sh", "choose_env.sh", "install_packages.sh",
                                                     "missing_packages.py"))  # they make the checkout's .venv
_PACKAGE = Path(__file__).resolve().parent
_called: str | None = None  # the subcommand of `lstmp` that runs, such as "lstmp train"


def kit() -> Path:
    """The folder that holds run.sh, steps/, local/, conf/ and recipes/: the checkout's, or the wheel's copy."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / "run.sh").is_file() and (checkout / "steps").is_dir() else _PACKAGE / "kit"


def kit_files(source: Path) -> list[Path]:
    """The files of a kit, or of a checkout those that belong to it, relative to it, in the order of ``PARTS``."""
    found = []
    for part in PARTS:
        for file in sorted((source / part).rglob("*")) if (source / part).is_dir() else [source / part]:
            name = file.relative_to(source)
            left_out = (set(name.parts) & {*_RESULTS, "__pycache__"} or file.suffix == ".png"
                        or any(p.startswith(".") for p in name.parts) or name.as_posix() in OWN_ENVIRONMENT)
            if file.is_file() and not left_out:
                found.append(name)
    return found


def root() -> Path:
    """Whose conf/ and recipes/ count: the folder of the script that runs (LSTMP_ROOT, local/path.sh), else the kit."""
    return Path(os.environ.get("LSTMP_ROOT") or kit())


def name_command(name: str):
    """Say that the program was called as a subcommand of ``lstmp``."""
    global _called
    _called = name


def called(script: str) -> str:
    """What a command's help calls it: ``script``, which starts it, or the subcommand by which it was called."""
    return _called or script


def commit() -> str:
    """The commit of the checkout, and whether files were changed since; "" for an installed package."""
    if not (root() / ".git").exists():
        return ""
    try:
        def git(*what):
            return subprocess.run(["git", "-C", str(root()), *what], capture_output=True, text=True, check=True).stdout
        changed = git("status", "--porcelain", "--untracked-files=no").strip()
        return git("rev-parse", "--short=12", "HEAD").strip() + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""
