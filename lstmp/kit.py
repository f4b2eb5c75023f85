"""The kit: what belongs to the package beside its Python files: run.sh, steps/, local/, conf/, recipes/.

In a checkout these lie beside the package. A wheel carries a copy in ``lstmp/kit`` (setup.py), from which ``lstmp run``
lays out a working folder (:mod:`lstmp.recipe.working_folder`). setup.py runs this file by itself: it imports nothing that has
to be installed.
"""

from pathlib import Path

PARTS = ("conf", "recipes", "steps", "local", "transcribe.sh", "run.sh")  # run.sh last: with it, a copy is complete
_RESULTS = ("records", "RESULTS.md", "results.json")  # of recipes; they and the pictures stay in the checkout
OWN_ENVIRONMENT = tuple(f"local/{name}" for name in ("env.sh", "choose_env.sh", "install_packages.sh",
                                                     "missing_packages.py"))  # they make the checkout's .venv


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
