"""What a decoder written in C prints on the standard error, for one line of our own instead of many of its."""

import os
import sys
import tempfile
import threading

_MARK = b"libmpg123"  # of its lines; what others print in the meantime is passed on
_one_at_a_time = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_one_at_a_time=threading.Lock()))  # another thread held it


class Overheard:
    """Counts a decoder's complaints.

    Attributes:
        complaints: how many there were.
    """

    def __init__(self):
        self.complaints = 0

    def __enter__(self) -> "Overheard":
        _one_at_a_time.acquire()
        self._kept = self._said = None
        try:
            sys.stderr.flush()
            self._said = tempfile.TemporaryFile()  # noqa: SIM115
            self._kept = os.dup(2)
            os.dup2(self._said.fileno(), 2)
        except (OSError, ValueError, AttributeError):  # the program has no standard error, or no room for a file
            self._end()
            self._kept = None
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if self._kept is not None:
                self._tell()
        finally:
            _one_at_a_time.release()

    def _tell(self):
        sys.stderr.flush()
        kept = self._kept
        os.dup2(kept, 2)
        self._said.seek(0)
        lines = self._said.read().splitlines(keepends=True)
        self._end()
        self.complaints += sum(_MARK in line for line in lines)
        if others := b"".join(line for line in lines if _MARK not in line):
            os.write(2, others)

    def _end(self):
        if self._said is not None:
            self._said.close()
        if self._kept is not None:
            os.close(self._kept)
