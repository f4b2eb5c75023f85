"""Splits an audio file into its streams and corrects the length in each header.

Usually there is one stream. Chained Ogg files have several, as have files that were concatenated, possibly of different
formats.
"""

import mmap
from dataclasses import dataclass, replace

from lstmp.corpus.begins import find_next_start
from lstmp.corpus.chunks import SampleRange, find_samples
from lstmp.corpus.mp3 import Mp3, after_tags
from lstmp.corpus.ogg import scan_streams
from lstmp.corpus.spliced import Spliced
from lstmp.errors import UserError

_MAX_MISSING = 8  # bytes; fewer missing bytes are at most one incomplete sample of some channels
_MP3 = 0x55  # format tag of a WAV file that contains MP3 frames
_MIN_LINE_FEEDS = 64  # number of line feeds, all after a carriage return, that no real samples contain
REFETCH = "fetch or make it again"


@dataclass(frozen=True)
class Stream:
    """A part of a file that is decoded as a separate file.

    Attributes:
        parts: the corrected stream for :class:`lstmp.corpus.spliced.Spliced`.
        declared: samples per channel according to its header; 0: the header does not give a correct number; None: use
            the number that libsndfile reports.
        open_length: the same stream with an open length, to decode samples beyond ``declared``.
        mp3: it may be decoded by the MP3 decoder, which prints messages.
        warning: a warning about the stream, which can be used nevertheless; empty: none.
    """

    parts: list
    declared: int | None = None
    open_length: list | None = None
    mp3: bool = False
    warning: str = ""


def streams(f, size: int) -> list[Stream]:
    """Find the streams of a file.

    Args:
        f: file opened in binary mode.
        size: size of the file in bytes.

    Raises:
        UserError: the file is truncated, without samples, or compressed in an unsupported way. The error does not name
            the file.
    """
    found: list[Stream] = []
    begin: int | None = 0
    joined = 0
    while begin is not None and begin < size:
        try:
            streams_here, following = _streams_of_file(f, begin, size)
        except UserError as e:
            where = f", in the file that starts at byte {begin}" if begin else ""
            raise UserError(e.what + where, hint=e.hint) from None
        found += streams_here
        begin, joined = following, joined + 1
    if joined > 1:
        found[0] = replace(found[0], warning=f"it consists of {joined} joined files; they are read one after the other")
    return found


def _streams_of_file(f, begin: int, size: int) -> tuple[list[Stream], int | None]:
    """The streams of the file that starts at byte ``begin``, and the offset of the next file."""
    view = Spliced(f, [(begin, size)]) if begin else f
    found, following = _streams(view, size - begin)
    if following is not None:
        following += begin
    return [replace(s, parts=_shifted(s.parts, begin), open_length=s.open_length and _shifted(s.open_length, begin))
            for s in found], following


def _shifted(parts: list, offset: int) -> list:
    return [p if isinstance(p, bytes) else (p[0] + offset, p[1] + offset) for p in parts]


def _streams(f, size: int) -> tuple[list[Stream], int | None]:
    head = _read(f, 0, 12)
    if sample_range := find_samples(f, size):
        return _streams_of_samples(f, size, sample_range)
    if head.startswith(b"OggS"):
        end = following = find_next_start(f, 0, size, ogg=True)
        chained, complete = scan_streams(f, end or size)
        if not complete:
            raise _error("cut off: its last Ogg page is missing")
        if any(s.wrong and not s.has_positions for s in chained):
            raise _error("its Ogg pages have no granule positions")
        warning = "its pages have wrong granule positions; all samples are read" * any(s.wrong for s in chained)
        return [Stream(s.parts(f), 0 if s.wrong else None, warning=warning) for s in chained], following
    if head.startswith(b"RIFF") and head[8:] == b"WAVE":
        raise _error("a WAV file without a data chunk")
    if head.startswith(b"RIFF") or head[4:8] == b"ftyp":
        return [Stream([(0, size)])], None
    tag = after_tags(head, 0)
    if _read(f, tag, 8) in (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"):
        following = find_next_start(f, tag, size)
        return [_flac_stream(f, tag, following or size)], following
    return _mp3_streams(f, size)


def _streams_of_samples(f, size: int, sample_range: SampleRange) -> tuple[list[Stream], int | None]:
    """Handle a file in which :func:`find_samples` found samples: uncompressed, or of a few bits each."""
    if isinstance(sample_range.coding, str) and "shorten" in sample_range.coding:
        raise UserError("a SPHERE file compressed with shorten, which is not supported",
                        hint="convert it to WAV: `sph2pipe -f wav IN.sph OUT.wav`")
    end = size if sample_range.next is None else sample_range.next
    if sample_range.declared is None:
        assert sample_range.field is not None
        offset, value = sample_range.field
        parts = [(0, offset), value, (offset + len(value), end)]
    elif sample_range.declared - sample_range.available >= _MAX_MISSING:
        raise _error(f"cut off: {sample_range.available} of {sample_range.declared} bytes of samples")
    elif sample_range.parts:
        assert sample_range.field is not None
        offset, value = sample_range.field
        parts = [(0, offset), value, (offset + len(value), sample_range.begin + sample_range.declared),
                 *sample_range.parts]
    else:
        parts = [(0, end)]
    if sample_range.coding == _MP3:
        last = end
        if sample_range.declared is not None:
            last = sample_range.begin + min(sample_range.declared, sample_range.available)
        if (mp3 := Mp3(_read(f, sample_range.begin, last - sample_range.begin))).frames:
            stream = _mp3_stream(mp3)
            return [replace(stream, parts=_shifted(stream.parts, sample_range.begin))], sample_range.next
    return [Stream(parts, warning=_length_warning(f, sample_range))], sample_range.next


def _length_warning(f, sample_range: SampleRange) -> str:
    if sample_range.understated is None:
        return ""
    start = _read(f, 0, 1 << 20)
    if start.count(b"\n") >= _MIN_LINE_FEEDS and start.count(b"\n") == start.count(b"\r\n"):
        raise UserError("it was transferred as text: each line feed has become two bytes, so samples are noise",
                        hint="transfer it again as a binary file")
    return (f"its header gives {sample_range.understated} bytes of samples, but there are {sample_range.available}; "
            "all are read")


def _flac_stream(f, begin: int, end: int) -> Stream:
    """A FLAC file. Encoders that write to a pipe set the number of samples in its header to 0.

    libsndfile stops at that number, so ``open_length`` has it set to 0 to decode further samples.
    """
    field = int.from_bytes(_read(f, begin + 21, 5), "big")
    samples = field & (1 << 36) - 1
    open_length = [(begin, begin + 21), (field - samples).to_bytes(5, "big"), (begin + 26, end)]
    return Stream([(begin, end)] if samples else open_length, samples, open_length)


def _mp3_streams(f, size: int) -> tuple[list[Stream], int | None]:
    mp3, following = Mp3(_all(f)), None
    if mp3.frames and (following := find_next_start(f, 0, size)) is not None:
        mp3 = Mp3(_read(f, 0, following))
    if not mp3.frames:
        return [Stream([(0, size)], mp3=True)], None
    return [_mp3_stream(mp3)], following


def _mp3_stream(mp3: Mp3) -> Stream:
    missing = f"{mp3.frames} of {mp3.declared} MP3 frames exist" if (mp3.declared or 0) - mp3.frames > 1 else ""
    if missing and not mp3.damaged_bytes:
        raise _error(f"cut off: {missing}")
    if not mp3.damaged_bytes:
        return Stream(mp3.corrected_parts(), mp3=True)
    warning = f"damaged: {mp3.damaged_bytes} bytes after {mp3.good_seconds:.1f} s are not MP3 frames and are skipped"
    return Stream(mp3.corrected_parts(), mp3=True, warning=f"{warning}; {missing}" if missing else warning)


def _all(f) -> mmap.mmap | bytes:
    """All bytes of a file, memory-mapped if possible."""
    try:
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # `f` is a Spliced part of a file
        f.seek(0)
        return f.read()


def _read(f, offset: int, size: int) -> bytes:
    f.seek(offset)
    return f.read(size)


def _error(what: str) -> UserError:
    return UserError(what, hint=REFETCH)
