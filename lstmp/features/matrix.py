"""Reads matrices in Kaldi's formats: binary float (``FM``, ``DM``), compressed (``CM``, ``CM2``, ``CM3``), and text.

Writes the first compressed form.

A compressed matrix starts with its minimum, the range of its values, and its numbers of rows and columns. In ``CM``,
four quantiles per column follow as 16-bit integers, then the values column by column, one byte each, interpolated
linearly between quantiles. ``CM2`` has 16-bit and ``CM3`` 8-bit integers row by row, linear over the whole range.
"""

import struct
from typing import BinaryIO

import numpy as np

from lstmp import config
from lstmp.aliases import Array

_BLOCK = 1 << 24  # bytes read at a time, so that a damaged header cannot cause a huge allocation


class NotAMatrix(ValueError):
    """The data are not a matrix, or the matrix does not contain the requested range; the message gives the reason."""


def read_matrix(f: BinaryIO) -> Array:
    """Read the matrix at the current position of a binary file: float32 or float64 [rows, columns].

    Raises:
        EOFError: the file ends before the matrix does.
        NotAMatrix: the data are not a matrix.
    """
    head = read_exactly(f, 2)
    return read_binary_matrix(f) if head == b"\0B" else _read_text(f, head)


def read_binary_matrix(f: BinaryIO) -> Array:
    """Read a binary matrix without its leading ``\\0B``, such as inside a model file; else as :func:`read_matrix`."""
    token = b""
    while not token.endswith(b" "):
        if len(token) > 3:
            raise NotAMatrix(f"{token!r} is not a matrix type")
        token += read_exactly(f, 1)
    if token in (b"FM ", b"DM "):
        row_size, rows, column_size, columns = struct.unpack("<bibi", read_exactly(f, 10))
        if (row_size, column_size) != (4, 4):
            raise NotAMatrix("its sizes are not 32-bit integers")
        return _values(f, "<f4" if token == b"FM " else "<f8", rows, columns)
    if token not in (b"CM ", b"CM2 ", b"CM3 "):
        raise NotAMatrix(f"{token!r} is not a matrix type")
    minimum, value_range, rows, columns = struct.unpack("<ffii", read_exactly(f, 16))
    minimum, value_range = np.float32(minimum), np.float32(value_range)
    if token == b"CM2 ":
        return minimum + value_range / np.float32(65535) * _values(f, "<u2", rows, columns)
    if token == b"CM3 ":
        return minimum + value_range / np.float32(255) * _values(f, "u1", rows, columns)
    quantiles = minimum + value_range / np.float32(65535) * _values(f, "<u2", columns, 4)
    return _interpolate(quantiles, _values(f, "u1", columns, rows)).T


def compress(mat: Array) -> bytes:
    """Compress a matrix of finite values [rows, columns] as ``CM``, a quarter of float32's size; with its ``\\0B``.

    A value is off by at most 1/128 of the distance between two quantiles of its column, plus 1/65535 of the range.
    """
    mat = np.asarray(mat, dtype=np.float32)
    rows, columns = mat.shape
    minimum = np.float32(mat.min() if mat.size else 0)
    value_range = np.float32(mat.max() - minimum if mat.size else 0) or np.float32(1 + abs(minimum))
    quantiles = np.zeros((columns, 4), dtype=np.int64)
    if mat.size:
        ranked = np.sort(mat, 0)[[0, rows // 4, 3 * (rows // 4), rows - 1]]
        quantiles = np.floor((ranked.T - minimum) / value_range * np.float32(65535) + np.float32(0.499)).astype(int)
    for k in range(4):  # strictly increasing, so that the differences can be divided by
        smallest = quantiles[:, k - 1] + 1 if k else 0
        quantiles[:, k] = np.clip(quantiles[:, k], smallest, 65532 + k)
    q0, q1, q2, q3 = (minimum + value_range / np.float32(65535) * quantiles.astype(np.float32)).T[:, None]
    d1, d2, d3 = (np.maximum(d, np.float32(1e-30)) for d in (q1 - q0, q2 - q1, q3 - q2))  # 0 if the range is too small
    codes = np.where(mat < q1, np.clip(np.round((mat - q0) / d1 * 64), 0, 64),
                     np.where(mat < q2, np.clip(64 + np.round((mat - q1) / d2 * 128), 64, 192),
                              np.clip(192 + np.round((mat - q2) / d3 * 63), 192, 255)))
    head = b"\0BCM " + struct.pack("<ffii", minimum, value_range, rows, columns)
    return head + quantiles.astype("<u2").tobytes() + codes.T.astype("u1").tobytes()


def _interpolate(quantiles: Array, values: Array) -> Array:
    """Decode bytes [columns, rows]: 0 to 64, 64 to 192, 192 to 255 interpolate between the four quantiles."""
    q0, q1, q2, q3 = (quantiles[:, k, None] for k in range(4))
    x = values.astype(np.float32)
    return np.where(x <= 64, q0 + (q1 - q0) * x / 64,
                    np.where(x <= 192, q1 + (q2 - q1) * (x - 64) / 128, q2 + (q3 - q2) * (x - 192) / 63))


def _values(f: BinaryIO, dtype: str, rows: int, columns: int) -> Array:
    if rows < 0 or columns < 0:
        raise NotAMatrix(f"a matrix of {rows} × {columns}")
    return np.frombuffer(read_exactly(f, rows * columns * np.dtype(dtype).itemsize), dtype=dtype).reshape(rows, columns)


def read_exactly(f: BinaryIO, size: int) -> bytes:
    """Read exactly ``size`` bytes, in blocks; EOFError if the file has fewer."""
    blocks = []
    while size > 0:
        if not (block := f.read(min(size, _BLOCK))):
            raise EOFError
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)


def _read_text(f: BinaryIO, head: bytes) -> Array:
    """Read a text matrix: ``[``, rows separated by line ends or semicolons, ``]``."""
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


def select_range(mat: Array, range_text: str) -> Array:
    """Select a range in Kaldi's notation: ``first:last`` rows, including last, then optionally a comma and columns.

    ``:`` selects all. As in Kaldi, rows may end up to 3 beyond the matrix, since segment times are rounded.

    Raises:
        NotAMatrix: the range is malformed, or not inside the matrix.
    """
    axis_ranges = range_text.split(",")
    if len(axis_ranges) > 2:
        raise NotAMatrix(f"[{range_text}] is not a range `[first:last]` of rows or `[first:last,first:last]` of both")
    for axis, (text, tolerance) in enumerate(zip(axis_ranges, (3, 0), strict=False)):
        if text in ("", ":"):
            continue
        first, colon, last = text.partition(":")
        if not (colon and config.is_count(first) and config.is_count(last)):
            raise NotAMatrix(f"`{text}` is not a range `first:last`")
        size, name = mat.shape[axis], ("rows", "columns")[axis]
        if not int(first) <= int(last) < size + tolerance or int(first) >= size:
            raise NotAMatrix(f"{name} {first} to {last} of a matrix with {name} 0 to {size - 1}")
        mat = mat[int(first):int(last) + 1] if axis == 0 else mat[:, int(first):int(last) + 1]
    return mat
