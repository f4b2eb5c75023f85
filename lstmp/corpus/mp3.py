"""Counts the frames of MP3 files instead of relying on their header or size.

Without a Xing header, decoders estimate the number of frames from the file size and the bit rate of the first frame.
The estimate is wrong if the bit rate varies or the file contains other data than audio.
"""

import struct

_KBPS = {1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
         2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
_RATES = (44100, 48000, 32000)
_SAMPLES = {1: 1152, 2: 576}
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # the first bytes of tags, which programs append to audio
_PADDING = 4096  # this many zero bytes are padding, whatever follows them


class Mp3:
    """The MPEG layer III frames of a file.

    Args:
        data: bytes or a memory map.

    Attributes:
        parts: (begin, end) in bytes of each run of frames; empty: the file is not MP3.
        frames: number of frames, without a frame that contains a Xing or VBRI header.
        declared: number of frames according to that header; None: it does not give one.
        samples: samples per frame and channel.
        damaged_bytes: number of damaged bytes, which are neither frames nor a tag.
        good_seconds: duration of the audio before the first damaged byte.
    """

    def __init__(self, data):
        self._data, self.parts, self.frames, self.declared, self.samples = data, [], 0, None, 0
        self.damaged_bytes, self.good_seconds = 0, 0.0
        offset, frame_format, previous = after_tags(data, 0), None, 0
        self._first_frame, begin, self._header, self._byte_count_offset = offset, offset, False, None
        while offset + 4 <= len(data):
            frame = _frame(data, offset)
            if not frame or frame[0] != (frame_format or _common_format(data, offset)):
                if offset > begin:
                    self.parts.append((begin, offset))
                if frame_format is None and offset - self._first_frame > 1 << 16:
                    return
                gap_begin, offset = offset, _next_frame(data, offset + 1)
                begin = offset
                if frame_format and offset < len(data) and not _is_tag_or_padding(data, previous, gap_begin, offset):
                    if not self.damaged_bytes:
                        self.good_seconds = self.frames * self.samples / frame_format[1]
                    self.damaged_bytes += offset - gap_begin
                continue
            if frame_format is None:
                frame_format, self._first_frame, self.samples = frame[0], offset, _SAMPLES[frame[0][0]]
                self._header = self._read_header(frame)
            if offset + frame[1] > len(data):  # the last frame is incomplete
                break
            self.frames, previous = self.frames + 1, offset
            offset += frame[1]
        if min(offset, len(data)) > begin:
            self.parts.append((begin, min(offset, len(data))))
        if frame_format is None:
            self.parts = []
        else:
            self.frames -= self._header

    def _read_header(self, frame) -> bool:
        (version, _, mono), length = frame[0], frame[1]
        self._side_info_size = (17 if mono else 32) if version == 1 else (9 if mono else 17)
        self._header_size, data, offset = length, self._data, self._first_frame + 4
        for tag_offset in (offset + self._side_info_size, offset + self._side_info_size + 2):  # 2: with a checksum
            if bytes(data[tag_offset:tag_offset + 4]) in (b"Xing", b"Info"):
                if data[tag_offset + 7] & 1:
                    self.declared = int.from_bytes(data[tag_offset + 8:tag_offset + 12], "big")
                    self._byte_count_offset = tag_offset + 12 if data[tag_offset + 7] & 2 else None
                return True
        if bytes(data[offset + 32:offset + 36]) == b"VBRI":
            self.declared = int.from_bytes(data[offset + 46:offset + 50], "big")
            return True
        return False

    def corrected_parts(self) -> list:
        """Parts for :class:`lstmp.corpus.spliced.Spliced`: the frames only, after a header with their correct number.

        The file's own header is kept if its number of frames is right, because it also gives the encoder's padding.
        """
        if self.declared == self.frames:
            return self._with_byte_count()
        head = bytearray(self._data[self._first_frame:self._first_frame + 4])
        head[1] |= 1  # no checksum
        head += bytes(self._side_info_size) + b"Xing" + struct.pack(">II", 1, self.frames)
        (begin, end), *more = self.parts
        if self._header:
            begin += self._header_size  # replace the file's own header
        return [bytes(head.ljust(self._header_size, b"\0")), (begin, end), *more]

    def _with_byte_count(self) -> list:
        """The frames after the file's own header, with its byte count corrected if it is wrong."""
        size, offset, (begin, end) = sum(b - a for a, b in self.parts), self._byte_count_offset, self.parts[0]
        if offset is None or abs(int.from_bytes(self._data[offset:offset + 4], "big") - size) < size / 200:
            return self.parts
        return [(begin, offset), struct.pack(">I", size), (offset + 4, end), *self.parts[1:]]


def _frame(data, offset: int):
    """((version, rate, mono), size in bytes) of the frame at offset ``offset``; None: there is no frame."""
    if offset + 4 > len(data) or data[offset] != 0xFF or data[offset + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[offset + 1] >> 3 & 3, data[offset + 1] >> 1 & 3
    kbps, rate, pad = data[offset + 2] >> 4, data[offset + 2] >> 2 & 3, data[offset + 2] >> 1 & 1
    if version == 1 or layer != 1 or kbps in (0, 15) or rate == 3:
        return None
    rate = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    first = version == 3
    return ((1 if first else 2, rate, data[offset + 3] >> 6 == 3),
            (144 if first else 72) * 1000 * _KBPS[1 if first else 2][kbps] // rate + pad)


def _common_format(data, offset: int):
    """(version, rate, mono) common to the three frames from ``offset`` on; None: they differ, so this is not audio."""
    formats: set[tuple] = set()
    for _ in range(3):
        if (frame := _frame(data, offset)) is None:
            return None if offset < len(data) else formats.pop()
        formats.add(frame[0])
        offset += frame[1]
    return formats.pop() if len(formats) == 1 else None


def _is_tag_or_padding(data, previous: int, begin: int, end: int) -> bool:
    """Whether the gap from ``begin`` to ``end`` is padding or a tag, which may start in the frame at ``previous``."""
    end = min(end, begin + _PADDING)
    return not any(data[begin:end]) or any(
        data.find(tag, previous, end) >= 0 for tag in TAGS)


def is_frames(data) -> bool:
    """Whether ``data`` starts with three frames of the same format."""
    offset = 0
    formats: list[tuple] = []
    while len(formats) < 3 and (frame := _frame(data, offset)):
        formats.append(frame[0])
        offset += frame[1]
    return len(formats) == 3 and len(set(formats)) == 1


def after_tags(data, offset: int) -> int:
    """Offset after the ID3v2 tags that start at ``offset``; ``offset`` itself if there are none."""
    while bytes(data[offset:offset + 3]) == b"ID3" and offset + 10 <= len(data):
        size = data[offset + 6:offset + 10]
        offset += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]) + 10 * (data[offset + 5] >> 4 & 1)
    return offset


def _next_frame(data, offset: int) -> int:
    """Find the offset from ``offset`` on where the next frame may start; the end of ``data`` if there is none."""
    if bytes(data[offset - 1:offset + 2]) == b"ID3":
        return max(offset, after_tags(data, offset - 1))
    while offset < len(data):
        offset = data.find(b"\xff", offset)
        if offset < 0:
            return len(data)
        if (frame := _frame(data, offset)) and (offset + frame[1] >= len(data) or _frame(data, offset + frame[1])):
            return offset
        offset += 1
    return len(data)
