"""Recordings of any kind to 16 kHz, mono: what libsndfile reads, and the rest through ffmpeg.

ffmpeg is the one on PATH, or else that of the package imageio-ffmpeg.
"""

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from lstmp.corpus.audio import RATE
from lstmp.corpus.recording import Recording, Unknown
from lstmp.corpus.samples import FULL_SCALE, RATES, Mixer, must_be_sound
from lstmp.errors import UserError

_FILES = {b"RIFF": "a WAV file", b"RF64": "a WAV file", b"RIFX": "a WAV file", b"fLaC": "a FLAC file",
          b"OggS": "an Ogg file", b"ID3": "an MP3 file", b"FORM": "an AIFF file", b".snd": "an AU file",
          b"caff": "a CAF file", b"riff": "a Wave64 file", b"NIST": "a SPHERE file"}  # by their first bytes
_BLOCK = 1 << 18  # values that are taken from ffmpeg at a time


def read_recording(path) -> np.ndarray:
    """All samples of a file: float32 [n] at 16 kHz, ±32768, one channel.

    Raises:
        UserError: no such file, not audio, cut off, no samples, too many for the memory, or values that are not finite
            or far beyond full scale.
    """
    try:
        return np.concatenate([np.zeros(0, np.float32), *recording_blocks(path)])
    except MemoryError:
        raise UserError("does not fit into memory", file=path, hint="cut it into parts") from None


def recording_blocks(path) -> Iterator[np.ndarray]:
    """The same piece by piece, so that a long recording need not fit into memory."""
    try:
        with Recording(path) as f:
            yield from _at_one_rate(f.blocks(), f.rate, path)
    except Unknown as e:
        yield from _by_ffmpeg(path, e)


def _at_one_rate(blocks: Iterable[np.ndarray], rate: int, path) -> Iterator[np.ndarray]:
    """Blocks of samples in ±1, [n, channels], as one channel of 16 kHz and ±32768."""
    to_rate, mixed = Resampler(rate), Mixer(path)
    for block in blocks:
        yield to_rate(mixed(block) * FULL_SCALE)
    yield to_rate(np.zeros(0, np.float32), last=True)


def on_standard_input(rate: int, channels: int, seconds: float) -> Iterator[np.ndarray]:
    """Raw PCM on the standard input as it comes in, at most ``seconds`` at a time: as :func:`recording_blocks`.

    Raises:
        UserError: nothing comes in, or an audio file where raw PCM is expected.
    """
    pcm, size = RawPcm(rate, channels), max(2, round(seconds * rate) * 2 * channels)
    begin: bytes | None = b""
    while data := os.read(0, size):
        if begin is not None:
            begin += data
            if len(begin) < 4:
                continue
            data, begin = begin, None
            if kind := next((name for magic, name in _FILES.items() if data.startswith(magic)), None):
                raise UserError(f"{kind} on the standard input, where raw PCM is expected", hint="give the name of the "
                                "file, or make raw PCM of it: `sox FILE -t raw -e signed -b 16 -c 1 -r 16000 - | …`")
        yield pcm(data)
    if begin == b"":
        raise UserError("nothing came in on the standard input", hint="check the command before the `|`")
    yield pcm(begin or b"", last=True)


class Resampler:
    """Samples of ``rate``, piece by piece, to 16 kHz."""

    def __init__(self, rate: int):
        self._stream = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32")

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


class RawPcm:
    """Bytes of 16-bit little-endian PCM, in pieces of any length, to samples at 16 kHz.

    Args:
        rate: samples a second and channel.
        channels: interleaved; they become one.
    """

    def __init__(self, rate: int = RATE, channels: int = 1):
        if not (rate in RATES and 1 <= channels <= 64):
            raise UserError(f"raw PCM of {rate} Hz and {channels} channels", hint="check --rate and --channels")
        self._channels, self._resampler, self._rest = channels, Resampler(rate), b""
        self._mixed = Mixer("the standard input")

    def __call__(self, data: bytes, last: bool = False) -> np.ndarray:
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").reshape(-1, self._channels).astype(np.float32)
        return self._resampler(self._mixed(samples), last)


def ffmpeg_program() -> str | None:
    """ffmpeg, as the shell calls it; None: there is none."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # not installed, or without a program for this machine
        return None


def _by_ffmpeg(path, unknown: Unknown) -> Iterator[np.ndarray]:
    if (program := ffmpeg_program()) is None:
        raise UserError(f"{unknown.what}, and there is no ffmpeg", file=path,
                        hint="if it is audio or video, install ffmpeg, or the Python package imageio-ffmpeg, or make a "
                             "WAV file of it")
    command = [program, "-nostdin", "-v", "error", "-i", f"file:{path}", "-vn", "-f", "au", "-c:a", "pcm_f32be", "-"]
    read = 0
    with tempfile.TemporaryFile() as errors:  # not a pipe, which would fill while nobody reads it
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as ffmpeg:
            assert ffmpeg.stdout is not None
            head = ffmpeg.stdout.read(24)
            if len(head) == 24:  # magic, where the samples begin, how many bytes, encoding, rate, channels
                begin, _, _, rate, channels = struct.unpack(">4x5I", head)
                ffmpeg.stdout.read(begin - 24)
                for block in _at_one_rate(_floats(ffmpeg.stdout, channels, path), rate, path):
                    read += len(block)
                    yield block
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if ffmpeg.returncode or not read:
        if _is_silent_film(program, path):
            raise UserError("no audio track in it", file=path, hint="take the file that has the sound")
        raise UserError(f"cannot be read as audio: {said[-1] if said else 'no samples in it'}", file=path,
                        hint="fetch or make it again")


def _floats(stream, channels: int, path) -> Iterator[np.ndarray]:
    size = 4 * channels * (_BLOCK // channels)
    while data := stream.read(size):
        block = np.frombuffer(data[:len(data) - len(data) % (4 * channels)], ">f4").astype(np.float32)
        must_be_sound(block, path)
        yield block.reshape(-1, channels)


def _is_silent_film(program: str, path) -> bool:
    """Whether ffmpeg knows streams in a file, and none of them is audio."""
    said = subprocess.run([program, "-nostdin", "-hide_banner", "-i", f"file:{path}"], capture_output=True).stderr
    streams = [line for line in said.splitlines() if line.strip().startswith(b"Stream #")]
    return bool(streams) and not any(b"Audio:" in line for line in streams)
