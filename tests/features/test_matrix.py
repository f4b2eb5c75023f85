"""Kaldi's matrix formats, from bytes written here according to its compressed-matrix.cc."""

import contextlib
import io
import struct

import kaldi_io
import numpy as np
import pytest

from lstmp.features.matrix import NotAMatrix, compress, read_matrix, select_range

KALDI_IO_READS_CM = np.lib.NumpyVersion(np.__version__) < "2.1.0"  # later versions lack a name that it uses for this
MAT = np.array([[0, 1.5, -2], [3, 4, 5], [6, 7.25, 8], [9, 10, 11]], np.float32)


def read(data: bytes) -> np.ndarray:
    f = io.BufferedReader(io.BytesIO(data + b"next"))
    mat = read_matrix(f)
    assert f.read() == b"next"  # not a byte too many
    return mat


def compressed(kind: str, least: float, spread: float, rows: int, columns: int, body: bytes) -> bytes:
    return b"\0B" + kind.encode() + b" " + struct.pack("<ffii", least, spread, rows, columns) + body


def test_cm2_and_cm3_by_rows():
    least, spread = float(MAT.min()), float(MAT.max() - MAT.min())
    for kind, steps, form in (("CM2", 65535, "<u2"), ("CM3", 255, "u1")):
        numbers = np.rint((MAT - least) / spread * steps).astype(form)
        found = read(compressed(kind, least, spread, 4, 3, numbers.tobytes()))
        assert found.shape == (4, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found, MAT, atol=0.51 * spread / steps)
        assert found.min() == least and found.max() == pytest.approx(least + spread)


def test_cm_quantiles_and_bytes_by_columns():
    """Column 0 is uniform; column 1 has most values between the inner quantiles."""
    quantiles = [(0, 16384, 49152, 65535), (0, 30000, 30400, 65535)]
    numbers = [(0, 64, 128, 192, 255), (32, 96, 160, 200, 250)]
    body = b"".join(struct.pack("<4H", *q) for q in quantiles) + b"".join(map(bytes, numbers))
    found = read(compressed("CM", -1, 2, 5, 2, body))
    value = [-1 + 2 * np.array(q) / 65535 for q in quantiles]
    np.testing.assert_allclose(found[:, 0], [value[0][0], value[0][1], value[0][1:3].mean(), value[0][2], value[0][3]],
                               atol=1e-6)
    q0, q1, q2, q3 = value[1]
    np.testing.assert_allclose(found[:, 1], [(q0 + q1) / 2, q1 + (q2 - q1) / 4, q1 + (q2 - q1) * 3 / 4,
                                             q2 + (q3 - q2) * 8 / 63, q2 + (q3 - q2) * 58 / 63], atol=1e-6)
    if KALDI_IO_READS_CM:
        theirs = kaldi_io.read_mat(io.BytesIO(compressed("CM", -1, 2, 5, 2, body)))  # the one form that it knows
        np.testing.assert_allclose(found, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_floats_match_kaldi_io(kind, tmp_path):
    kaldi_io.write_mat(str(tmp_path / "mat"), MAT.astype(kind))
    found = read((tmp_path / "mat").read_bytes())
    assert found.dtype == kind and np.array_equal(found, MAT)


@pytest.mark.parametrize("text", [" [\n  0 1.5 -2 \n  3 4 5 \n  6 7.25 8 \n  9 10 11 ]\n",
                                  "[ 0 1.5 -2\n3 4 5\n\n6 7.25 8\n9 10 11\n]\n",
                                  "[ 0 1.5 -2 ; 3 4 5; 6 7.25 8 ;9 10 11 ]\n"])
def test_text_matrix(text):
    assert np.array_equal(read(text.encode()), MAT)


def test_truncation_at_every_byte_is_detected():
    whole = compressed("CM", 0, 1, 2, 2, bytes(20))
    for data in (whole, compressed("CM2", 0, 1, 2, 2, bytes(8)), b"[ 1 2\n 3 4 ]\n"):
        read(data)
        for size in range(len(data) - 1):
            with pytest.raises((EOFError, NotAMatrix)):
                read_matrix(io.BytesIO(data[:size]))


@pytest.mark.parametrize("data,why", [
    (b"\0BSM \4", "b'SM ' is not a matrix"), (b"\0BFV \4", "b'FV '"), (b"\0BNothing", "b'Noth'"), (b"a 1 2\n", "`\\["),
    (compressed("CM3", 0, 1, -1, 4, b""), "-1 × 4"), (b"\0BFM \7" + bytes(9), "32-bit")])
def test_other_data_are_rejected(data, why):
    with pytest.raises(NotAMatrix, match=why):
        read_matrix(io.BytesIO(data))


def test_header_with_gigabytes_allocates_nothing():
    import tracemalloc
    tracemalloc.start()
    with pytest.raises(EOFError):
        read_matrix(io.BytesIO(compressed("CM2", 0, 1, 2**31 - 1, 1000, bytes(100))))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("span,expected", [
    ("1:2", MAT[1:3]), ("0:3", MAT), ("2:6", MAT[2:]), (":,0:1", MAT[:, :2]), ("1:1,2:2", MAT[1:2, 2:]), (":", MAT),
    (",1:2", MAT[:, 1:])])
def test_ranges_include_their_ends(span, expected):
    assert np.array_equal(select_range(MAT, span), expected)


@pytest.mark.parametrize("span,why", [
    ("2:7", "rows 2 to 7 of a matrix with rows 0 to 3"), ("4:5", "rows 4 to 5"), ("2:1", "rows 2 to 1"),
    (":,0:3", "columns 0 to 3 of a matrix with columns 0 to 2"), ("3", "`3` is not a range"), ("-1:2", "`-1:2`"),
    ("0:1,0:1,0:1", "is not a range `\\[first:last\\]` of rows"), ("a:b", "`a:b`"), ("²:3", "`²:3`"),
    ("0:" + "9" * 5000, "is not a range")])
def test_invalid_ranges_are_rejected(span, why):
    with pytest.raises(NotAMatrix, match=why):
        select_range(MAT, span)


@pytest.mark.parametrize("mat", [
    np.random.default_rng(1).normal(5, [[0.1, 1, 30]], (400, 3)), np.full((6, 2), 7.5), np.full((3, 1), -0.25),
    np.zeros((1, 4)), np.array([[1e6], [2], [3], [4], [-5]]), np.eye(4), np.arange(12).reshape(6, 2) * 1e-4,
    np.zeros((0, 5)), np.zeros((0, 0))], ids=str)
def test_compressed_matrices(mat):
    mat = mat.astype(np.float32)
    found = read(compress(mat))
    assert found.shape == mat.shape and found.dtype == np.float32
    if not mat.size:
        return
    spread = mat.max() - mat.min() or 1 + abs(mat.min())
    for x, y in zip(mat.T, found.T, strict=True):
        ranked = np.sort(x)[[0, len(x) // 4, 3 * (len(x) // 4), -1]]
        assert np.abs(x - y).max() <= np.diff(ranked).max() / 126 + 4 * spread / 65535
    if len(mat) > 4 and KALDI_IO_READS_CM:
        with contextlib.redirect_stderr(io.StringIO()):
            np.testing.assert_allclose(kaldi_io.read_mat(io.BytesIO(compress(mat))), found, rtol=1e-5, atol=1e-6)
    assert len(compress(mat)) == 2 + 3 + 16 + 8 * mat.shape[1] + mat.size


def test_a_range_below_the_precision_of_float32_is_compressed(recwarn):
    mat = (15.9 + 1e-6 * np.random.default_rng(0).standard_normal((10, 3))).astype(np.float32)
    assert 0 < np.ptp(mat) < 1e-5 and np.abs(read(compress(mat)) - mat).max() <= np.ptp(mat) and not recwarn.list
