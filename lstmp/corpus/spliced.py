"""Reads a file with some of its bytes replaced, so that a decoder sees a corrected header."""

import bisect
import io
import itertools


class Spliced(io.RawIOBase):
    """A read-only file object that concatenates parts of an open file and other bytes.

    Args:
        file: file opened in binary mode.
        parts: each is either bytes, or (begin, end) of a range of the file.

    Attributes:
        size: total size in bytes.
        error: the error at which reading stopped, or None. The decoder cannot receive it; it sees the end of the file.
    """

    def __init__(self, file, parts):
        self._file, self._parts = file, [p for p in parts if (len(p) if isinstance(p, bytes) else p[1] - p[0])]
        sizes = [len(p) if isinstance(p, bytes) else p[1] - p[0] for p in self._parts]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._position, self.error, self.size = 0, None, self._starts[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, self._starts[-1])[whence])
        return self._position

    def readinto(self, buffer) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        try:
            while done < len(view) and self._position < self._starts[-1]:
                n = bisect.bisect_right(self._starts, self._position) - 1
                part, offset = self._parts[n], self._position - self._starts[n]
                count = min(len(view) - done, self._starts[n + 1] - self._position)
                if isinstance(part, bytes):
                    data = part[offset:offset + count]
                else:
                    self._file.seek(part[0] + offset)
                    data = self._file.read(count)
                if not data:
                    break
                view[done:done + len(data)] = data
                done += len(data)
                self._position += len(data)
        except OSError as e:
            self.error = e
        return done
