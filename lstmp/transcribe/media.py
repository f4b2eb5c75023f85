"""Recordings of any kind to 16 kHz, mono: what libsndfile reads, and the rest through ffmpeg.

ffmpeg is the one on PATH, or else that of the package imageio-ffmpeg.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from lstmp.corpus.audio import RATE
from lstmp.errors import UserError

_BLOCK_SECONDS = 10
_MP3_BLOCK_SECONDS = 60  # between two blocks the decoder is set back a little, and complains on the standard error


def read_recording(path) -> np.ndarray:
    """All samples of a file: float32 [n] at 16 kHz, ±32768, the mean of its channels.

    Raises:
        UserError: no such file, not audio, cut off, no samples, or values that are not finite.
    """
    blocks = list(recording_blocks(path))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def recording_blocks(path) -> Iterator[np.ndarray]:
    """The same in pieces of 10 seconds, of MP3 of a minute, so that a long recording need not fit into memory."""
    path = Path(path)
    if not path.is_file():
        raise UserError("no such audio file", file=path, mend="check the path")
    try:
        f = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError as e:
        yield from _by_ffmpeg(path, str(e))
        return
    with f:
        if not f.frames:
            raise UserError("the audio file holds no samples", file=path, mend="record it again")
        to_rate, read = Resampler(f.samplerate), 0
        block_seconds = _MP3_BLOCK_SECONDS if f.format == "MP3" else _BLOCK_SECONDS
        while read < f.frames:
            try:
                block = f.read(block_seconds * f.samplerate, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as e:
                raise UserError(f"damaged after {read / f.samplerate:.1f} s: {e}", file=path,
                                mend="fetch or make it again") from None
            if not len(block):
                raise UserError(f"cut off: {read} of {f.frames} samples can be decoded", file=path,
                                mend="fetch or make it again")
            read += len(block)
            yield to_rate(_scaled(block, path), last=read >= f.frames)


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
        channels: interleaved; their mean is taken.
    """

    def __init__(self, rate: int = RATE, channels: int = 1):
        if not (1000 <= rate <= 768000 and 1 <= channels <= 64):
            raise UserError(f"raw PCM of {rate} Hz and {channels} channels", mend="check --rate and --channels")
        self._channels, self._resampler, self._rest = channels, Resampler(rate), b""

    def __call__(self, data: bytes, last: bool = False) -> np.ndarray:
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        return self._resampler(samples, last)


def _scaled(block: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(block).all():
        raise UserError("holds samples that are not numbers (NaN or infinite)", file=path, mend="make it again")
    return block.mean(axis=1) * np.float32(32768)


def ffmpeg_program() -> str | None:
    """ffmpeg, as the shell calls it; None: there is none."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # not installed, or without a program for this machine
        return None


def _by_ffmpeg(path: Path, why: str) -> Iterator[np.ndarray]:
    if (program := ffmpeg_program()) is None:
        raise UserError(f"libsndfile cannot read it ({why.strip().rstrip('.')}), and there is no ffmpeg", file=path,
                        mend="install ffmpeg, or the Python package imageio-ffmpeg, or convert the file to WAV")
    command = [program, "-nostdin", "-v", "error", "-i", f"file:{path}", "-vn", "-ac", "1", "-ar", str(RATE), "-f",
               "s16le", "-"]
    pcm, read = RawPcm(), 0
    with tempfile.TemporaryFile() as errors:  # not a pipe, which would fill while nobody reads it
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as ffmpeg:
            while data := ffmpeg.stdout.read(2 * RATE * _BLOCK_SECONDS):
                read += len(data)
                yield pcm(data)
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if ffmpeg.returncode or not read:
        raise UserError(f"cannot be read as audio: {said[-1] if said else 'no samples in it'}", file=path,
                        mend="fetch or make it again")
