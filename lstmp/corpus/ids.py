"""Ids of utterances and speakers: which there may be, and the files that are named after them."""

import unicodedata

from lstmp.errors import UserError

LONGEST = 200  # bytes; file systems take 255, of which an ending, a prefix and a temporary name need some
_SPECIAL = "%/\\"  # besides what cannot be printed, and a dot in front


def file_name(name: str) -> str:
    """The name of a file for the id ``name``, without an ending: an ordinary id itself, and no two ids have one name.

    What would lead to another folder, hide the file or not be seen in a listing is written as in URLs: `../a` becomes
    `%2E.%2Fa`.

    Raises:
        UserError: the id cannot be one, see :func:`why_not`.
    """
    if why := why_not(name):
        raise UserError(f"{name[:60]!r} cannot name a file: it {why}", hint="rename it in the data dir")
    return _coded(name)


def why_not(name: str) -> str | None:
    """Why ``name`` cannot be the id of an utterance or speaker, None if it can."""
    if not name or name.split() != [name]:
        return "is empty or holds a space"
    if control := [c for c in name if unicodedata.category(c) in ("Cc", "Cs")]:
        return f"holds a control character, U+{ord(control[0]):04X}"
    if (size := len(_coded(name).encode())) > LONGEST:
        return f"is {size} bytes long as the name of a file, {LONGEST} at most can be one"
    return None


def _coded(name: str) -> str:
    return "".join(c if c.isprintable() and c not in _SPECIAL and (i or c != ".") else
                   "".join(f"%{b:02X}" for b in c.encode("utf-8", "surrogatepass")) for i, c in enumerate(name))
