"""`lstmp run`: the stages of run.sh in a folder of the user's, which is laid out with run.sh, conf/, recipes/, steps/.

    lstmp run                                 the synthetic recipe `tiny`, in this folder
    lstmp run --recipe mini_librispeech       any option of run.sh: lstmp run --help

The copies are the user's to edit: none is ever overwritten. ``.lstmp/`` remembers which lstmp laid the folder out and
the Python that it is installed in, so that ``./run.sh`` and the scripts of steps/ can be called by hand as well.
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
    """Copy the kit to ``folder``; a file that is there stays as it is.

    Returns:
        (number of files that were copied, names of those that were there and differ from the kit's)
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
    """Write ``.lstmp/bin/python``, which starts the Python that runs now; True if another one was remembered before.

    A script, not a link: a virtual environment is known by the path of its interpreter.
    """
    path, python = folder / NOTES / "bin/python", sys.executable
    text = f"""#!/bin/sh
# Written by `lstmp run`: the Python that lstmp is installed in.
python={shlex.quote(python)}
[ -x "$python" ] || {{ echo "error: $python: no such Python; call lstmp run here with another" >&2; exit 1; }}
exec "$python" "$@"
"""
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    if before != text:
        with files.replacing(path) as tmp:
            tmp.write_text(text, encoding="utf-8")
            tmp.chmod(0o755)
    return before not in (None, text)


def warn_of_another_version(folder: Path):
    """Warn where a working folder was laid out by another version of lstmp than the one that runs."""
    path = folder / NOTES / "version"
    if path.is_file() and (version := path.read_text(encoding="utf-8").strip()) != __version__:
        warn(f"{folder} was laid out by lstmp {version}, and this is lstmp {__version__}: its run.sh, steps/, local/, "
             "conf/ and recipes/ may not fit; call `lstmp run` in a new folder and take over what you changed")


def prepare(folder: Path, arguments: list[str]) -> dict[str, str]:
    """Lay out ``folder`` where there is no run.sh.

    Args:
        folder: where run.sh is to run.
        arguments: its options; a mistyped one is noticed before anything is copied.

    Returns:
        what has to be set in the environment of run.sh.

    Raises:
        UserError: a bad option; or the run.sh that is there is another program's.
    """
    if not (folder / "run.sh").exists():
        if not any((folder / name).exists() for name in ("conf", "recipes")):
            from lstmp.recipe.options import parse_options
            from lstmp.recipe.resolve import resolve

            resolve(parse_options(arguments), kit())
        (folder / NOTES).mkdir(exist_ok=True)  # first: a folder with run.sh and without it is taken for a checkout
        copied, kept = lay_out(folder)
        if copied and not (folder / NOTES / "version").exists():
            (folder / NOTES / "version").write_text(f"{__version__}\n", encoding="utf-8")
        say(f"{folder}: laid out as a working folder of lstmp {__version__}: {copied} files of {', '.join(PARTS)}")
        if kept:
            warn(f"{len(kept)} files were there and stay as they are: {', '.join(kept[:5])}{' …' * (len(kept) > 5)}")
    elif not (folder / NOTES).is_dir():
        path = folder / "local/path.sh"
        if not path.is_file() or "LSTMP_ROOT" not in path.read_text(encoding="utf-8", errors="replace"):
            raise UserError("it is not lstmp's", file=folder / "run.sh", hint="call `lstmp run` in another folder")
        python = Path(sys.executable).with_name("python")
        if not python.exists():
            raise UserError("this Python has no program `python` beside it, which the scripts of a checkout call",
                            file=sys.executable, hint="call ./run.sh, or install lstmp in a virtual environment")
        return {"LSTMP_PYTHON": str(python)}  # a checkout: its own .venv is not touched
    if remember_python(folder):
        say(f"{folder}: runs with {sys.executable} from now on")
    return {}


@command
def main(argv=None):
    """Lay out this folder if need be, and become its run.sh."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    folder = Path.cwd()
    if "--help" in arguments or "-h" in arguments:
        ours = folder if (folder / NOTES).is_dir() and (folder / "run.sh").is_file() else kit()
        script, environment = ours / "run.sh", {"LSTMP_PYTHON": sys.executable}
    else:
        script, environment = folder / "run.sh", prepare(folder, arguments)
    for name in ("LSTMP_PYTHON", "LSTMP_ROOT"):  # of another folder, whose scripts called this
        os.environ.pop(name, None)
    sys.stdout.flush()
    try:
        os.execvpe("bash", ["bash", str(script), *arguments], {**os.environ, **environment})
    except FileNotFoundError:
        raise UserError("run.sh needs bash, which is not on PATH", hint="install bash") from None
