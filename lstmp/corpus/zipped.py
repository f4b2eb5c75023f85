"""Gzip files that people bring: read without trust in what they say of themselves."""

import gzip
import io
import os
import zlib

_MOST, _LEAST = 200, 16 << 20  # times its own size, and bytes, that a file may become; text becomes some 3 to 10 times


def open_gzip(path, most: int | None = None) -> io.BufferedReader:
    """A gzip file for reading bytes; one that is damaged, cut off or grows without end is a ``gzip.BadGzipFile``.

    Args:
        most: bytes that it may become; None: as many as text may.
    """
    return io.BufferedReader(_Measured(path, most))


class _Measured(io.RawIOBase):
    def __init__(self, path, most: int | None):
        self._file = gzip.open(path, "rb")
        self._most = max(_LEAST, _MOST * os.stat(path).st_size) if most is None else most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            n = self._file.readinto(buffer)
        except (EOFError, zlib.error) as e:
            raise gzip.BadGzipFile(str(e)) from None
        if self._file.tell() > self._most:
            raise gzip.BadGzipFile(f"it becomes more than {self._most >> 20} MB")
        return n

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or not 0 <= offset <= self._most:
            raise gzip.BadGzipFile(f"no byte {offset} in it")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def close(self):
        self._file.close()
        super().close()
