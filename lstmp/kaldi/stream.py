"""The elements of Kaldi's objects on disk: tokens, numbers and vectors, in its binary form and in its text form.

A binary file begins with a zero byte and ``B``. Tokens are words followed by a space in both forms. A binary number is
preceded by a byte with its size (negative if unsigned); an integer vector by the size of its elements and, as a bare
int32, its length; a float vector by the token ``FV`` (``DV`` for doubles) and its length as a number.
"""

import io
import re
from pathlib import Path

import numpy as np

from lstmp.errors import UserError
from lstmp.features.matrix import read_binary_matrix, read_matrix

_WORD = re.compile(rb"\s*(\[|\]|[^\s\[\]]+)")
_HINT = "copy it again from where Kaldi wrote it, or give another folder"


class KaldiReader:
    """Reads one file from its first byte on.

    Every fault (a token that is not expected, a number of another size, the end of the file) is a UserError that names
    the file and the byte.

    Attributes:
        binary: whether the file is in Kaldi's binary form.
        at: byte that is read next.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError("no such file", file=path, hint="give the folder that has it")
        self.data = self.path.read_bytes()
        self._stream = io.BytesIO(self.data)
        self.binary = self.data[:2] == b"\0B"
        self.at = 2 if self.binary else 0

    def fault(self, what: str, hint: str = _HINT) -> UserError:
        """An error about this file."""
        return UserError(what, file=self.path, hint=hint)

    def token(self, *expected: str) -> str:
        """The next token; with ``expected``, it must be one of these."""
        found, end = self._word()
        if expected and found not in expected:
            shown = repr(found[:30]) if found else "the end of the file"
            raise self.fault(f"expected {' or '.join(expected)} at byte {self.at}, found {shown}")
        self.at = end
        return found

    def peek(self) -> str:
        """The next token without taking it; empty at the end of the file."""
        return self._word()[0]

    def integer(self) -> int:
        """A 32-bit integer, signed or not."""
        if not self.binary:
            return self._number(int)
        size = self._take(1)[0]
        if size not in (4, 256 - 4):
            raise self.fault(f"expected a 32-bit integer at byte {self.at - 1}")
        return int.from_bytes(self._take(4), "little", signed=size == 4)

    def count(self) -> int:
        """An integer that says how many things follow: no more than the file has bytes left."""
        n = self.integer()
        if not 0 <= n <= len(self.data) - self.at:
            raise self.fault(f"{n} entries announced at byte {self.at}, which cannot be")
        return n

    def real(self) -> float:
        """A float or double; a float comes back as the shortest decimal that stands for it."""
        if not self.binary:
            return self._number(float)
        size = self._take(1)[0]
        if size not in (4, 8):
            raise self.fault(f"expected a float at byte {self.at - 1}")
        value = np.frombuffer(self._take(size), dtype=f"<f{size}")[0]
        return float(str(value))

    def integers(self) -> list[int]:
        """A vector of 32-bit integers."""
        if not self.binary:
            return self._bracketed(int)
        if self._take(1) != b"\4":
            raise self.fault(f"expected a vector of 32-bit integers at byte {self.at - 1}")
        n = int.from_bytes(self._take(4), "little", signed=True)
        return np.frombuffer(self._take(4 * n), dtype="<i4").tolist()

    def reals(self) -> np.ndarray:
        """A vector of floats or doubles, as float32 [n]."""
        if not self.binary:
            with np.errstate(over="ignore"):  # becomes infinity, for the caller to judge
                return np.array(self._bracketed(float)).astype(np.float32)
        size = 4 if self.token("FV", "DV") == "FV" else 8
        return np.frombuffer(self._take(size * self.integer()), dtype=f"<f{size}").astype(np.float32)

    def matrix(self) -> np.ndarray:
        """A matrix of floats or doubles, compressed or not, as float64 [rows, columns]."""
        self._stream.seek(self.at)
        try:
            mat = read_binary_matrix(self._stream) if self.binary else read_matrix(self._stream)
        except (EOFError, ValueError):
            raise self.fault(f"expected a matrix at byte {self.at}") from None
        self.at = self._stream.tell()
        return mat.astype(np.float64)

    def _word(self) -> tuple[str, int]:
        match = _WORD.match(self.data, self.at)
        if not match:
            return "", len(self.data)
        # in the binary form exactly one space belongs to the token: a byte of what follows may look like another
        return match[1].decode("utf-8", "replace"), match.end() + self.binary

    def _take(self, n: int) -> bytes:
        if n < 0 or self.at + n > len(self.data):
            raise self.fault(f"it is cut off or damaged: {n} bytes wanted at byte {self.at}, the file has "
                             f"{len(self.data)}")
        self.at += n
        return self.data[self.at - n:self.at]

    def _number(self, kind: type):
        start, word = self.at, self.token()
        try:
            return kind(word)
        except ValueError:
            shown = repr(word[:30]) if word else "the end of the file"
            raise self.fault(f"expected a number at byte {start}, found {shown}") from None

    def _bracketed(self, kind: type) -> list:
        self.token("[")
        values = []
        while self.peek() != "]":
            values.append(self._number(kind))
        self.token("]")
        return values


def reals_text(values) -> str:
    """A float vector in Kaldi's text form, with as many digits as bring back the same float32."""
    return " [ " + " ".join(str(x) for x in np.asarray(values, dtype=np.float32)) + " ]\n"


def integers_text(values) -> str:
    """An integer vector in Kaldi's text form."""
    return "[ " + "".join(f"{int(x)} " for x in values) + "]\n"
