"""Reads and writes the elements of Kaldi's files (tokens, numbers, vectors and matrices), in binary and text form.

A binary file begins with a zero byte and ``B``. In both forms a token is a word followed by a space. In binary form a
number is preceded by a byte with its size (negative if unsigned), an integer vector by a byte with the size of its
elements and its length as an int32 without size byte, and a float vector by the token ``FV`` (``DV`` for doubles) and
its length as a number.
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
    """Reads a file sequentially.

    All methods raise a UserError that names the file and the byte if the file does not have what they expect.

    Attributes:
        binary: whether the file is in Kaldi's binary form.
        position: index of the next byte.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError("no such file", file=path, hint="give the folder that has it")
        self.data = self.path.read_bytes()
        self._stream = io.BytesIO(self.data)
        self.binary = self.data[:2] == b"\0B"
        self.position = 2 if self.binary else 0

    def error(self, what: str, hint: str = _HINT) -> UserError:
        """Make an error about this file, for the caller to raise."""
        return UserError(what, file=self.path, hint=hint)

    def token(self, *expected: str) -> str:
        """Read a token; if ``expected`` are given, it must be one of them."""
        token, end = self._word()
        if expected and token not in expected:
            shown = repr(token[:30]) if token else "the end of the file"
            raise self.error(f"expected {' or '.join(expected)} at byte {self.position}, found {shown}")
        self.position = end
        return token

    def peek(self) -> str:
        """Return the next token without moving past it; empty at the end of the file."""
        return self._word()[0]

    def integer(self) -> int:
        """Read a 32-bit integer, signed or unsigned."""
        if not self.binary:
            return self._number(int)
        size = self._take(1)[0]
        if size not in (4, 256 - 4):
            raise self.error(f"expected a 32-bit integer at byte {self.position - 1}")
        return int.from_bytes(self._take(4), "little", signed=size == 4)

    def count(self) -> int:
        """Read the number of items that follow, which must not exceed the number of bytes left in the file."""
        n = self.integer()
        if not 0 <= n <= len(self.data) - self.position:
            raise self.error(f"impossible number of entries {n} before byte {self.position}")
        return n

    def real(self) -> float:
        """Read a float or double; a float is returned as the shortest decimal number that rounds to it."""
        if not self.binary:
            return self._number(float)
        size = self._take(1)[0]
        if size not in (4, 8):
            raise self.error(f"expected a float at byte {self.position - 1}")
        value = np.frombuffer(self._take(size), dtype=f"<f{size}")[0]
        return float(str(value))

    def integers(self) -> list[int]:
        """Read a vector of 32-bit integers."""
        if not self.binary:
            return self._bracketed(int)
        if self._take(1) != b"\4":
            raise self.error(f"expected a vector of 32-bit integers at byte {self.position - 1}")
        n = int.from_bytes(self._take(4), "little", signed=True)
        return np.frombuffer(self._take(4 * n), dtype="<i4").tolist()

    def reals(self) -> np.ndarray:
        """Read a vector of floats or doubles, as float32 [n]."""
        if not self.binary:
            with np.errstate(over="ignore"):  # too large numbers become infinity, which callers check for
                return np.array(self._bracketed(float)).astype(np.float32)
        size = 4 if self.token("FV", "DV") == "FV" else 8
        return np.frombuffer(self._take(size * self.integer()), dtype=f"<f{size}").astype(np.float32)

    def matrix(self) -> np.ndarray:
        """Read a matrix of floats or doubles, compressed or not, as float64 [rows, columns]."""
        self._stream.seek(self.position)
        try:
            mat = read_binary_matrix(self._stream) if self.binary else read_matrix(self._stream)
        except (EOFError, ValueError):
            raise self.error(f"expected a matrix at byte {self.position}") from None
        self.position = self._stream.tell()
        return mat.astype(np.float64)

    def _word(self) -> tuple[str, int]:
        match = _WORD.match(self.data, self.position)
        if not match:
            return "", len(self.data)
        # In binary form exactly one space belongs to the token: the next byte may look like a space, but is data.
        return match[1].decode("utf-8", "replace"), match.end() + self.binary

    def _take(self, n: int) -> bytes:
        if n < 0 or self.position + n > len(self.data):
            raise self.error(f"it is cut off or damaged: {n} bytes expected at byte {self.position}, but the file has "
                             f"only {len(self.data)}")
        self.position += n
        return self.data[self.position - n:self.position]

    def _number(self, number_type: type):
        start, word = self.position, self.token()
        try:
            return number_type(word)
        except ValueError:
            shown = repr(word[:30]) if word else "the end of the file"
            raise self.error(f"expected a number at byte {start}, found {shown}") from None

    def _bracketed(self, number_type: type) -> list:
        self.token("[")
        values = []
        while self.peek() != "]":
            values.append(self._number(number_type))
        self.token("]")
        return values


def reals_text(values) -> str:
    """A float vector in Kaldi's text form, with enough digits to read the same float32 values back."""
    return " [ " + " ".join(str(x) for x in np.asarray(values, dtype=np.float32)) + " ]\n"


def integers_text(values) -> str:
    """An integer vector in Kaldi's text form."""
    return "[ " + "".join(f"{int(x)} " for x in values) + "]\n"
