"""Ogg files with wrong granule positions are read completely, or reported."""

import io
import struct

import numpy as np
import pytest
import soundfile

from lstmp.corpus.audio import audio_info, read_audio
from lstmp.corpus.ogg import _checksum, scan_streams
from lstmp.errors import UserError

NOISE = np.convolve(np.random.default_rng(0).uniform(-0.3, 0.3, 100000), np.ones(9) / 4, "same")


def encoded(subtype: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 16000, format="OGG", subtype=subtype)
    return file.getvalue()


def pages(data: bytes) -> list[tuple[int, int]]:
    found, at = [], 0
    while at < len(data):
        n = data[at + 26]
        found.append((at, at + 27 + n + sum(data[at + 27:at + 27 + n])))
        at = found[-1][1]
    return found


def with_positions(data: bytes, which, new) -> bytes:
    """The file with ``new`` of the granule positions of the pages ``which``."""
    data = bytearray(data)
    for begin, end in pages(data)[which]:
        struct.pack_into("<q", data, begin + 6, new(struct.unpack_from("<q", data, begin + 6)[0]))
        struct.pack_into("<I", data, begin + 22, 0)
        struct.pack_into("<I", data, begin + 22, _checksum(data[begin:end]))
    return bytes(data)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_page_checksums(subtype):
    data = encoded(subtype)
    assert with_positions(data, slice(None), lambda p: p) == data


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("last", [0, -1, 16000, 1 << 40])
def test_wrong_last_position_is_corrected(tmp_path, subtype, last, capsys):
    path = tmp_path / "x.ogg"
    path.write_bytes(with_positions(encoded(subtype), slice(-1, None), lambda p: last))
    found = read_audio(path)
    assert audio_info(path).samples == len(found) and 100000 <= len(found) < 101000
    assert np.corrcoef(found[:99000], NOISE[:99000])[0, 1] > 0.9
    assert "its pages have wrong granule positions" in capsys.readouterr().err


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_positions_that_start_late_as_in_a_broadcast_are_accepted(tmp_path, subtype, capsys):
    (tmp_path / "x.ogg").write_bytes(with_positions(encoded(subtype), slice(2, None), lambda p: p + 10_000_000))
    assert audio_info(tmp_path / "x.ogg").samples == len(read_audio(tmp_path / "x.ogg")) == 100000
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_missing_positions_are_an_error(tmp_path, subtype):
    (tmp_path / "x.ogg").write_bytes(with_positions(encoded(subtype), slice(2, None), lambda p: 0))
    with pytest.raises(UserError, match="x.ogg: its Ogg pages have no granule positions; fetch"):
        read_audio(tmp_path / "x.ogg")


def test_chained_and_interleaved_streams():
    data = encoded("VORBIS")
    found, whole = scan_streams(io.BytesIO(2 * data), 2 * len(data))
    assert whole and [(s.begin, s.end, s.wrong) for s in found] == [
        (0, len(data), False), (len(data), 2 * len(data), False)]
    assert not scan_streams(io.BytesIO(data[:-5]), len(data) - 5)[1]
    assert not scan_streams(io.BytesIO(b"OggS"), 4)[1]
