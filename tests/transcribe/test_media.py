"""Recordings of several kinds, rates and numbers of channels, and what is wrong with some."""

import os
import stat
import subprocess

import numpy as np
import pytest
import soundfile

from lstmp.errors import UserError
from lstmp.transcribe import media
from lstmp.transcribe.media import RawPcm, read_recording, recording_blocks

SECONDS = 2.0


def tone(rate, seconds=SECONDS):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_any_kind_and_rate_is_the_same_tone(tmp_path, rate, kind):
    path = tmp_path / f"x.{kind}"
    soundfile.write(str(path), tone(rate), rate)
    samples = read_recording(path)
    assert samples.dtype == np.float32 and len(samples) == pytest.approx(16000 * SECONDS, rel=0.05)
    middle = samples[8000:24000] / 32768
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() == 440 and np.abs(middle).max() == pytest.approx(0.5, rel=0.1)


def test_channels_are_averaged(tmp_path):
    left, right = tone(16000), -tone(16000) / 2
    soundfile.write(str(tmp_path / "x.wav"), np.stack([left, right], 1), 16000, subtype="FLOAT")
    assert np.allclose(read_recording(tmp_path / "x.wav"), 32768 * left / 4, atol=0.01)


def test_long_recordings_come_in_pieces_that_fit_together(tmp_path):
    long = np.random.default_rng(0).uniform(-0.5, 0.5, 25 * 44100)
    soundfile.write(str(tmp_path / "x.wav"), long, 44100)
    blocks = list(recording_blocks(tmp_path / "x.wav"))
    assert len(blocks) == 3 and abs(sum(map(len, blocks)) - 25 * 16000) <= 1


@pytest.mark.parametrize("channels", [1, 2])
def test_raw_pcm_in_odd_pieces(channels):
    samples = np.random.default_rng(0).integers(-3000, 3000, (1000, channels)).astype("<i2")
    pcm, data, got, at = RawPcm(16000, channels), samples.tobytes(), [], 0
    for size in (1, 2, 3, 500, 7, 10_000):
        got.append(pcm(data[at:at + size]))
        at += size
    assert np.allclose(np.concatenate(got), samples.mean(1))
    with pytest.raises(UserError, match="--rate"):
        RawPcm(16000, 0)


def test_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "ffmpeg_program", lambda: None)
    with pytest.raises(UserError, match="no such audio file"):
        read_recording(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_text("this is text")
    with pytest.raises(UserError, match="there is no ffmpeg; install ffmpeg"):
        read_recording(tmp_path / "x.wav")
    soundfile.write(str(tmp_path / "empty.wav"), np.zeros(0), 16000)
    with pytest.raises(UserError, match="holds no samples"):
        read_recording(tmp_path / "empty.wav")
    soundfile.write(str(tmp_path / "nan.wav"), np.full(100, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(UserError, match="not numbers"):
        read_recording(tmp_path / "nan.wav")


def a_program(folder, text):
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_libsndfile_does_not_read_goes_through_ffmpeg(tmp_path, monkeypatch):
    """A stand-in for ffmpeg: the real one may not be installed."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "x.m4a").write_bytes(b"not for libsndfile")
    a_program(tmp_path, r"printf '\001\000\002\000\003\000'")
    assert read_recording(tmp_path / "x.m4a").tolist() == [1, 2, 3]
    a_program(tmp_path, "echo 'Invalid data found' >&2; exit 1")
    with pytest.raises(UserError, match="x.m4a: cannot be read as audio: Invalid data found"):
        read_recording(tmp_path / "x.m4a")
    a_program(tmp_path, r"for i in $(seq 3000); do echo 'a line of complaint about it' >&2; done; printf '\001\000'")
    assert read_recording(tmp_path / "x.m4a").tolist() == [1]
    a_program(tmp_path, "exit 0")
    with pytest.raises(UserError, match="no samples in it"):
        read_recording(tmp_path / "x.m4a")


@pytest.mark.parametrize("name, codec, rate, channels, least", [
    ("x.m4a", "aac", 44100, 2, 0.99), ("x.webm", "libopus", 48000, 1, 0.97), ("x.wma", "wmav2", 22050, 1, 0.98),
    ("x.mkv", "flac", 16000, 1, 0.9999)])
def test_ffmpeg_itself(tmp_path, monkeypatch, name, codec, rate, channels, least):
    """The program of imageio-ffmpeg, on formats that libsndfile does not know; one is a film."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))  # not the system's
    time = np.arange(2 * rate) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time) * (time > 0.5) + 0.1 * np.sin(2 * np.pi * 1000 * time)
    soundfile.write(str(tmp_path / "x.wav"), np.stack([wave] * channels, 1), rate)
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=2"] if name.endswith("mkv") else []
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", tmp_path / "x.wav", *picture, "-c:a", codec,
                    tmp_path / name], check=True)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(str(tmp_path / name))
    expected, found = read_recording(tmp_path / "x.wav"), read_recording(tmp_path / name)
    assert abs(len(found) - len(expected)) < 3000  # codecs add a frame
    n = min(len(found), len(expected)) - 3000
    apart = range(0, 3000)  # and delay
    alike = max(np.corrcoef(expected[:n], found[d:d + n])[0, 1] for d in apart if d + n <= len(found))
    assert alike > least and np.abs(found).max() == pytest.approx(np.abs(expected).max(), rel=0.2)
