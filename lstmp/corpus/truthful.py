"""The streams of an audio file, each with a header that tells the truth about its length.

As a rule there is one. Several follow each other in chained Ogg files and where files were joined, also of several
kinds.
"""

import mmap
from dataclasses import dataclass, replace

from lstmp.corpus.begins import next_begin
from lstmp.corpus.chunks import Length, samples_length
from lstmp.corpus.mp3 import Mp3, after_tags
from lstmp.corpus.ogg import look_through
from lstmp.corpus.spliced import Spliced
from lstmp.errors import UserError

_MISSED = 8  # bytes: less than this is no more than the last sample of some channels
_MP3 = 0x55  # the format tag of a WAV file that holds MP3 frames
_AS_TEXT = 64  # line feeds, of which none is without a carriage return: nobody's samples are so
REFETCH = "fetch or make it again"


@dataclass(frozen=True)
class Stream:
    """A part of a file that a decoder reads as a file of its own.

    Attributes:
        parts: of the file, and other bytes, for :class:`lstmp.corpus.spliced.Spliced`.
        promised: samples of each channel that its header promises; 0: it does not say, or not rightly; None: what
            libsndfile makes of it counts.
        onward: parts of the same in which the length is left open, for samples beyond those promised.
        mp3: its decoder may be that of MP3, which prints what it complains of.
        odd: what is odd about it though it can be used; empty: nothing.
    """

    parts: list
    promised: int | None = None
    onward: list | None = None
    mp3: bool = False
    odd: str = ""


def streams(f, size: int) -> list[Stream]:
    """Look through a file.

    Args:
        f: opened in binary mode.
        size: of the file, in bytes.

    Raises:
        UserError: cut off, without samples, or compressed as no decoder here knows; it does not name the file.
    """
    found, begin, joined = [], 0, 0
    while begin is not None and begin < size:
        try:
            some, following = _of_file(f, begin, size)
        except UserError as e:
            where = f", in the file that begins at byte {begin}" if begin else ""
            raise UserError(e.what + where, hint=e.hint) from None
        found += some
        begin, joined = following, joined + 1
    if joined > 1:
        found[0] = replace(found[0], odd=f"it holds {joined} files that were joined; they are read one after the other")
    return found


def _of_file(f, begin: int, size: int) -> tuple[list[Stream], int | None]:
    """The streams of the file that begins at a place, and where the next one begins."""
    view = Spliced(f, [(begin, size)]) if begin else f
    found, following = _streams(view, size - begin)
    if following is not None:
        following += begin
    return [replace(s, parts=_moved(s.parts, begin), onward=s.onward and _moved(s.onward, begin))
            for s in found], following


def _moved(parts: list, by: int) -> list:
    return [p if isinstance(p, bytes) else (p[0] + by, p[1] + by) for p in parts]


def _streams(f, size: int) -> tuple[list[Stream], int | None]:
    head = _read(f, 0, 12)
    if found := samples_length(f, size):
        return _of_samples(f, size, found)
    if head.startswith(b"OggS"):
        end = following = next_begin(f, 0, size, ogg=True)
        chained, whole = look_through(f, end or size)
        if not whole:
            raise _fault("cut off: its last Ogg page is not there")
        if any(s.wrong and not s.counts for s in chained):
            raise _fault("its Ogg pages do not count their samples")
        odd = "its pages count their samples wrongly; all that are there are read" * any(s.wrong for s in chained)
        return [Stream(s.parts(f), 0 if s.wrong else None, odd=odd) for s in chained], following
    if head.startswith(b"RIFF") and head[8:] == b"WAVE":
        raise _fault("a WAV file without a data chunk")
    if head.startswith(b"RIFF") or head[4:8] == b"ftyp":
        return [Stream([(0, size)])], None
    tag = after_tags(head, 0)
    if _read(f, tag, 8) in (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"):
        following = next_begin(f, tag, size)
        return [_of_flac(f, tag, following or size)], following
    return _of_mp3(f, size)


def _of_samples(f, size: int, found: Length) -> tuple[list[Stream], int | None]:
    """A file of uncompressed samples, or of samples of some bits each."""
    if isinstance(found.coding, str) and "shorten" in found.coding:
        raise UserError("a SPHERE file that is compressed with shorten, which is not read here",
                        hint="make a WAV file of it: `sph2pipe -f wav IN.sph OUT.wav`")
    end = size if found.next is None else found.next
    if found.promised is None:
        at, value = found.field
        parts = [(0, at), value, (at + len(value), end)]
    elif found.promised - found.there >= _MISSED:
        raise _fault(f"cut off: {found.there} of {found.promised} bytes of samples")
    elif found.parts:
        at, value = found.field
        parts = [(0, at), value, (at + len(value), found.begin + found.promised), *found.parts]
    else:
        parts = [(0, end)]
    if found.coding == _MP3:
        last = found.begin + (end - found.begin if found.promised is None else min(found.promised, found.there))
        if (mp3 := Mp3(_read(f, found.begin, last - found.begin))).frames:
            told = _told(mp3)
            return [replace(told, parts=_moved(told.parts, found.begin))], found.next
    return [Stream(parts, odd=_odd(f, found))], found.next


def _odd(f, found: Length) -> str:
    if found.said is None:
        return ""
    start = _read(f, 0, 1 << 20)
    if start.count(b"\n") >= _AS_TEXT and start.count(b"\n") == start.count(b"\r\n"):
        raise UserError("it was sent as text: each line feed in it has become two bytes, which makes noise of samples",
                        hint="send it again as a binary file")
    return f"its header promises {found.said} bytes of samples, and there are {found.there}, which are all read"


def _of_flac(f, begin: int, end: int) -> Stream:
    """With, where the header leaves the number of samples open as encoders do that write into a pipe, nothing promised.

    libsndfile believes the header: to go on, that number is set to 0.
    """
    field = int.from_bytes(_read(f, begin + 21, 5), "big")
    samples = field & (1 << 36) - 1
    onward = [(begin, begin + 21), (field - samples).to_bytes(5, "big"), (begin + 26, end)]
    return Stream([(begin, end)] if samples else onward, samples, onward)


def _of_mp3(f, size: int) -> tuple[list[Stream], int | None]:
    mp3, following = Mp3(_all(f)), None
    if mp3.frames and (following := next_begin(f, 0, size)) is not None:
        mp3 = Mp3(_read(f, 0, following))
    if not mp3.frames:
        return [Stream([(0, size)], mp3=True)], None
    return [_told(mp3)], following


def _told(mp3: Mp3) -> Stream:
    missing = f"{mp3.frames} of {mp3.promised} MP3 frames are there" if (mp3.promised or 0) - mp3.frames > 1 else ""
    if missing and not mp3.strange:
        raise _fault(f"cut off: {missing}")
    if not mp3.strange:
        return Stream(mp3.told(), mp3=True)
    odd = f"damaged: {mp3.strange} bytes after {mp3.seconds:.1f} s are no MP3 frames, and are left out"
    return Stream(mp3.told(), mp3=True, odd=f"{odd}; {missing}" if missing else odd)


def _all(f) -> mmap.mmap | bytes:
    """All bytes of a file, without reading them before they are looked at where that can be."""
    try:
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # a part of a file
        f.seek(0)
        return f.read()


def _read(f, at: int, size: int) -> bytes:
    f.seek(at)
    return f.read(size)


def _fault(what: str) -> UserError:
    return UserError(what, hint=REFETCH)
