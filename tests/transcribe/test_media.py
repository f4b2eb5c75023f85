"""Recordings of several formats, sampling rates and numbers of channels, and errors in them."""

import os
import stat
import subprocess

import numpy as np
import pytest
import soundfile

from lstmp.errors import UserError
from lstmp.transcribe import media
from lstmp.transcribe.media import RawPcm, on_standard_input, read_recording, recording_blocks

SECONDS = 2.0


def tone(rate, seconds=SECONDS):
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_a_tone_is_the_same_in_any_format_and_rate(tmp_path, rate, kind):
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


def test_the_blocks_of_a_long_recording_fit_together(tmp_path):
    long = np.random.default_rng(0).uniform(-0.5, 0.5, 25 * 44100)
    soundfile.write(str(tmp_path / "x.wav"), long, 44100)
    blocks = list(recording_blocks(tmp_path / "x.wav"))
    assert len(blocks) > 1 and abs(sum(map(len, blocks)) - 25 * 16000) <= 1


@pytest.mark.parametrize("kind", ["wav", "raw"])
def test_if_channels_cancel_one_of_them_is_used(tmp_path, kind, capsys):
    left = tone(16000)
    both = np.stack([0.8 * left, -left], 1)
    if kind == "wav":
        soundfile.write(str(tmp_path / "x.wav"), both, 16000, subtype="FLOAT")
        found = read_recording(tmp_path / "x.wav")
    else:
        found = RawPcm(16000, 2)(np.rint(32767 * both).astype("<i2").tobytes(), last=True)
    assert np.allclose(found, -32768 * left, atol=2)
    assert capsys.readouterr().err.count("its channels cancel each other") == 1


@pytest.mark.parametrize("magic", [b"RIFF", b"fLaC", b"OggS", b"ID3\4"])
def test_an_audio_file_on_the_standard_input_is_an_error(monkeypatch, magic):
    pieces = [magic[:3], magic[3:] + bytes(100), b""]
    monkeypatch.setattr(media.os, "read", lambda *_: pieces.pop(0))
    with pytest.raises(UserError, match="file on the standard input, where raw PCM is expected; give the name"):
        list(on_standard_input(16000, 1, 1.0))


def test_nothing_on_the_standard_input(monkeypatch):
    monkeypatch.setattr(media.os, "read", lambda *_: b"")
    with pytest.raises(UserError, match="no data on the standard input"):
        list(on_standard_input(16000, 1, 1.0))


def test_raw_pcm_split_within_samples_is_read_correctly(monkeypatch):
    pieces = [b"\1", b"\0\2", b"\0\3\0", b"\4\0", b""]
    monkeypatch.setattr(media.os, "read", lambda *_: pieces.pop(0))
    assert np.concatenate([*on_standard_input(16000, 1, 1.0)]).tolist() == [1, 2, 3, 4]


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


def test_a_file_that_is_not_audio_gives_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "ffmpeg_program", lambda: None)
    with pytest.raises(UserError, match="no such audio file"):
        read_recording(tmp_path / "x.wav")
    with pytest.raises(UserError, match="it is a folder"):
        read_recording(tmp_path)
    for content, message in ((b"\x1aE\xdf\xa3\x01 a film", "there is no ffmpeg; if it is audio or video, install"),
                             (b"<!DOCTYPE html>\n<html>Not found</html>", "audio: it is a web page; fetch"),
                             ("Über uns".encode(), "it is text"), ("text".encode("utf-16"), "it is text"),
                             (bytes(5000), "begins with zeros"), (b"", "is empty")):
        for name in ("x.wav", "x.mp3"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=message) as e:
                read_recording(tmp_path / name)
            assert message.startswith("there") or "ffmpeg" not in str(e.value)
    (tmp_path / "x.raw").write_bytes(b"\1\2\xff\xfe" * 100)
    with pytest.raises(UserError, match="raw PCM.*transcribe it as `- --rate 16000 < x.raw`"):
        read_recording(tmp_path / "x.raw")
    soundfile.write(str(tmp_path / "empty.wav"), np.zeros(0), 16000)
    with pytest.raises(UserError, match="contains no samples"):
        read_recording(tmp_path / "empty.wav")
    soundfile.write(str(tmp_path / "nan.wav"), np.full(100, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(UserError, match="not numbers"):
        read_recording(tmp_path / "nan.wav")


@pytest.mark.parametrize("kind", ["wav", "mp3"])
def test_a_pipe_is_read_like_a_file(tmp_path, kind, capfd, monkeypatch):
    monkeypatch.setattr(media, "_PIPE_TIMEOUT", 0.5)
    soundfile.write(str(tmp_path / f"x.{kind}"), tone(16000), 16000)
    expected = read_recording(tmp_path / f"x.{kind}")
    with subprocess.Popen(["cat", tmp_path / f"x.{kind}"], stdout=subprocess.PIPE) as cat:
        assert (read_recording(f"/dev/fd/{cat.stdout.fileno()}") == expected).all()
    for content, message in ((b"", "/dev/fd/[0-9]+: a pipe that gives no data; check the command"),
                             (b"text\n", "^/dev/fd/[0-9]+: cannot be read as audio: it is text")):
        with subprocess.Popen(["printf", content], stdout=subprocess.PIPE) as printf, \
                pytest.raises(UserError, match=message):
            read_recording(f"/dev/fd/{printf.stdout.fileno()}")
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(UserError, match="pipe.wav: a pipe that gives no data"):  # it does not wait forever
        read_recording(tmp_path / "pipe.wav")
    late = f"sleep 0.2; exec 3> '{tmp_path}/pipe.wav'; sleep 0.6; cat '{tmp_path}/x.{kind}' >&3"
    with subprocess.Popen(["bash", "-c", late]):
        assert (read_recording(tmp_path / "pipe.wav") == expected).all()
    with pytest.raises(UserError, match="/dev/null: a pipe or a device, not a file"):
        read_recording("/dev/null")
    os.symlink("nowhere", tmp_path / "link.wav")
    with pytest.raises(UserError, match="link.wav: a link to nowhere, which is missing"):
        read_recording(tmp_path / "link.wav")
    assert capfd.readouterr() == ("", "")


def test_a_file_without_read_permission(tmp_path, monkeypatch):
    soundfile.write(str(tmp_path / "x.wav"), tone(16000), 16000)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(UserError, match="x.wav: cannot be opened: Permission denied; check its owner and mode"):
        read_recording(tmp_path / "x.wav")


def test_floats_far_beyond_full_scale_are_not_clipped(tmp_path, capsys):
    soundfile.write(str(tmp_path / "x.wav"), 20 * tone(16000), 16000, subtype="FLOAT")
    assert np.allclose(read_recording(tmp_path / "x.wav"), 65536 * tone(16000), atol=0.1)
    assert "x.wav: its samples are up to 10.0 times full scale; they are divided by" in capsys.readouterr().err
    soundfile.write(str(tmp_path / "x.wav"), 3 * tone(16000), 16000, subtype="FLOAT")
    assert np.abs(read_recording(tmp_path / "x.wav")).max() == pytest.approx(1.5 * 32768)
    assert capsys.readouterr().err == ""


def a_program(folder, text):
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_what_libsndfile_does_not_read_goes_through_ffmpeg(tmp_path, monkeypatch, capsys):
    """With a script in place of ffmpeg, which may not be installed."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "x.m4a").write_bytes(b"\xff not for libsndfile")
    au = r"printf '.snd\0\0\0\030\377\377\377\377\0\0\0\006\0\0\076\200\0\0\0\001"  # a header: 16 kHz, mono, floats
    a_program(tmp_path, au + r"\077\000\000\000\276\200\000\000'")
    assert read_recording(tmp_path / "x.m4a").tolist() == [16384, -8192]
    a_program(tmp_path, au + r"\077\000\000\000'; echo '[in#0/x @ 0x5f] File ended prematurely' >&2")
    capsys.readouterr()
    assert read_recording(tmp_path / "x.m4a").tolist() == [16384]
    assert capsys.readouterr().err == (f"warning: {tmp_path}/x.m4a: truncated or damaged, as ffmpeg reports in 1 line, "
                                       "the last `File ended prematurely`; 0.0 s of it are read\n")
    a_program(tmp_path, "echo 'Invalid data found' >&2; echo 'Error opening input files: what' >&2; exit 1")
    with pytest.raises(UserError, match="x.m4a: cannot be read as audio: Invalid data found"):
        read_recording(tmp_path / "x.m4a")
    a_program(tmp_path, r"for i in $(seq 3000); do echo 'a line of complaint about it' >&2; done; " + au +
              r"\077\000\000\000'")
    assert read_recording(tmp_path / "x.m4a").tolist() == [16384]
    a_program(tmp_path, "exit 0")
    with pytest.raises(UserError, match="it contains no samples"):
        read_recording(tmp_path / "x.m4a")
    a_program(tmp_path, "echo '  Stream #0:0(und): Video: h264' >&2; exit 1")
    with pytest.raises(UserError, match="it contains no audio track"):
        read_recording(tmp_path / "x.m4a")


@pytest.mark.parametrize("name, codec, rate, channels, least", [
    ("x.m4a", "aac", 44100, 2, 0.99), ("x.webm", "libopus", 48000, 1, 0.97), ("x.wma", "wmav2", 22050, 1, 0.98),
    ("x.mkv", "flac", 16000, 1, 0.9999)])
def test_ffmpeg_itself(tmp_path, monkeypatch, name, codec, rate, channels, least):
    """The program of imageio-ffmpeg, on formats that libsndfile cannot read; one file also contains video."""
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
