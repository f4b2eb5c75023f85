"""Gzip files are read as by the standard library, but decompression bombs are rejected."""

import gzip
import zlib

import pytest

from lstmp.corpus.textlines import numbered_lines
from lstmp.corpus.zipped import open_gzip
from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors, read_mat
from lstmp.score.ctm import read_ctm


@pytest.fixture
def bomb(tmp_path):
    """A file of 20 kB that unpacks to 20 MB."""
    def write(name, start=b"", filling=b"\0"):
        (tmp_path / name).write_bytes(gzip.compress(start + filling * (20 << 20), 6))
        return tmp_path / name
    return write


def test_reading_from_any_offset(tmp_path):
    text = bytes(range(256)) * 500
    (tmp_path / "x.gz").write_bytes(gzip.compress(text))
    with open_gzip(tmp_path / "x.gz") as f:
        assert f.read(10) == text[:10] and f.tell() == 10 and f.peek(1)[:1] == text[10:11]
        f.seek(70_000)
        assert f.read(1000) == text[70_000:71_000]
        assert f.read() == text[71_000:] and f.read(1) == b""


def test_highly_compressible_text_is_read(tmp_path):
    (tmp_path / "x.gz").write_bytes(gzip.compress(b"a b c\n" * 2_000_000))  # 12 MB, a 600th of it on the disk
    assert sum(1 for _ in numbered_lines(tmp_path / "x.gz")) == 2_000_000


def test_bomb_as_text_is_reported_with_its_line(bomb):
    with pytest.raises(UserError, match=r"x\.gz:3: the gzip file is .*unpacks to more than 16 MB; fetch"):
        list(numbered_lines(bomb("x.gz", b"a\nb\n")))


def test_bomb_as_archive_and_ctm_is_reported(bomb):
    for read in (lambda p: list(read_int_vectors(p)), lambda p: read_mat(f"{p}:{2**59}"), lambda p: read_mat(f"{p}:5")):
        with pytest.raises(UserError, match=r"x\.gz: the archive is cut off or damaged"):
            read(bomb("x.gz", b"utt \0BIM "))
    with pytest.raises(UserError, match=r"c\.gz:2: the gzip file is cut off or damaged: it unpacks to more than 16 MB"):
        read_ctm(bomb("c.gz", b"utt 1 0.0 0.1 A\n"))


@pytest.mark.parametrize("change", [lambda data: data[:-9], lambda data: data[:40] + b"xxxx" + data[44:]])
def test_damaged_gzip_file_is_reported(tmp_path, change):
    (tmp_path / "x.gz").write_bytes(change(gzip.compress(zlib.crc32(b"seed").to_bytes(4, "big").hex().encode() * 20)))
    with pytest.raises(UserError, match=r"x\.gz:1: the gzip file is cut off or damaged"):
        list(numbered_lines(tmp_path / "x.gz"))
