"""Joined files, wrong lengths in headers, and formats inside another format are read or reported."""

import io
import struct

import numpy as np
import pytest
import soundfile

from lstmp.corpus.audio import audio_info, read_audio, read_channels
from lstmp.corpus.begins import find_next_start
from lstmp.errors import UserError

RATE = 16000
ONE, TWO = (np.convolve(np.random.default_rng(n).uniform(-0.3, 0.3, 20000), np.ones(9) / 4, "same").astype(np.float32)
            for n in (1, 2))  # nothing above 3 kHz, which encoders would leave out
FMT = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)


def data_of(samples, kind="WAV", rate=RATE, **options) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, **options)
    return file.getvalue()


def pcm(samples) -> bytes:
    return np.rint(samples * 32768).astype("<i2").tobytes()


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def wav(*chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", sum(map(len, chunks)) + 4) + b"WAVE" + b"".join(chunks)


def placed(path, data: bytes):
    path.write_bytes(data)
    return path


def check(path, samples, atol=2e-4):
    assert audio_info(path).samples == len(samples)
    np.testing.assert_allclose(read_audio(path) / 32768, samples, atol=atol)


LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf58.29.100"))


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST"])
def test_joined_files_of_one_format(tmp_path, kind, capsys):
    check(placed(tmp_path / "x", data_of(ONE, kind) + data_of(TWO, kind) + data_of(ONE, kind)),
          np.concatenate([ONE, TWO, ONE]))
    assert capsys.readouterr().err == \
        f"warning: {tmp_path}/x: it consists of 3 joined files; they are read one after the other\n"


UNKNOWN = {"of length 0": 0, "of unknown length": 0xFFFFFFFF}


@pytest.mark.parametrize("first, second", [  # not what is one chained file, nor what has no header within the other
    *((first, second) for first in ("WAV", "with a list") for second in ("WAV", "FLAC", "OGG", "MP3")),
    *((first, second) for first in UNKNOWN for second in ("WAV", "FLAC", "OGG")),
    ("FLAC", "WAV"), ("FLAC", "OGG"), ("OGG", "WAV"), ("MP3", "WAV"), ("MP3", "FLAC"), ("MP3", "OGG")])
def test_joined_files_of_different_formats(tmp_path, first, second, capfd):
    data = wav(chunk(b"fmt ", FMT), chunk(b"data", pcm(ONE)), LIST) if first == "with a list" else \
        data_of(ONE, first if len(first) < 5 else "WAV")
    if first in UNKNOWN:
        at = data.index(b"data") + 4
        data = data[:at] + struct.pack("<I", UNKNOWN[first]) + data[at + 4:]
    path = placed(tmp_path / "x", data + data_of(TWO, second))
    lossy = "OGG" in (first, second) or "MP3" in (first, second)
    found = read_audio(path) / 32768
    assert len(found) == audio_info(path).samples == 40000
    for part, expected in ((found[:20000], ONE), (found[20000:], TWO)):
        assert np.corrcoef(part, expected)[0, 1] > (0.9 if lossy else 0.9999)
    assert capfd.readouterr().err.count("it consists of 2 joined files") == 1


def test_joined_file_with_another_rate_or_truncated(tmp_path):
    with pytest.raises(UserError, match="its stream 2 has 1 channels at 8000 Hz"):
        read_audio(placed(tmp_path / "x", data_of(ONE) + data_of(TWO, rate=8000)))
    with pytest.raises(UserError, match=f"x: cut off: .* bytes of samples, in the file that starts at byte {40044}; f"):
        read_audio(placed(tmp_path / "x", data_of(ONE) + data_of(TWO)[:20000]))


@pytest.mark.parametrize("more", [8, 36, 44])
def test_length_that_includes_the_header(tmp_path, more, capsys):
    data = wav(chunk(b"fmt ", FMT), b"data" + struct.pack("<I", 40000 + more) + pcm(ONE))
    check(placed(tmp_path / "x", data), ONE)
    with pytest.raises(UserError, match="cut off"):
        read_audio(placed(tmp_path / "x", data[:-100]))


def test_understated_length_is_reported(tmp_path, capsys):
    check(placed(tmp_path / "x", wav(chunk(b"fmt ", FMT), b"data" + struct.pack("<I", 39900) + pcm(ONE))), ONE)
    assert "its header gives 39900 bytes of samples, but there are 40000; all are read" in \
        capsys.readouterr().err


def test_unpadded_and_repeated_data_chunks(tmp_path, capsys):
    check(placed(tmp_path / "x", wav(chunk(b"fmt ", FMT), b"data" + struct.pack("<I", 39999) + pcm(ONE)[:-1], LIST)),
          ONE[:-1])  # the list is no sample, though no byte pads the samples
    check(placed(tmp_path / "x", wav(chunk(b"fmt ", FMT), chunk(b"data", pcm(ONE)), LIST, chunk(b"data", pcm(TWO)))),
          np.concatenate([ONE, TWO]))
    assert capsys.readouterr().err == ""


def test_file_transferred_as_text_is_detected(tmp_path):
    data = data_of(ONE).replace(b"\n", b"\r\n")
    with pytest.raises(UserError, match="it was transferred as text: .*; transfer it again as a binary file"):
        read_audio(placed(tmp_path / "x", data))


def test_mp3_within_wav(tmp_path, capfd):
    frames = data_of(ONE, "MP3")
    fmt = struct.pack("<HHIIHHH", 0x55, 1, RATE, 4000, 1, 0, 12) + struct.pack("<HIHHH", 1, 2, 144, 1, 1393)
    path = placed(tmp_path / "x.wav", wav(chunk(b"fmt ", fmt), chunk(b"fact", struct.pack("<I", 9)),
                                          chunk(b"data", frames)))
    assert len(read_audio(path)) == audio_info(path).samples == 20000
    assert capfd.readouterr() == ("", "")


def test_flac_after_a_tag(tmp_path):
    flac = data_of(ONE, "FLAC")
    field = int.from_bytes(flac[21:26], "big")
    unknown = flac[:21] + (field >> 36 << 36).to_bytes(5, "big") + flac[26:]
    for data in (flac, unknown, flac[:26] + bytes(range(16)) + flac[42:]):  # the last has another MD5 sum
        check(placed(tmp_path / "x", b"ID3\x03\0\0\0\0\x10\0" + bytes(2048) + data), ONE)


def test_error_gives_the_time_of_the_damage(tmp_path):
    long = np.random.default_rng(0).uniform(-0.3, 0.3, 160000)
    flac = data_of(long, "FLAC")
    with pytest.raises(UserError, match=r"cut off, or damaged after [45]\.\d s: "):
        read_audio(placed(tmp_path / "x", flac[:len(flac) // 2] + bytes(200) + flac[len(flac) // 2 + 200:]))


def test_shorten_is_rejected(tmp_path):
    head = (b"NIST_1A\n   1024\nsample_count -i 20000\nsample_n_bytes -i 2\nchannel_count -i 1\nsample_rate -i 16000\n"
            b"sample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n")
    with pytest.raises(UserError, match="compressed with shorten.*`sph2pipe -f wav IN.sph OUT.wav`"):
        read_audio(placed(tmp_path / "x.sph", head.ljust(1024) + b"ajkg" + bytes(3000)))


def test_damaged_mp3_frames_are_reported_in_one_line(tmp_path, capfd):
    frames, rng = data_of(np.tile(ONE, 4), "MP3"), np.random.default_rng(0)
    middle = len(frames) // 2
    for content in (bytes(1500), rng.bytes(1500), frames[200:300]):
        path = placed(tmp_path / "x.mp3", frames[:middle] + content + frames[middle + 1500:])
        assert 60000 < len(read_channels(path)[0]) < 80000
        assert capfd.readouterr().err.startswith(f"warning: {path}: damaged: ")
        assert audio_info(path).samples == len(read_audio(path))
        assert capfd.readouterr().err.count("\n") == 1
    data, at = bytearray(frames), middle
    for _ in range(4):  # what follows the header of a frame
        at = frames.index(frames[:2], at + 40)
        data[at + 4:at + 30] = rng.bytes(26)
    read_audio(placed(tmp_path / "x.mp3", bytes(data)))
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "libmpg123" not in err and f"{path}: damaged: the MP3 decoder complained " in err


def test_header_across_two_blocks_is_found():
    header = b"RIFF\1\2\3\4WAVE"
    for at in (1, (1 << 20) - 5, (1 << 20) + 1, 3 << 20):
        data = bytes(at) + header + bytes(100)
        assert find_next_start(io.BytesIO(data), 0, len(data)) == at
        assert find_next_start(io.BytesIO(data), at, len(data)) is None
