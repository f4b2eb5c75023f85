"""The one reader of text files: lines, columns and words, with the faults of such files said in one line.

A file is UTF-8, plain or gzip, with or without a byte order mark; its lines end in LF, CRLF or CR. Letters that can be
written in two ways (é, or e and an accent) are read composed, Unicode's NFC, so that words compare as they look.

White space: the columns of a table, a lexicon or a language model are separated by ASCII's alone, as in Kaldi
(:func:`columns`), since to Kaldi a no-break space is a part of a word. Running text, such as a transcript, is separated
by any white space of Unicode (``str.split``): its writer means by it what a blank means.
"""

import gzip
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError

APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u0060\u00b4\uff07", "'"))
_LONGEST = 1 << 26  # bytes of a line
_FIELD = re.compile(r"[^ \t\n\v\f\r]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
# Characters of format that are spelling: joiners (Persian, the scripts of India, emoji), signs before or around
# numbers, the Mongolian vowel separator, controls of hieroglyphs, shorthand and music, tags of flags. (Variation
# selectors are marks to Unicode, not of format.)
_SPELLING = re.compile("[\u200c\u200d\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u180e\U000110bd\U000110cd"
                       "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0020-\U000e007f]")
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]")


def numbered_lines(path, *, compose: bool = True) -> Iterator[tuple[int, str]]:
    """Yield (1-based line number, line without its end) of a text file; gzip is known by the file's first bytes.

    Args:
        compose: letters composed; not for what holds paths and ids, which are compared byte by byte.

    Raises:
        UserError: no such file, text that is not UTF-8 (with its line), a gzip stream that is cut off or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, hint="check the path, or run the stage that makes it")
    with open(path, "rb") as f:
        head = f.read(5)
    if packed := next((name for magic, name in _PACKED.items() if head.startswith(magic)), None):
        raise UserError(f"packed by {packed}", file=path, hint="unpack it, or pack it by gzip")
    n = 0
    with open_gzip(path) if head[:2] == b"\x1f\x8b" else open(path, "rb") as f:
        while True:
            try:
                raw = f.readline(_LONGEST)
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
    if n == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError("not UTF-8 text but UTF-16", file=path, line=1, hint="save it as UTF-8, or convert it by "
                        "`iconv -f utf-16 -t utf-8`")
    if b"\0" in raw or len(raw) == _LONGEST:
        raise UserError("a NUL byte or a line without end, so this is no UTF-8 text", file=path, line=n,
                        hint="check the path, or convert the file to UTF-8")
    if raw.isascii():
        return raw.decode()
    try:
        line = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise UserError("not UTF-8 text", file=path, line=n,
                        hint="convert the file to UTF-8, such as by `iconv -f latin1 -t utf-8`") from None
    return composed(line) if compose else line


def composed(text: str) -> str:
    """Text with its letters composed, as :func:`numbered_lines` has it."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def columns(line: str) -> list[str]:
    """The columns of a line, separated by ASCII white space alone."""
    return line.split() if line.isascii() else _FIELD.findall(line)  # the first is faster


def first_columns(path, *, compose: bool = True) -> list[str]:
    """The first column of a file, as of a list of words; lines without one are passed over."""
    return [found[0] for _, line in numbered_lines(path, compose=compose) if (found := columns(line))]


def number(text: str) -> float | None:
    """The value of a decimal number in ASCII digits, None if it is none. (``float`` takes ١, 1_0, nan and inf too.)"""
    return float(text) if _NUMBER.fullmatch(text) else None


def alike(word: str) -> str:
    """What words have in common that differ in letter case, apostrophes, width or invisible characters alone."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", word.translate(APOSTROPHES))).casefold()


def odd_characters(words: Iterable[str]) -> list[str]:
    """Characters that no word is spelled with, by name: control, format, private, unassigned, replacement, spaces."""
    strange = {c for word in words if not (word.isascii() and word.isprintable()) for c in word
               if unicodedata.category(c)[0] in "CZ" and not _SPELLING.match(c) or c == "\ufffd"}
    return [f"U+{ord(c):04X} {unicodedata.name(c, 'control character')}" for c in sorted(strange)]
