"""Frames of MP3 files: how many there are, whatever a header or the file's size makes believe.

Without a Xing header the number is otherwise guessed from the size and the bit rate of the first frame, and is wrong
where the bit rate varies, or where something else than sound lies in the file.
"""

import struct

_KBPS = {1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
         2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)}
_RATES = (44100, 48000, 32000)
_SAMPLES = {1: 1152, 2: 576}


class Mp3:
    """The frames of layer III in the bytes of a file.

    Args:
        data: bytes, or what is like them.

    Attributes:
        parts: (begin, end) of the stretches of frames, without what lies between; empty: it is no MP3.
        frames: how many, without one that holds a Xing or VBRI header.
        promised: how many that header says there are; None: it does not say.
        samples: of a frame and channel.
    """

    def __init__(self, data):
        self._data, self.parts, self.frames, self.promised, self.samples = data, [], 0, None, 0
        at, kind = _after_tags(data, 0), None
        self._first, begin, self._header, self._bytes_at = at, at, False, None
        while at + 4 <= len(data):
            frame = _frame(data, at)
            if not frame or frame[0] != (kind or _same(data, at)):
                if at > begin:
                    self.parts.append((begin, at))
                if kind is None and at - self._first > 1 << 16:
                    return
                at = begin = _next(data, at + 1)
                continue
            if kind is None:
                kind, self._first, self.samples = frame[0], at, _SAMPLES[frame[0][0]]
                self._header = self._read_header(frame)
            if at + frame[1] > len(data):  # the file ends within it
                break
            self.frames += 1
            at += frame[1]
        if min(at, len(data)) > begin:
            self.parts.append((begin, min(at, len(data))))
        if kind is None:
            self.parts = []
        else:
            self.frames -= self._header

    def _read_header(self, frame) -> bool:
        (version, _, mono), length = frame[0], frame[1]
        self._side = (17 if mono else 32) if version == 1 else (9 if mono else 17)
        self._length, data, at = length, self._data, self._first + 4
        for place in (at + self._side, at + self._side + 2):  # behind a checksum
            if bytes(data[place:place + 4]) in (b"Xing", b"Info"):
                if data[place + 7] & 1:
                    self.promised = int.from_bytes(data[place + 8:place + 12], "big")
                    self._bytes_at = place + 12 if data[place + 7] & 2 else None
                return True
        if bytes(data[at + 32:at + 36]) == b"VBRI":
            self.promised = int.from_bytes(data[at + 46:at + 50], "big")
            return True
        return False

    def told(self) -> list:
        """Parts for :class:`lstmp.corpus.spliced.Spliced`: the frames alone, behind a header that tells their number.

        The file's own header, if it has the number right, stays: it also says how much an encoder has put around the
        sound.
        """
        if self.promised == self.frames:
            return self._with_bytes()
        head = bytearray(self._data[self._first:self._first + 4])
        head[1] |= 1  # no checksum
        head += bytes(self._side) + b"Xing" + struct.pack(">II", 1, self.frames)
        (begin, end), *more = self.parts
        if self._header:
            begin += self._length  # instead of its own
        return [bytes(head.ljust(self._length, b"\0")), (begin, end), *more]

    def _with_bytes(self) -> list:
        """The frames, behind their own header, which has the number of their bytes right: else there are complaints."""
        size, at, (begin, end) = sum(b - a for a, b in self.parts), self._bytes_at, self.parts[0]
        if at is None or abs(int.from_bytes(self._data[at:at + 4], "big") - size) < size / 200:
            return self.parts
        return [(begin, at), struct.pack(">I", size), (at + 4, end), *self.parts[1:]]


def _frame(data, at: int):
    """((version, rate, mono), bytes) of the frame at a place; None: there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    kbps, rate, pad = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or layer != 1 or kbps in (0, 15) or rate == 3:
        return None
    rate = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    first = version == 3
    return ((1 if first else 2, rate, data[at + 3] >> 6 == 3),
            (144 if first else 72) * 1000 * _KBPS[1 if first else 2][kbps] // rate + pad)


def _same(data, at: int):
    """What three frames in a row from here on are; None: it is not sound, though its first bytes look like it."""
    kinds: set[tuple] = set()
    for _ in range(3):
        if (frame := _frame(data, at)) is None:
            return None if at < len(data) else kinds.pop()
        kinds.add(frame[0])
        at += frame[1]
    return kinds.pop() if len(kinds) == 1 else None


def _after_tags(data, at: int) -> int:
    while bytes(data[at:at + 3]) == b"ID3" and at + 10 <= len(data):
        size = data[at + 6:at + 10]
        at += 10 + (size[0] << 21 | size[1] << 14 | size[2] << 7 | size[3]) + 10 * (data[at + 5] >> 4 & 1)
    return at


def _next(data, at: int) -> int:
    """Where the next frame may begin."""
    if bytes(data[at - 1:at + 2]) == b"ID3":
        return max(at, _after_tags(data, at - 1))
    while at < len(data):
        at = data.find(b"\xff", at)
        if at < 0:
            return len(data)
        if (frame := _frame(data, at)) and (at + frame[1] >= len(data) or _frame(data, at + frame[1])):
            return at
        at += 1
    return len(data)
