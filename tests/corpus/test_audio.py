"""Audio: samples come at Kaldi's scale, and no broken file passes as a sound one."""

import numpy as np
import pytest
import soundfile
from helpers.corpora import tone

from lstmp.corpus.audio import audio_info, read_audio, write_wav
from lstmp.errors import UserError

FORMATS = {"wav": {}, "flac": {}, "opus": {"format": "OGG", "subtype": "OPUS"}, "mp3": {"format": "MP3"}}


def test_wav_round_trip_at_16_bit_scale(tmp_path):
    samples = np.array([0, 1, -1, 1000, 32767, -32768] * 100, dtype=np.float32)
    write_wav(tmp_path / "a.wav", samples)
    found = read_audio(tmp_path / "a.wav")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, samples)
    write_wav(tmp_path / "b.wav", np.full(600, 40000.0))
    assert read_audio(tmp_path / "b.wav").max() == 32767


@pytest.mark.parametrize("ext", FORMATS)
def test_every_format_is_read(tmp_path, ext):
    path = tone(tmp_path / f"a.{ext}", seconds=1.0, **FORMATS[ext])
    info, samples = audio_info(path), read_audio(path)
    assert info.samples == len(samples) and abs(info.seconds - 1.0) < 0.1
    assert 3000 < np.abs(samples).max() < 10000


@pytest.mark.parametrize("ext", FORMATS)
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.05])
def test_cut_off_file_is_refused_by_header_and_by_decoding(tmp_path, ext, kept):
    path = tone(tmp_path / f"a.{ext}", seconds=3.0, **FORMATS[ext])
    raw = path.read_bytes()
    path.write_bytes(raw[:int(kept * len(raw))])
    for read in (audio_info, read_audio):
        with pytest.raises(UserError, match=f"{path}: .*; ") as e:
            read(path)
        assert e.value.hint


def nan(path):
    soundfile.write(str(path), np.full(8000, np.nan), 16000, subtype="FLOAT")


CASES = {
    "no such audio file": lambda p: None,
    "is empty": lambda p: p.write_bytes(b""),
    "cannot be read as audio": lambda p: p.write_bytes(b"not audio at all" * 100),
    "44100 Hz, not 16000": lambda p: tone(p, rate=44100),
    "2 channels, not one": lambda p: tone(p, channels=2),
    "too short": lambda p: tone(p, seconds=0.02),
    "holds no samples": lambda p: tone(p, seconds=0),
    "NaN": nan,
}


@pytest.mark.parametrize("what", CASES)
def test_bad_file(tmp_path, what):
    path = tmp_path / "a.wav"
    CASES[what](path)
    with pytest.raises(UserError) as e:
        read_audio(path)
    assert str(e.value).startswith(f"{path}: ") and what in str(e.value) and e.value.hint
    if what != "NaN":
        with pytest.raises(UserError, match=what):
            audio_info(path)


def test_stream_of_unknown_length_passes(tmp_path):
    path = tone(tmp_path / "a.wav")
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at:at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    assert len(read_audio(path)) == 8000
