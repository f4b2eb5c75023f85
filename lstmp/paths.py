"""Locates the package, and the folder whose run.sh, conf/ and recipes/ are used."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def kit() -> Path:
    """The folder that holds run.sh, steps/, local/, conf/ and recipes/: the checkout, or the copy in the wheel."""
    checkout = PACKAGE.parent
    return checkout if (checkout / "run.sh").is_file() and (checkout / "steps").is_dir() else PACKAGE / "kit"


def root() -> Path:
    """The folder of the running script (LSTMP_ROOT, set by local/path.sh); without a script, the folder of the kit."""
    return Path(os.environ.get("LSTMP_ROOT") or kit())


ROOT = root()
