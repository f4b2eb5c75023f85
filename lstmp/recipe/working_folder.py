"""`lstmp run`: copies run.sh, conf/, recipes/ and steps/ to the current folder if they are absent, and runs run.sh.

    lstmp run                                 the synthetic recipe `tiny`, in this folder
    lstmp run --recipe mini_librispeech       any option of run.sh: lstmp run --help

The user may edit the copies: they are never overwritten. ``.lstmp/`` records the version of lstmp that made the copies,
and the Python that lstmp is installed in, so that ``./run.sh`` and the scripts of steps/ can also be called by hand.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from lstmp import __version__, files
from lstmp.errors import UserError, command
from lstmp.kit import PARTS, kit_files
from lstmp.log import say, warn
from lstmp.paths import kit

NOTES = ".lstmp"  # folder of `version` and `bin/python`


def lay_out(folder: Path) -> tuple[int, list[str]]:
    """Copy the kit to ``folder``; existing files are kept.

    Returns:
        (number of files that were copied, names of existing files that differ from the kit's)
    """
    source, copied, kept = kit(), 0, []
    for name in kit_files(source):
        target = folder / name
        if target.exists():
            if not target.is_file() or target.read_bytes() != (source / name).read_bytes():
                kept.append(str(name))
            continue
        with files.replacing(target) as tmp:
            shutil.copyfile(source / name, tmp)
            if (source / name).read_bytes().startswith(b"#!"):
                tmp.chmod(0o755)
        copied += 1
    return copied, kept


def remember_python(folder: Path) -> bool:
    """Write ``.lstmp/bin/python``, which starts the running Python. Returns whether another Python was recorded before.

    It is a script, not a link, because Python finds its virtual environment by the path of the interpreter.
    """
    path, python = folder / NOTES / "bin/python", sys.executable
    text = f"""#!/bin/sh
# Written by `lstmp run`: the Python that lstmp is installed in.
python={shlex.quote(python)}
[ -x "$python" ] || {{ echo "error: $python: no such Python; call lstmp run here with another" >&2; exit 1; }}
exec "$python" "$@"
"""
    previous = path.read_text(encoding="utf-8") if path.is_file() else None
    if previous != text:
        with files.replacing(path) as tmp:
            tmp.write_text(text, encoding="utf-8")
            tmp.chmod(0o755)
    return previous not in (None, text)


def warn_of_another_version(folder: Path):
    """Warn if a working folder was made by another version of lstmp than the one that is running."""
    path = folder / NOTES / "version"
    if path.is_file() and (version := path.read_text(encoding="utf-8").strip()) != __version__:
        warn(f"{folder} was laid out by lstmp {version}, and this is lstmp {__version__}: its run.sh, steps/, local/, "
             "conf/ and recipes/ may not fit; call `lstmp run` in a new folder and copy your changes there")


def prepare(folder: Path, arguments: list[str]) -> dict[str, str]:
    """Copy the kit to ``folder`` if it contains no run.sh.

    Args:
        folder: the folder to run run.sh in.
        arguments: options of run.sh, which are checked before anything is copied.

    Returns:
        variables to set in the environment of run.sh

    Raises:
        UserError: a bad option; or the existing run.sh belongs to another program.
    """
    if not (folder / "run.sh").exists():
        if not any((folder / name).exists() for name in ("conf", "recipes")):
            from lstmp.recipe.options import parse_options
            from lstmp.recipe.resolve import resolve

            resolve(parse_options(arguments), kit())
        (folder / NOTES).mkdir(exist_ok=True)  # first: a folder with run.sh but without NOTES counts as a checkout
        copied, kept = lay_out(folder)
        if copied and not (folder / NOTES / "version").exists():
            (folder / NOTES / "version").write_text(f"{__version__}\n", encoding="utf-8")
        say(f"{folder}: laid out as a working folder of lstmp {__version__}: {copied} files of {', '.join(PARTS)}")
        if kept:
            warn(f"{len(kept)} existing files are kept: {', '.join(kept[:5])}{' …' * (len(kept) > 5)}")
    elif not (folder / NOTES).is_dir():
        path = folder / "local/path.sh"
        if not path.is_file() or "LSTMP_ROOT" not in path.read_text(encoding="utf-8", errors="replace"):
            raise UserError("it does not belong to lstmp", file=folder / "run.sh",
                            hint="call `lstmp run` in another folder")
        python = Path(sys.executable).with_name("python")
        if not python.exists():
            raise UserError("its folder contains no program `python`, which the scripts of a checkout call",
                            file=sys.executable, hint="call ./run.sh, or install lstmp in a virtual environment")
        return {"LSTMP_PYTHON": str(python)}  # a checkout: its .venv is not used
    if remember_python(folder):
        say(f"{folder}: runs with {sys.executable} from now on")
    return {}


@command
def main(argv=None):
    """Copy the kit to this folder if necessary, and replace this process by its run.sh."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    folder = Path.cwd()
    if "--help" in arguments or "-h" in arguments:
        ours = folder if (folder / NOTES).is_dir() and (folder / "run.sh").is_file() else kit()
        script, environment = ours / "run.sh", {"LSTMP_PYTHON": sys.executable}
    else:
        script, environment = folder / "run.sh", prepare(folder, arguments)
    for name in ("LSTMP_PYTHON", "LSTMP_ROOT"):  # they may come from the scripts of another folder, which called this
        os.environ.pop(name, None)
    sys.stdout.flush()
    try:
        os.execvpe("bash", ["bash", str(script), *arguments], {**os.environ, **environment})
    except FileNotFoundError:
        raise UserError("run.sh needs bash, which is not on PATH", hint="install bash") from None
