"""Pages of Ogg files (RFC 3533): where each stream of a chained file begins, whether the last one is whole, and whether
the pages count their samples rightly.

A page says how many samples there are up to its end (its granule position), and that of the last page is taken for the
length of all. Programs that cut or join files leave it as it was, or at 0 or -1.
"""

import struct
from dataclasses import dataclass

_MOST = 255 * 8192  # samples that one page can add: so many packets, of the longest blocks of Vorbis
_OPEN = 1 << 40  # a position beyond all samples: then as many are decoded as there are


@dataclass
class Chained:
    """A stream of a file.

    Attributes:
        begin, end: where it lies in the file, in bytes.
        last: (begin, end) of its last page; (0, 0): there is none.
        wrong: the positions cannot be right, though all pages are there.
        counts: there are any at all.
    """

    begin: int
    end: int = 0
    last: tuple[int, int] = (0, 0)
    wrong: bool = False
    counts: bool = True

    def parts(self, f) -> list:
        """For :class:`lstmp.corpus.spliced.Spliced`: the stream, whose last page leaves the length open if it is wrong.

        Args:
            f: the file, opened in binary mode.
        """
        if not self.wrong:
            return [(self.begin, self.end)]
        f.seek(self.last[0])
        page = bytearray(f.read(self.last[1] - self.last[0]))
        struct.pack_into("<q", page, 6, _OPEN)
        struct.pack_into("<I", page, 22, 0)  # as the checksum is taken
        struct.pack_into("<I", page, 22, _checksum(page))
        return [(self.begin, self.last[0]), bytes(page), (self.last[1], self.end)]


def look_through(f, size: int) -> tuple[list[Chained], bool]:
    """Walk through a file by the headers of its pages.

    Args:
        f: opened in binary mode.
        size: of the file.

    Returns:
        the streams that follow each other, as a rule one; whether the last page is whole and ends it.
    """
    at, found, starting, ended, pages = 0, [], False, False, _Positions()
    while at < size:
        f.seek(at)
        head = f.read(27 + 255)
        if len(head) < 27 or head[:4] != b"OggS":
            if (at := _next_page(f, at + 1, size)) is None:
                break
            continue
        first, segments = bool(head[5] & 2), head[26]
        length = 27 + segments + sum(head[27:27 + segments])
        if first and not starting or not found:  # streams that are interleaved begin together
            if found:
                pages.judge(found[-1])
            found.append(Chained(at if found else 0))
            pages = _Positions()
        starting = first
        ended = bool(head[5] & 4) and len(head) >= 27 + segments and at + length <= size
        found[-1].end, found[-1].last = size, (at, at + length)
        pages.add(head, segments)
        at += length
    if not found:
        return [Chained(0, size)], False
    pages.judge(found[-1])
    for one, other in zip(found, found[1:], strict=False):
        one.end = other.begin
    return found, ended


class _Positions:
    """Of the pages of a stream, as they come."""

    def __init__(self):
        self._serials, self._numbers, self._positions = set(), [], []

    def add(self, head: bytes, segments: int):
        position, serial, number = struct.unpack_from("<qII", head, 6)
        self._serials.add(serial)
        self._numbers.append(number)
        if segments and any(n < 255 for n in head[27:27 + segments]):  # a packet ends in it
            self._positions.append(position)

    def judge(self, stream: Chained):
        """It is wrong if they go back, stand at 0 or leap, though no page is missing, nor another stream between."""
        first, there = self._numbers[0], [p for p in self._positions if p]  # pages of headers have 0
        whole = len(self._serials) == 1 and self._numbers == [*range(first, first + len(self._numbers))]
        if whole and len(self._positions) > 2:
            stream.counts = bool(there)
            stream.wrong = not there or min(there) < 0 or self._positions[-1] == 0 or any(
                not 0 <= b - a <= _MOST for a, b in zip(there, there[1:], strict=False))


def _checksum(page: bytes) -> int:
    """CRC of a page: polynomial 0x04C11DB7, the highest bit first, from 0."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value


def _table() -> list[int]:
    out = []
    for n in range(256):
        value = n << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 1 << 31 else value << 1) & 0xFFFFFFFF
        out.append(value)
    return out


_TABLE = _table()


def _next_page(f, at: int, size: int) -> int | None:
    while at < size:
        f.seek(at)
        data = f.read(1 << 16)
        if (found := data.find(b"OggS")) >= 0:
            return at + found
        at += max(len(data) - 3, 1)
    return None
