"""One matrix in Kaldi's forms: binary float (``FM``, ``DM``), compressed (``CM``, ``CM2``, ``CM3``), or text.

A compressed matrix begins with its smallest value, the range of its values, rows and columns. ``CM`` then has four
quantiles of each column as 16-bit integers and the matrix column by column, a byte a value, which lies on the line
between two of the quantiles; ``CM2`` has 16-bit and ``CM3`` 8-bit integers row by row, over the whole range.
"""

import struct
from typing import BinaryIO

import numpy as np

from lstmp import config
from lstmp.aliases import Array

_BLOCK = 1 << 24  # bytes read at once: what a damaged header promises is not allocated before it is there


class NotAMatrix(ValueError):
    """What is there is not a matrix, for the reason it says; or it has no such part."""


def read_matrix(f: BinaryIO) -> Array:
    """Read the matrix at the position of a binary file: float32 or float64 [rows, columns].

    Raises:
        EOFError: the file ends before the matrix does.
        NotAMatrix: there is something else.
    """
    head = take(f, 2)
    return read_binary_matrix(f) if head == b"\0B" else _read_text(f, head)


def read_binary_matrix(f: BinaryIO) -> Array:
    """The same, behind the zero byte and ``B`` of a binary file, such as within a model."""
    token = b""
    while not token.endswith(b" "):
        if len(token) > 3:
            raise NotAMatrix(f"{token!r} is not a kind of matrix")
        token += take(f, 1)
    if token in (b"FM ", b"DM "):
        four, rows, also_four, columns = struct.unpack("<bibi", take(f, 10))
        if (four, also_four) != (4, 4):
            raise NotAMatrix("its sizes are not 32-bit integers")
        return _values(f, "<f4" if token == b"FM " else "<f8", rows, columns)
    if token not in (b"CM ", b"CM2 ", b"CM3 "):
        raise NotAMatrix(f"{token!r} is not a kind of matrix")
    least, spread, rows, columns = struct.unpack("<ffii", take(f, 16))
    least, spread = np.float32(least), np.float32(spread)
    if token == b"CM2 ":
        return least + spread / np.float32(65535) * _values(f, "<u2", rows, columns)
    if token == b"CM3 ":
        return least + spread / np.float32(255) * _values(f, "u1", rows, columns)
    quantiles = least + spread / np.float32(65535) * _values(f, "<u2", columns, 4)
    return _between(quantiles, _values(f, "u1", columns, rows)).T


def _between(quantiles: Array, values: Array) -> Array:
    """Bytes [columns, rows] as values: 0 to 64, to 192 and to 255 run from one of the four quantiles to the next."""
    q0, q1, q2, q3 = (quantiles[:, k, None] for k in range(4))
    x = values.astype(np.float32)
    return np.where(x <= 64, q0 + (q1 - q0) * x / 64,
                    np.where(x <= 192, q1 + (q2 - q1) * (x - 64) / 128, q2 + (q3 - q2) * (x - 192) / 63))


def _values(f: BinaryIO, kind: str, rows: int, columns: int) -> Array:
    if rows < 0 or columns < 0:
        raise NotAMatrix(f"a matrix of {rows} × {columns}")
    return np.frombuffer(take(f, rows * columns * np.dtype(kind).itemsize), dtype=kind).reshape(rows, columns)


def take(f: BinaryIO, size: int) -> bytes:
    """``size`` bytes of a binary file. EOFError: it has fewer, which is seen before memory is taken for all."""
    blocks = []
    while size > 0:
        if not (block := f.read(min(size, _BLOCK))):
            raise EOFError
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def _read_text(f: BinaryIO, head: bytes) -> Array:
    """``[``, a row a line or between semicolons, ``]``."""
    line = head + f.readline()
    before, opened, rest = line.partition(b"[")
    if before.strip() or not opened:
        raise NotAMatrix("it does not begin with `[`")
    rows = []
    while True:
        text, closed, _ = rest.partition(b"]")
        rows += [np.array(row.split(), dtype=np.float32) for row in text.split(b";") if row.strip()]
        if closed:
            return np.stack(rows) if rows else np.zeros((0, 0), np.float32)
        if not (rest := f.readline()):
            raise EOFError


def part_of(mat: Array, span: str) -> Array:
    """Kaldi's range of a matrix: ``first:last`` rows, last included, and after a comma columns; ``:`` is all.

    As in Kaldi, rows may end up to 3 beyond the matrix, since times of segments are rounded.

    Raises:
        NotAMatrix: no such range, or it is not within the matrix.
    """
    spans = span.split(",")
    if len(spans) > 2:
        raise NotAMatrix(f"[{span}] is not a range `[first:last]` of rows or `[first:last,first:last]` with columns")
    for axis, (text, beyond) in enumerate(zip(spans, (3, 0), strict=False)):
        if text in ("", ":"):
            continue
        first, colon, last = text.partition(":")
        if not (colon and config.is_count(first) and config.is_count(last)):
            raise NotAMatrix(f"`{text}` is not a range `first:last`")
        size, what = mat.shape[axis], ("rows", "columns")[axis]
        if not int(first) <= int(last) < size + beyond or int(first) >= size:
            raise NotAMatrix(f"{what} {first} to {last} of a matrix that has {what} 0 to {size - 1}")
        mat = mat[int(first):int(last) + 1] if axis == 0 else mat[:, int(first):int(last) + 1]
    return mat
