"""Reads untrusted gzip files: damaged files and decompression bombs raise an error."""

import gzip
import io
import os
import zlib

_MAX_RATIO, _MIN_LIMIT = 200, 16 << 20  # limit: this many-fold, or bytes if more; text grows 3 to 10-fold


def open_gzip(path, max_bytes: int | None = None) -> io.BufferedReader:
    """Open a gzip file for reading bytes. Reading raises ``gzip.BadGzipFile`` if it is damaged, truncated or too large.

    Args:
        max_bytes: maximum uncompressed size in bytes; None: the limit for text, which depends on the compressed size.
    """
    return io.BufferedReader(_LimitedGzip(path, max_bytes))


class _LimitedGzip(io.RawIOBase):
    def __init__(self, path, max_bytes: int | None):
        self._file = gzip.open(path, "rb")
        self._max_bytes = max(_MIN_LIMIT, _MAX_RATIO * os.stat(path).st_size) if max_bytes is None else max_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        try:
            n = self._file.readinto(buffer)
        except (EOFError, zlib.error) as e:
            raise gzip.BadGzipFile(str(e)) from None
        if self._file.tell() > self._max_bytes:
            raise gzip.BadGzipFile(f"it unpacks to more than {self._max_bytes >> 20} MB")
        return n

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or not 0 <= offset <= self._max_bytes:
            raise gzip.BadGzipFile(f"offset {offset} is beyond its end")
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def close(self):
        self._file.close()
        super().close()
