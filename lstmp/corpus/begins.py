"""Finds where an audio file starts inside another file, as after ``cat a.wav b.wav > c.wav``."""

import re

from lstmp.corpus.mp3 import after_tags, is_frames

_HEADERS = (  # (literal to search for, pattern to confirm it; long enough that samples rarely match by chance)
    (b"RIFF", rb"RIFF....WAVE"), (b"RIFX", rb"RIFX....WAVE"), (b"RF64", rb"RF64....WAVE"), (b"BW64", rb"BW64....WAVE"),
    (b"FORM", rb"FORM....AIF[CF]"), (b"riff\x2e\x91\xcf\x11", rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"),
    (b"caff", rb"caff\x00\x01\x00\x00desc"), (b"NIST_1A\n", rb"NIST_1A\n   "),
    (b".snd", rb"\.snd\x00\x00..(?:\xff{4}|\x00...)\x00\x00\x00[\x01-\x1b]\x00"))
_COMPRESSED = ((b"fLaC", rb"fLaC[\x00\x80]\x00\x00\x22"), (b"OggS", rb"OggS\x00\x02\x00{8}"))
_MAX_HEADER = 24  # bytes of the longest header pattern
_BLOCK = 1 << 20
_MP3_WINDOW = 1 << 14  # bytes within which three MP3 frames must be found


def _compiled(headers):
    return tuple((literal, re.compile(pattern, re.S)) for literal, pattern in headers)


_NON_OGG, _PATTERNS = _compiled(_HEADERS), _compiled(_HEADERS + _COMPRESSED)


def starts_here(f, offset: int) -> bool:
    """Whether an audio file, with a header or of bare MP3 frames, starts at a given byte.

    Args:
        f: file opened in binary mode.
        offset: offset in bytes.
    """
    f.seek(offset)
    start = f.read(_MP3_WINDOW)
    if tag := after_tags(start, 0):  # a tag may also end a file: then no frames follow
        f.seek(offset + tag)
        return is_frames(f.read(_MP3_WINDOW))
    return any(pattern.match(start) for _, pattern in _PATTERNS) or is_frames(start)


def find_next_start(f, offset: int, end: int, ogg: bool = False) -> int | None:
    """Find the first byte after ``offset`` and before ``end`` where a file with a header starts; None if none does.

    Args:
        f: file opened in binary mode.
        ogg: the range consists of Ogg pages; ignore FLAC and Ogg headers, which such pages may contain.
    """
    offset, overlap = offset + 1, b""
    while offset < end:
        f.seek(offset)
        new = f.read(min(_BLOCK, end - offset))
        data, first = overlap + new, offset - len(overlap)
        if matches := [n for header in (_NON_OGG if ogg else _PATTERNS) if (n := _find(data, *header)) is not None]:
            return first + min(matches)
        if not new:
            return None
        offset, overlap = offset + len(new), data[-_MAX_HEADER:]
    return None


def _find(data: bytes, literal: bytes, pattern: re.Pattern) -> int | None:
    offset = data.find(literal)
    while offset >= 0:
        if pattern.match(data, offset):
            return offset
        offset = data.find(literal, offset + 1)
    return None
