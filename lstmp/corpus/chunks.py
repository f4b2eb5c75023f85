"""Where a file of uncompressed samples says how long they are: WAV, RF64, Wave64, AIFF, AU, CAF, SPHERE.

A program that writes into a pipe cannot know the length when it writes the header, and leaves a placeholder there; one
that is killed leaves 0, or what it had written when it last looked.
"""

import re
import struct
from dataclasses import dataclass

_NEAR = 1 << 24  # placeholders lie so little below 2^31, 2^32, 2^63, 2^64: 0x7FFFF000 of sox, all ones of ffmpeg
_REMAINDER = 4096  # bytes: what is shorter, behind the samples, is padding rather than more of them
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


@dataclass(frozen=True)
class Length:
    """Of the samples.

    Attributes:
        promised: bytes, as the header says; None: it does not say, or cannot be right.
        there: bytes that the file holds from their begin on.
        field: place and bytes of the field that says it, as they would be for all that is there; None: it may stay.
    """

    promised: int | None
    there: int
    field: tuple[int, bytes] | None


@dataclass(frozen=True)
class _Kind:
    first: int  # place of the first chunk
    name: int  # bytes of a chunk's name
    form: str  # of its length
    data: bytes  # name of the chunk of samples
    skip: int = 0  # bytes in it before the samples
    head: bool = False  # the length counts name and length
    align: int = 2


_WAV = _Kind(12, 4, "<I", b"data")
_KINDS = (
    (re.compile(rb"(RIFF|RF64|BW64)....WAVE", re.S), _WAV),
    (re.compile(rb"RIFX....WAVE", re.S), _Kind(12, 4, ">I", b"data")),
    (re.compile(rb"FORM....AIF[FC]", re.S), _Kind(12, 4, ">I", b"SSND", 8)),
    (re.compile(rb"riff\x2e\x91\xcf\x11"), _Kind(40, 16, "<Q", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a",
                                                 head=True, align=8)),
    (re.compile(rb"caff\x00\x01"), _Kind(8, 4, ">Q", b"data", 4, align=1)),
)


def samples_length(f, size: int) -> Length | None:
    """Look where the samples are, and how many bytes; None: another kind of file, or no samples in it.

    Args:
        f: opened in binary mode.
        size: of the file.
    """
    f.seek(0)
    head = f.read(64)
    if head[:4] in (b".snd", b"dns."):
        form = ">I" if head[:4] == b".snd" else "<I"
        if len(head) < 12:
            return None
        begin, length = (struct.unpack_from(form, head, at)[0] for at in (4, 8))
        return _length(f, size, _WAV, begin, length, 8, form, 0) if begin < size else None
    if head.startswith(b"NIST_1A"):
        return _of_sphere(f, size)
    kind = next((k for magic, k in _KINDS if magic.match(head)), None)
    if kind is None:
        return None
    long: tuple[int, str, int] | None = None  # the field of a length of 64 bits
    for at, name, length in _chunks(f, size, kind):
        if name == b"ds64":
            f.seek(at + 16)
            long = at + 16, "<Q", struct.unpack("<Q", f.read(8).ljust(8, b"\0"))[0]
        if name == kind.data:
            width = struct.calcsize(kind.form)
            begin = at + kind.name + width + kind.skip
            if long and length >= 0xFFFFFFFF:
                return _length(f, size, kind, begin, long[2], long[0], long[1], 0)
            return _length(f, size, kind, begin, length, at + kind.name, kind.form,
                           kind.skip + kind.head * (kind.name + width))
    return None


def _length(f, size: int, kind: _Kind, begin: int, length: int, at: int, form: str, more: int) -> Length:
    """``more``: how much the field at ``at`` counts beyond the samples."""
    there, said = max(0, size - begin), length - more
    promised: int | None = said
    close = any(top - _NEAR <= length <= top for top in (1 << 31, 1 << 32, 1 << 63, 1 << 64))
    if close and said > there or said <= 0:
        promised = None if there and (close or not _remainder(f, size, kind, begin)) else 0
    elif said < there and not _remainder(f, size, kind, begin + said + -said % kind.align):
        promised = None
    return Length(promised, there, (at, struct.pack(form, min(there + more, (1 << 8 * struct.calcsize(form)) - 1))))


def _of_sphere(f, size: int) -> Length | None:
    """Of NIST's SPHERE: lines of text, of which the second says where the samples begin."""
    f.seek(0)
    said = dict(re.findall(rb"^(\w+) -i (\d+)", f.read(1 << 14).partition(b"end_head")[0], re.M))
    try:
        f.seek(8)
        promised, there = 1, size - int(f.read(8))
        for name in (b"sample_count", b"sample_n_bytes", b"channel_count"):
            promised *= int(said[name])
    except (ValueError, KeyError):
        return None
    return Length(promised, max(0, there), None)


def _chunks(f, size: int, kind: _Kind, at: int | None = None):
    """Place, name and length of the chunks from a place on."""
    at, width = kind.first if at is None else at, struct.calcsize(kind.form)
    while at + kind.name + width <= size:
        f.seek(at)
        head = f.read(kind.name + width)
        if len(head) < kind.name + width:
            return
        name, length = head[:kind.name], struct.unpack(kind.form, head[kind.name:])[0]
        yield at, name, length
        end = at + length + (0 if kind.head else kind.name + width)
        at = max(end + -end % kind.align, at + kind.name + width)


def _remainder(f, size: int, kind: _Kind, at: int) -> bool:
    """Whether what follows the samples is something else than samples: chunks, a tag, padding, next to nothing."""
    if size - at <= 0:
        return True
    f.seek(at)
    start = f.read(_REMAINDER)
    if start.startswith(_TAGS) or not any(start):
        return True
    end = -1
    for place, name, length in _chunks(f, size, kind, at):
        if not all(32 <= c < 127 for c in name[:4]):
            break
        end = place + kind.name + struct.calcsize(kind.form) * (not kind.head) + length
        if end > size:
            break
    else:
        return 0 <= end <= size
    return False
