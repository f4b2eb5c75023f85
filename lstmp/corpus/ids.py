"""Validates ids of utterances and speakers, and turns them into safe file names."""

import unicodedata

from lstmp.errors import UserError

MAX_BYTES = 200  # bytes; file systems allow 255, of which prefixes, extensions and temporary names need some
_SPECIAL = "%/\\"  # escaped, as are non-printable characters and a leading dot


def file_name(name: str) -> str:
    """Return a file name without extension for the id ``name``; different ids have different file names.

    Most ids are returned unchanged. Characters that would lead to another folder, hide the file or be invisible in a
    listing are percent-encoded as in URLs: `../a` becomes `%2E.%2Fa`.

    Raises:
        UserError: the id is not allowed, see :func:`id_error`.
    """
    if why := id_error(name):
        raise UserError(f"{name[:60]!r} cannot name a file: it {why}", hint="rename it in the data dir")
    return _percent_encode(name)


def id_error(name: str) -> str | None:
    """Explain why ``name`` is not allowed as an id of an utterance or speaker; None if it is allowed."""
    if not name or name.split() != [name]:
        return "is empty or contains a space"
    if control := [c for c in name if unicodedata.category(c) in ("Cc", "Cs")]:
        return f"contains a control character, U+{ord(control[0]):04X}"
    if (size := len(_percent_encode(name).encode())) > MAX_BYTES:
        return f"is {size} bytes long as a file name; at most {MAX_BYTES} are allowed"
    return None


def _percent_encode(name: str) -> str:
    return "".join(c if c.isprintable() and c not in _SPECIAL and (i or c != ".") else
                   "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogatepass")) for i, c in enumerate(name))
