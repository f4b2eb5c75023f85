"""Files are decoded completely whatever their header says; truncated files are an error."""

import io
import struct

import numpy as np
import pytest
import soundfile

from lstmp.corpus.audio import audio_info, read_audio
from lstmp.corpus.recording import Recording
from lstmp.corpus.spliced import Spliced
from lstmp.errors import UserError

TONE = (0.2 * np.sin(np.arange(48000) * 0.1)).astype(np.float32)
KINDS = {"wav": {}, "aiff": {}, "au": {}, "w64": {}, "rf64": {}, "caf": {}, "flac": {}, "ogg": {}, "mp3": {},
         "opus": {"format": "OGG", "subtype": "OPUS"}, "sph": {"format": "NIST"}}


def data_of(kind: str, samples=TONE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, **({"format": kind.upper()} | KINDS[kind]))
    return file.getvalue()


def lengths(path) -> tuple[int, int]:
    return audio_info(path).samples, len(read_audio(path))


def fields(kind: str, data: bytes) -> list[tuple[int, str]]:
    """Offset and struct format of the length in the header."""
    at = {name: data.find(name) for name in (b"data", b"SSND", b"COMM", b"ds64")}
    return {"wav": [(at[b"data"] + 4, "<I")], "aiff": [(at[b"SSND"] + 4, ">I"), (at[b"COMM"] + 10, ">I")],
            "au": [(8, ">I")], "w64": [(at[b"data"] + 16, "<Q")], "caf": [(at[b"data"] + 4, ">Q")],
            "rf64": [(at[b"ds64"] + 16, "<Q"), (at[b"ds64"] + 24, "<Q")]}[kind]


@pytest.mark.parametrize("kind", ["wav", "aiff", "au", "w64", "rf64", "caf"])
@pytest.mark.parametrize("value", [0, 0x7FFFF000, 0x7FFFFFFF, 2 ** 64 - 1, 2 ** 64 - 37, 10001, 10000])
def test_placeholder_lengths_are_ignored(tmp_path, kind, value):
    data = bytearray(data_of(kind))
    for at, form in fields(kind, data):
        struct.pack_into(form, data, at, value % (1 << 8 * struct.calcsize(form)))
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data)
    assert lengths(path) == (48000, 48000)
    np.testing.assert_allclose(read_audio(path) / 32768, TONE, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_truncated_file_is_an_error(tmp_path, kind, kept):
    data = data_of(kind)
    path = tmp_path / f"x.{kind}"
    path.write_bytes(data[:int(kept * len(data))])
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="cut off"):
            read(path)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "opus", "mp3"])
def test_data_after_the_samples_are_not_decoded(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    for more in (b"LIST\x04\0\0\0INFO" if kind == "wav" else b"", b"TAG" + b"x" * 125):
        path.write_bytes(data_of(kind) + more)
        assert lengths(path) == (48000, 48000)


def test_incomplete_last_sample_and_empty_file(tmp_path):
    data, path = data_of("wav"), tmp_path / "x.wav"
    path.write_bytes(data[:-1])
    assert lengths(path) == (47999, 47999)
    for empty in (data[:40] + bytes(4), data[:40] + bytes(4) + b"LIST\x04\0\0\0INFO"):
        path.write_bytes(empty)
        with pytest.raises(UserError, match="contains no samples"):
            read_audio(path)


def of_flac(samples: int, data=None) -> bytes:
    data = data or data_of("flac")
    field = int.from_bytes(data[21:26], "big")
    return data[:21] + (field >> 36 << 36 | samples).to_bytes(5, "big") + data[26:]


def test_flac_of_unknown_and_of_wrong_length(tmp_path):
    path, noise = tmp_path / "x.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 48000)
    for samples in (0, 1000, 20000, 40000):
        path.write_bytes(of_flac(samples, data_of("flac", noise)))
        assert lengths(path) == (48000, 48000)
    path.write_bytes(of_flac(0)[:9000])
    with pytest.raises(UserError, match="cut off, or damaged"):
        read_audio(path)


def test_header_with_2_to_the_36_samples_takes_no_memory(tmp_path):
    path = tmp_path / "x.flac"
    path.write_bytes(of_flac((1 << 36) - 1))
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="cut off: 48000 of 68719476735 samples"):
            read(path)


@pytest.mark.parametrize("kind", ["ogg", "opus", "flac", "mp3"])
def test_joined_files_are_read_completely(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    path.write_bytes(2 * data_of(kind))
    assert lengths(path)[0] == lengths(path)[1] == pytest.approx(96000, rel=0.04)
    if kind != "mp3":
        np.testing.assert_allclose(read_audio(path)[49000:95000] / 32768, TONE[1000:47000], atol=0.05)
    if kind in ("ogg", "flac"):
        other = io.BytesIO()
        soundfile.write(other, TONE, 8000, format=kind.upper())
        path.write_bytes(data_of(kind) + other.getvalue())
        with pytest.raises(UserError, match="its stream 2 has 1 channels at 8000 Hz"):
            read_audio(path)


def without_xing(bit_rates) -> bytes:
    """MP3 frames of a tone with several bit rates, without the Xing frame that counts them."""
    out = b""
    for level in bit_rates:
        file = io.BytesIO()
        soundfile.write(file, TONE, 16000, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
        data = file.getvalue()
        second = data.find(data[:2], 4)
        out += data[second:]
    return out


@pytest.mark.parametrize("bit_rates", [[0.5], [0.9, 0.1], [0.1, 0.9, 0.3]])
def test_mp3_without_a_header(tmp_path, bit_rates, capfd):
    path, data = tmp_path / "x.mp3", without_xing(bit_rates)
    tag = b"ID3\x04\0\0\0\0\x10\0" + b"\xff\xfb" * 1024
    for content in (data, tag + data, bytes(3000) + data, data[:1500] + tag + data[1500:] + b"TAG" + b"\xff" * 125):
        path.write_bytes(content)
        found = lengths(path)
        assert found[0] == found[1] and abs(found[0] - 48000 * len(bit_rates)) < 3500 * len(bit_rates)
    assert capfd.readouterr() == ("", "")


def test_mp3_with_a_wrong_byte_count(tmp_path, capfd):
    data, path = bytearray(data_of("mp3")), tmp_path / "x.mp3"
    at = data.index(b"Xing") + 12
    data[at:at + 4] = b"\0\0\1\0"
    path.write_bytes(data)
    assert lengths(path) == (48000, 48000) and capfd.readouterr() == ("", "")


def test_invalid_content_is_rejected(tmp_path):
    path = tmp_path / "x.wav"
    data = data_of("wav")
    for rate in (0x7FFFFFFF, 16):
        path.write_bytes(data[:24] + struct.pack("<I", rate) + data[28:])
        with pytest.raises(UserError, match=f"its header gives a sampling rate of {rate} Hz, which cannot be right"):
            read_audio(path)
    ogg = data_of("ogg")
    path.write_bytes(ogg[:5] + b"\0" + ogg[6:])  # no page begins a stream
    with pytest.raises(UserError):
        read_audio(path)
    soundfile.write(str(path), 6000 * TONE, 16000, subtype="FLOAT")
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match="samples up to 1200, but floats must be in ±1; divide"):
            read(path)
    soundfile.write(str(path), 3 * TONE, 16000, subtype="DOUBLE")
    assert np.abs(read_audio(path)).max() == pytest.approx(0.6 * 32768, rel=0.01)


def test_format_is_detected_by_content_not_by_name(tmp_path, capfd):
    for name in ("x.raw", "x.mp3", "x"):
        (tmp_path / name).write_bytes(data_of("wav"))
        assert lengths(tmp_path / name) == (48000, 48000)
    (tmp_path / "x.raw").write_bytes(TONE.tobytes())
    with pytest.raises(UserError, match="x.raw: raw PCM.*sox -t raw.* x.raw x.wav"):
        read_audio(tmp_path / "x.raw")
    (tmp_path / "x.mp3").write_text("<html>moved</html>")
    with pytest.raises(UserError, match="it is a web page"):
        read_audio(tmp_path / "x.mp3")
    assert capfd.readouterr() == ("", "")


def test_block_size_does_not_grow_with_channels(tmp_path):
    soundfile.write(str(tmp_path / "x.wav"), np.zeros((50000, 60)), 16000)
    with Recording(tmp_path / "x.wav") as f:
        blocks = list(f.blocks())
        assert f.channels == 60 and sum(map(len, blocks)) == f.samples() == 50000 and len(blocks) == 3


def test_spliced_file_reads_as_concatenated_parts():
    f, rng = io.BytesIO(bytes(range(256))), np.random.default_rng(0)
    spliced = Spliced(f, [(3, 10), b"abc", (20, 20), b"", (0, 100)])
    whole = bytes(range(3, 10)) + b"abc" + bytes(range(100))
    for _ in range(200):
        at, size = int(rng.integers(0, len(whole) + 5)), int(rng.integers(0, 60))
        assert spliced.seek(at) == at and spliced.read(size) == whole[at:at + size]
    assert spliced.seek(-4, io.SEEK_END) == len(whole) - 4 and spliced.read() == whole[-4:]
