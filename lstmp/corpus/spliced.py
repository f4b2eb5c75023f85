"""A file read as if some of its bytes were others, so that a decoder sees a header that tells the truth."""

import bisect
import io
import itertools


class Spliced(io.RawIOBase):
    """Parts of an open file and other bytes, one after the other; read-only, and without a name.

    Args:
        file: opened in binary mode.
        parts: each either bytes, or (begin, end) of the file.

    Attributes:
        size: of all parts together, in bytes.
        fault: the error that ended a read, or None: to the decoder, which has no way to be told, the file ends there.
    """

    def __init__(self, file, parts):
        self._file, self._parts = file, [p for p in parts if (len(p) if isinstance(p, bytes) else p[1] - p[0])]
        sizes = [len(p) if isinstance(p, bytes) else p[1] - p[0] for p in self._parts]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._at, self.fault, self.size = 0, None, self._starts[-1]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._starts[-1])[whence])
        return self._at

    def readinto(self, buffer) -> int:
        view, done = memoryview(buffer).cast("B"), 0
        try:
            while done < len(view) and self._at < self._starts[-1]:
                n = bisect.bisect_right(self._starts, self._at) - 1
                part, within = self._parts[n], self._at - self._starts[n]
                wanted = min(len(view) - done, self._starts[n + 1] - self._at)
                if isinstance(part, bytes):
                    data = part[within:within + wanted]
                else:
                    self._file.seek(part[0] + within)
                    data = self._file.read(wanted)
                if not data:
                    break
                view[done:done + len(data)] = data
                done += len(data)
                self._at += len(data)
        except OSError as e:
            self.fault = e
        return done
