"""The data of a report: each file ``data/<name>.js`` is one call, ``lstmpReport.add("<name>", {…});``.

A page that was opened from the disk may not read other files, but it may load scripts. So the data are scripts, and the
page loads a part of them only when it is shown.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lstmp import config
from lstmp.aliases import Json
from lstmp.errors import UserError

# characters that would end the script or its line if the text were put into HTML or read by an old browser
_ESCAPES = {"<": "\\u003c", "\u2028": "\\u2028", "\u2029": "\\u2029"}

# A shard fills whole blocks, so that it seldom has another size when a page that follows a run reads it again.
# Chromium asks for the size of a file before it opens it: of one that is replaced in between it reads as much as the
# old one had, and the end of a longer script is missing until the page reads it once more.
_BLOCK = 4096


def shard_name(*parts: str) -> str:
    """The name of a shard; in each part, everything but ASCII letters, digits and ``-_.~`` is percent-encoded."""
    return "/".join(quote(part, safe="") if part.strip(".") else part.replace(".", "%2E")
                    for part in parts)


def shard_path(report: Path, name: str) -> Path:
    """The file of a shard in the folder of the report."""
    return report / "data" / f"{name}.js"


def write_shard(report: Path, name: str, value: Json | None) -> Path:
    """Write a shard; returns its path. ``value`` must not contain NaN or infinity."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    path = shard_path(report, name)
    start, end = f"lstmpReport.add({json.dumps(name)}, {text}".encode(), b");\n"
    config.write_bytes(path, start + b" " * (-len(start + end) % _BLOCK) + end)
    return path


def read_shard(report: Path, name: str) -> Json:
    """Read a shard that :func:`write_shard` has written.

    Raises:
        UserError: no such file, or not a shard.
    """
    path = shard_path(report, name)
    start, end = f"lstmpReport.add({json.dumps(name)}, ", ");\n"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    try:
        if not (text.startswith(start) and text.endswith(end)):
            raise ValueError
        value: Json = config.json_value(text[len(start):-len(end)])
        return value
    except ValueError:
        raise UserError("missing or damaged", file=path, hint="delete it and make the report again") from None


def digest_of(value: Any) -> str:
    """A short digest of a value that JSON can hold, for the settings of a stage."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).hexdigest()


def remove_others(folder: Path, kept: Iterable[Path]) -> None:
    """Remove the files of ``folder`` that are not among ``kept``: parts of an earlier report. Marks are kept."""
    paths = set(kept)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_file() and path not in paths and not path.name.startswith("."):
            path.unlink(missing_ok=True)
