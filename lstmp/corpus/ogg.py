"""Reads the pages of Ogg files (RFC 3533): finds the streams of chained files, truncation and wrong granule positions.

The granule position of a page is the number of samples up to its end. Decoders take that of the last page as the length
of the stream. Programs that cut or join files may leave it unchanged, or set it to 0 or -1.
"""

import struct
from dataclasses import dataclass

_MAX_SAMPLES_PER_PAGE = 255 * 8192  # samples that one page can contain: 255 packets of the longest Vorbis block
_OPEN_LENGTH = 1 << 40  # a position beyond all samples: the decoder then decodes all that exist


@dataclass
class ChainedStream:
    """One stream of a chained file.

    Attributes:
        begin, end: its range in the file, in bytes.
        last: (begin, end) of its last page; (0, 0): there is none.
        wrong: its granule positions cannot be right, although no page is missing.
        has_positions: it has granule positions other than 0.
    """

    begin: int
    end: int = 0
    last: tuple[int, int] = (0, 0)
    wrong: bool = False
    has_positions: bool = True

    def parts(self, f) -> list:
        """Parts for :class:`lstmp.corpus.spliced.Spliced`: the stream, with an open length if its positions are wrong.

        Args:
            f: the file, opened in binary mode.
        """
        if not self.wrong:
            return [(self.begin, self.end)]
        f.seek(self.last[0])
        page = bytearray(f.read(self.last[1] - self.last[0]))
        struct.pack_into("<q", page, 6, _OPEN_LENGTH)
        struct.pack_into("<I", page, 22, 0)  # the checksum is computed with 0 in its own field
        struct.pack_into("<I", page, 22, _checksum(page))
        return [(self.begin, self.last[0]), bytes(page), (self.last[1], self.end)]


def scan_streams(f, size: int) -> tuple[list[ChainedStream], bool]:
    """Scan the page headers of a file.

    Args:
        f: file opened in binary mode.
        size: size of the file in bytes.

    Returns:
        the chained streams, usually one; and whether the last page is complete and marked as the last.
    """
    offset, starting, ended, pages = 0, False, False, _Positions()
    streams: list[ChainedStream] = []
    while offset < size:
        f.seek(offset)
        head = f.read(27 + 255)
        if len(head) < 27 or head[:4] != b"OggS":
            if (next_page := _next_page(f, offset + 1, size)) is None:
                break
            offset = next_page
            continue
        first, segments = bool(head[5] & 2), head[26]
        length = 27 + segments + sum(head[27:27 + segments])
        if first and not starting or not streams:  # interleaved streams start together
            if streams:
                pages.check(streams[-1])
            streams.append(ChainedStream(offset if streams else 0))
            pages = _Positions()
        starting = first
        ended = bool(head[5] & 4) and len(head) >= 27 + segments and offset + length <= size
        streams[-1].end, streams[-1].last = size, (offset, offset + length)
        pages.add(head, segments)
        offset += length
    if not streams:
        return [ChainedStream(0, size)], False
    pages.check(streams[-1])
    for stream, following in zip(streams, streams[1:], strict=False):
        stream.end = following.begin
    return streams, ended


class _Positions:
    """Serial numbers, page numbers and granule positions of one stream's pages, in file order."""

    def __init__(self):
        self._serials, self._numbers, self._positions = set(), [], []

    def add(self, head: bytes, segments: int):
        position, serial, number = struct.unpack_from("<qII", head, 6)
        self._serials.add(serial)
        self._numbers.append(number)
        if segments and any(n < 255 for n in head[27:27 + segments]):  # a packet ends in this page
            self._positions.append(position)

    def check(self, stream: ChainedStream):
        """Set ``has_positions`` and ``wrong``. Positions are wrong if they decrease, stay at 0 or jump, although no
        page is missing and no other stream is interleaved.
        """
        first, nonzero = self._numbers[0], [p for p in self._positions if p]  # header pages have 0
        complete = len(self._serials) == 1 and self._numbers == [*range(first, first + len(self._numbers))]
        if complete and len(self._positions) > 2:
            stream.has_positions = bool(nonzero)
            stream.wrong = not nonzero or min(nonzero) < 0 or self._positions[-1] == 0 or any(
                not 0 <= b - a <= _MAX_SAMPLES_PER_PAGE for a, b in zip(nonzero, nonzero[1:], strict=False))


def _checksum(page: bytes | bytearray) -> int:
    """CRC-32 of a page: polynomial 0x04C11DB7, most significant bit first, initial value 0."""
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


def _next_page(f, offset: int, size: int) -> int | None:
    while offset < size:
        f.seek(offset)
        data = f.read(1 << 16)
        if (position := data.find(b"OggS")) >= 0:
            return offset + position
        offset += max(len(data) - 3, 1)
    return None
