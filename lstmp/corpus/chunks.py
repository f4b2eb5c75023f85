"""Finds the samples of uncompressed audio files and repairs wrong lengths: WAV, RF64, Wave64, AIFF, AU, CAF, SPHERE.

The length in the header may be wrong. A program that writes to a pipe does not know the length when it writes the
header, so it writes a placeholder. A program that is killed leaves 0 or an outdated length. Some programs count the
header as samples. Another file may follow the samples, as after ``cat a.wav b.wav``.
"""

import re
import struct
from dataclasses import dataclass

from lstmp.corpus.begins import find_next_start, starts_here
from lstmp.corpus.mp3 import TAGS

_MARGIN = 1 << 24  # placeholders lie this close below 2^31 (0x7FFFF000 of sox), 2^32 (ffmpeg's), 2^63 or 2^64
_LOOKAHEAD = 4096  # bytes read after the samples to decide what follows; all zeros there are padding


@dataclass(frozen=True)
class SampleRange:
    """Position and length of the samples in a file; all offsets and lengths are in bytes.

    Attributes:
        declared: length according to the header; None: the header does not give it, or it cannot be right.
        available: length of the data that the file contains from ``begin`` on.
        field: (offset, corrected bytes) of the length field in the header; None: there is nothing to correct.
        begin: offset of the first sample.
        parts: (begin, end) of further chunks of samples.
        next: offset at which another file starts after the samples; None: there is none.
        understated: the header's length where the file contains more samples than that; None: the header is right.
        coding: encoding of the samples, as a WAV format tag or a SPHERE name; None: unknown.
    """

    declared: int | None
    available: int
    field: tuple[int, bytes] | None
    begin: int
    parts: tuple[tuple[int, int], ...] = ()
    next: int | None = None
    understated: int | None = None
    coding: int | str | None = None


@dataclass(frozen=True)
class _Form:
    first: int  # offset of the first chunk
    name: int  # bytes of a chunk's name
    form: str  # struct format of a chunk's length
    data: bytes  # name of the chunk of samples
    skip: int = 0  # bytes in that chunk before the samples
    head: bool = False  # a chunk's length includes its name and length fields
    align: int = 2


_WAV = _Form(12, 4, "<I", b"data")
_FORMATS = (
    (re.compile(rb"(RIFF|RF64|BW64)....WAVE", re.S), _WAV),
    (re.compile(rb"RIFX....WAVE", re.S), _Form(12, 4, ">I", b"data")),
    (re.compile(rb"FORM....AIF[FC]", re.S), _Form(12, 4, ">I", b"SSND", 8)),
    (re.compile(rb"riff\x2e\x91\xcf\x11"), _Form(40, 16, "<Q", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a",
                                                 head=True, align=8)),
    (re.compile(rb"caff\x00\x01"), _Form(8, 4, ">Q", b"data", 4, align=1)),
)


def find_samples(f, size: int) -> SampleRange | None:
    """Find the samples of an uncompressed file; None if it has another format or no samples.

    Args:
        f: file opened in binary mode.
        size: size of the file in bytes.
    """
    f.seek(0)
    head = f.read(64)
    if head[:4] in (b".snd", b"dns."):
        form = ">I" if head[:4] == b".snd" else "<I"
        if len(head) < 12:
            return None
        begin, length = (struct.unpack_from(form, head, offset)[0] for offset in (4, 8))
        return _length(f, size, _WAV, begin, length, 8, form, 0) if begin < size else None
    if head.startswith(b"NIST_1A"):
        return _sphere_length(f, size)
    fmt = next((k for magic, k in _FORMATS if magic.match(head)), None)
    if fmt is None:
        return None
    coding = None
    long: tuple[int, str, int] | None = None  # offset, format and value of a 64-bit length field
    for offset, name, length in _chunks(f, size, fmt):
        if name == b"fmt ":
            f.seek(offset + 8)
            coding = struct.unpack(f"{fmt.form[0]}H", f.read(2).ljust(2, b"\0"))[0]
        if name == b"ds64":
            f.seek(offset + 16)
            long = offset + 16, "<Q", struct.unpack("<Q", f.read(8).ljust(8, b"\0"))[0]
        if name == fmt.data:
            width = struct.calcsize(fmt.form)
            begin = offset + fmt.name + width + fmt.skip
            if long and length >= 0xFFFFFFFF:
                return _length(f, size, fmt, begin, long[2], long[0], long[1], 0, coding)
            return _length(f, size, fmt, begin, length, offset + fmt.name, fmt.form,
                           fmt.skip + fmt.head * (fmt.name + width), coding)
    return None


def _length(f, size: int, fmt: _Form, begin: int, length: int, offset: int, form: str, extra: int,
            coding: int | None = None) -> SampleRange:
    """Compare the length in the header with the file.

    Args:
        begin: offset of the first sample.
        length: value of the length field.
        offset: offset of the length field.
        form: struct format of the length field.
        extra: bytes that the field counts in addition to the samples.
    """
    declared: int | None
    parts: tuple[tuple[int, int], ...]
    available, declared, parts, next_file, understated = max(0, size - begin), length - extra, (), None, None
    placeholder = any(top - _MARGIN <= length <= top for top in (1 << 31, 1 << 32, 1 << 63, 1 << 64))
    header_too = length in (size, size - 8, available + extra + 8)  # some writers count headers
    if placeholder and declared > available or declared <= 0:
        rest = _after_samples(f, size, fmt, begin)
        declared = None if available and (placeholder or rest is None) else 0
    elif declared > available and header_too:
        declared = None
    elif declared < available:
        ends = dict.fromkeys((begin + declared + -declared % fmt.align, begin + declared))  # not always padded
        rest = next((r for end in ends if (r := _after_samples(f, size, fmt, end)) is not None), None)
        understated, declared = (declared, None) if rest is None else (None, declared)
        next_file, parts = rest or (None, ())
    if declared is None and (next_file := find_next_start(f, begin, size)) is not None:
        available = next_file - begin
    corrected = (available if declared is None else declared + sum(b - a for a, b in parts)) + extra
    field = offset, struct.pack(form, min(corrected, (1 << 8 * struct.calcsize(form)) - 1))
    return SampleRange(declared, available, field, begin, parts, next_file, understated, coding)


def _sphere_length(f, size: int) -> SampleRange | None:
    """Find the samples of a NIST SPHERE file. Its header is text; the second line gives the header's size."""
    f.seek(0)
    head = f.read(1 << 14).partition(b"end_head")[0]
    fields = dict(re.findall(rb"^(\w+) -i (\d+)", head, re.M))
    coding = re.search(rb"^sample_coding -s\d+ (\S+)", head, re.M)
    try:
        f.seek(8)
        begin, declared = int(f.read(8)), 1
        for name in (b"sample_count", b"sample_n_bytes", b"channel_count"):
            declared *= int(fields[name])
    except (ValueError, KeyError):
        return None
    next_file = begin + declared if starts_here(f, begin + declared) else None
    return SampleRange(declared, max(0, (next_file or size) - begin), None, begin, (), next_file, None,
                       coding and coding[1].decode(errors="replace"))


def _chunks(f, size: int, fmt: _Form, offset: int | None = None):
    """Yield (offset, name, length) of each chunk, from ``offset`` on (default: the first chunk)."""
    offset, width = fmt.first if offset is None else offset, struct.calcsize(fmt.form)
    while offset + fmt.name + width <= size:
        f.seek(offset)
        head = f.read(fmt.name + width)
        if len(head) < fmt.name + width:
            return
        name, length = head[:fmt.name], struct.unpack(fmt.form, head[fmt.name:])[0]
        yield offset, name, length
        end = offset + length + (0 if fmt.head else fmt.name + width)
        offset = max(end + -end % fmt.align, offset + fmt.name + width)


def _after_samples(f, size: int, fmt: _Form, offset: int) -> tuple[int | None, tuple[tuple[int, int], ...]] | None:
    """Identify what follows the samples: other chunks, a tag, padding, nothing, or another file.

    Returns:
        the offset at which another file starts (or None), and (begin, end) of each further chunk of samples; None
        instead of the pair if the data at ``offset`` are still samples.
    """
    if size - offset <= 0:
        return None, ()
    if starts_here(f, offset):
        return offset, ()
    f.seek(offset)
    start = f.read(_LOOKAHEAD)
    if start.startswith(TAGS) or not any(start):
        return None, ()
    end = -1
    parts: list[tuple[int, int]] = []
    for chunk_offset, name, length in _chunks(f, size, fmt, offset):
        if starts_here(f, chunk_offset):
            return chunk_offset, tuple(parts)
        if not all(32 <= c < 127 for c in name[:4]):
            return None
        begin = chunk_offset + fmt.name + struct.calcsize(fmt.form)
        end = begin + length - fmt.head * (begin - chunk_offset)
        if end > size:
            return None
        if name == fmt.data:
            parts.append((begin + fmt.skip, end))
    return (None, tuple(parts)) if 0 <= end <= size else None
