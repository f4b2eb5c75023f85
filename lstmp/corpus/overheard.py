"""Captures what libmpg123 prints on standard error, so that one warning of ours replaces its many lines."""

import os
import sys
import tempfile
import threading

_MARK = b"libmpg123"  # in each of its lines; all other output is passed on
_one_at_a_time = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_one_at_a_time=threading.Lock()))  # may be held


class CapturedStderr:
    """Context manager that counts and hides the MP3 decoder's messages.

    Attributes:
        complaints: number of messages.
    """

    def __init__(self):
        self.complaints = 0

    def __enter__(self) -> "CapturedStderr":
        _one_at_a_time.acquire()
        self._stderr = self._captured = None
        try:
            sys.stderr.flush()
            self._captured = tempfile.TemporaryFile()  # noqa: SIM115
            self._stderr = os.dup(2)
            os.dup2(self._captured.fileno(), 2)
        except (OSError, ValueError, AttributeError):  # no standard error, or no space for a temporary file
            self._close()
            self._stderr = None
        return self

    def __exit__(self, exc_type, value, traceback):
        try:
            if self._stderr is not None:
                self._pass_on()
        finally:
            _one_at_a_time.release()

    def _pass_on(self):
        sys.stderr.flush()
        stderr = self._stderr
        assert stderr is not None and self._captured is not None
        os.dup2(stderr, 2)
        self._captured.seek(0)
        lines = self._captured.read().splitlines(keepends=True)
        self._close()
        self.complaints += sum(_MARK in line for line in lines)
        if others := b"".join(line for line in lines if _MARK not in line):
            os.write(2, others)

    def _close(self):
        if self._captured is not None:
            self._captured.close()
        if self._stderr is not None:
            os.close(self._stderr)
