"""Where an audio file begins within another: two that were joined, as by ``cat a.wav b.wav > c.wav``."""

import re

from lstmp.corpus.mp3 import after_tags, is_frames

_HEADERS = (  # what to search for, and what it is part of, so long that samples are hardly ever the same by chance
    (b"RIFF", rb"RIFF....WAVE"), (b"RIFX", rb"RIFX....WAVE"), (b"RF64", rb"RF64....WAVE"), (b"BW64", rb"BW64....WAVE"),
    (b"FORM", rb"FORM....AIF[CF]"), (b"riff\x2e\x91\xcf\x11", rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"),
    (b"caff", rb"caff\x00\x01\x00\x00desc"), (b"NIST_1A\n", rb"NIST_1A\n   "),
    (b".snd", rb"\.snd\x00\x00..(?:\xff{4}|\x00...)\x00\x00\x00[\x01-\x1b]\x00"))
_COMPRESSED = ((b"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22"), (b"OggS", rb"OggS\x00\x02\x00{8}"))
_LONGEST = 24  # bytes of a header that are looked at
_BLOCK = 1 << 20
_FRAMES = 1 << 14  # bytes in which three frames of an MP3 file must be seen


def _compiled(headers):
    return tuple((literal, re.compile(pattern, re.S)) for literal, pattern in headers)


_WITHIN_OGG, _ANY = _compiled(_HEADERS), _compiled(_HEADERS + _COMPRESSED)


def begins_here(f, at: int) -> bool:
    """Whether an audio file begins at a place where one may: with a header, or with frames of an MP3 file.

    Args:
        f: opened in binary mode.
        at: the place.
    """
    f.seek(at)
    start = f.read(_FRAMES)
    if tag := after_tags(start, 0):  # which may also stand behind the samples, and nothing behind it
        f.seek(at + tag)
        return is_frames(f.read(_FRAMES))
    return any(pattern.match(start) for _, pattern in _ANY) or is_frames(start)


def next_begin(f, at: int, end: int, ogg: bool = False) -> int | None:
    """The first place behind ``at`` and before ``end`` where a file begins that has a header; None: none does.

    Args:
        f: opened in binary mode.
        ogg: it lies among pages of an Ogg file, which may well hold the header of a FLAC file.
    """
    at, kept = at + 1, b""
    while at < end:
        f.seek(at)
        new = f.read(min(_BLOCK, end - at))
        data, first = kept + new, at - len(kept)
        if found := [n for header in (_WITHIN_OGG if ogg else _ANY) if (n := _find(data, *header)) is not None]:
            return first + min(found)
        if not new:
            return None
        at, kept = at + len(new), data[-_LONGEST:]
    return None


def _find(data: bytes, literal: bytes, pattern: re.Pattern) -> int | None:
    at = data.find(literal)
    while at >= 0:
        if pattern.match(data, at):
            return at
        at = data.find(literal, at + 1)
    return None
