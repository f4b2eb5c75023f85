"""Lists the kit, the files of the package that are not Python modules: run.sh, steps/, local/, conf/, recipes/.

In a checkout they are next to the package. A wheel contains a copy in ``lstmp/kit`` (made by setup.py), from which
``lstmp run`` fills a working folder (:mod:`lstmp.recipe.working_folder`). setup.py also runs this file by itself, so it
must not import anything that has to be installed.
"""

from pathlib import Path

PARTS = ("conf", "recipes", "steps", "local", "transcribe.sh", "run.sh")  # run.sh last: it marks a copy as complete
# results of recipes; like pictures, they are not part of the kit
_RESULTS = ("records", "RESULTS.md", "results.json", "rates.json", "costs.json")
OWN_ENVIRONMENT = tuple(f"local/{name}" for name in ("env.sh", "choose_env.sh", "install_packages.sh",
                                                     "missing_packages.py"))  # they make the checkout's .venv


def kit_files(source: Path) -> list[Path]:
    """List the files of a kit, or those files of a checkout that belong to it.

    The paths are relative to ``source`` and in the order of ``PARTS``.
    """
    names = []
    for part in PARTS:
        for file in sorted((source / part).rglob("*")) if (source / part).is_dir() else [source / part]:
            name = file.relative_to(source)
            excluded = (set(name.parts) & {*_RESULTS, "__pycache__"} or file.suffix == ".png"
                        or any(p.startswith(".") for p in name.parts) or name.as_posix() in OWN_ENVIRONMENT)
            if file.is_file() and not excluded:
                names.append(name)
    return names
