"""Reads all text files of the package: lines, columns and words, with one-line errors for malformed files.

A file is UTF-8, plain or gzipped, with or without a byte order mark; lines end in LF, CRLF or CR. Text is normalized to
Unicode's NFC, so that é and e + accent are the same letter.

Columns of tables, lexicons and language models are separated by ASCII white space only (:func:`columns`), because a
no-break space is part of a word in Kaldi. Running text, such as a transcript, is separated by any Unicode white space
(``str.split``), because its writer means it as a space.
"""

import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError

APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4\uff07", "'"))
_MAX_LINE = 1 << 26  # maximum bytes per line
_FIELD = re.compile(r"[^ \t\n\v\f\r]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_COMPRESSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
_OTHER_ENCODINGS = [(re.compile(mark, re.S), name) for mark, name in (  # the last two have no byte order mark
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", "UTF-32"), (rb"\xff\xfe|\xfe\xff", "UTF-16"),
    (rb"([^\0]\0){2}", "UTF-16LE"), (rb"(\0[^\0]){2}", "UTF-16BE"))]
# Format characters (Unicode category Cf) that are part of the spelling: joiners (Persian, Indic scripts, emoji), number
# signs, the Mongolian vowel separator, controls of hieroglyphs, shorthand and music, tags of flags. (Variation
# selectors have category Mn.)
_ALLOWED_FORMAT = re.compile("[\u200c\u200d\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u180e\U000110bd\U000110cd"
                       "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0020-\U000e007f]")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")


def numbered_lines(path, *, compose: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (1-based line number, line without its line end) of a text file; gzip is detected by its first bytes.

    Args:
        compose: normalize to NFC; use False for tables of paths and ids, which are compared byte by byte.

    Raises:
        UserError: there is no such file, a line is not UTF-8, or a gzip file is truncated or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, hint="check the path, or run the stage that makes it")
    with open(path, "rb") as f:
        head = f.read(5)
    if compression := next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None):
        raise UserError(f"compressed with {compression}", file=path, hint="decompress it, or use gzip")
    n = 0
    with open_gzip(path) if head[:2] == b"\x1f\x8b" else open(path, "rb") as f:
        while True:
            try:
                raw = f.readline(_MAX_LINE)
            except gzip.BadGzipFile as e:
                raise UserError(f"the gzip file is cut off or damaged: {e}", file=path, line=n + 1,
                                hint="fetch it again") from None
            if not raw:
                return
            parts = raw.rstrip(b"\r\n").split(b"\r") if b"\r" in raw else [raw.rstrip(b"\n")]
            for part in parts:
                n += 1
                yield n, _text(part, path, n, compose)


def _text(raw: bytes, path, n: int, compose: bool) -> str:
    if n == 1 and (encoding := next((name for mark, name in _OTHER_ENCODINGS if mark.match(raw)), None)):
        raise UserError(f"not UTF-8 text but {encoding}", file=path, line=1, hint="save it as UTF-8, or convert it "
                        f"with `iconv -f {encoding.lower()} -t utf-8`")
    if b"\0" in raw or len(raw) == _MAX_LINE:
        raise UserError("a NUL byte or an endless line, so this is not UTF-8 text", file=path, line=n,
                        hint="check the path, or convert the file to UTF-8")
    if raw.isascii():
        return raw.decode()
    try:
        line = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", file=path, line=n,
                        hint="convert the file to UTF-8, such as with `iconv -f latin1 -t utf-8`") from None
    return composed(line) if compose else line


def composed(text: str) -> str:
    """Normalize text to Unicode's NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def columns(line: str) -> list[str]:
    """Split a line into columns at ASCII white space only."""
    return line.split() if line.isascii() else _FIELD.findall(line)  # str.split is faster


def first_columns(path, *, compose: bool = True) -> list[str]:
    """Read the first column of a file, such as a word list; blank lines are skipped."""
    return [found[0] for _, line in numbered_lines(path, compose=compose) if (found := columns(line))]


def number(text: str) -> float | None:
    """Parse a decimal number in ASCII digits; None if it is not one. (``float`` also accepts ١, 1_0, nan and inf.)"""
    return float(text) if _NUMBER.fullmatch(text) else None


def alike(word: str) -> str:
    """Return a key that is equal for words that differ only in case, apostrophes, width or invisible characters.

    The Turkish dotted and dotless i count as one letter: İ, I, ı and i.
    """
    form = _INVISIBLE.sub("", unicodedata.normalize("NFKC", word.translate(APOSTROPHES))).casefold()
    return form if form.isascii() else form.replace("i\u0307", "i").replace("ı", "i")


def odd_characters(words: Iterable[str]) -> list[str]:
    """Names of characters not allowed in words: control, format, private, unassigned, replacement, spaces."""
    strange = {c for word in words if not (word.isascii() and word.isprintable()) for c in word
               if unicodedata.category(c)[0] in "CZ" and not _ALLOWED_FORMAT.match(c) or c == "\ufffd"}
    return [f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in sorted(strange)]
