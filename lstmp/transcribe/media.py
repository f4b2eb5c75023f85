"""Reads recordings of any format as 16 kHz mono: with libsndfile, or with ffmpeg if libsndfile cannot read them.

The content of a pipe, such as ``<(zcat a.wav.gz)``, is copied to a file first.
ffmpeg is taken from PATH, or else from the package imageio-ffmpeg.
"""

import contextlib
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from lstmp import files
from lstmp.corpus.audio import RATE
from lstmp.corpus.recording import Recording, UnsupportedFormat
from lstmp.corpus.samples import FULL_SCALE, RATES, Mixer, check_float_samples
from lstmp.errors import UserError
from lstmp.log import warn

_FILES = {b"RIFF": "a WAV file", b"RF64": "a WAV file", b"RIFX": "a WAV file", b"fLaC": "a FLAC file",
          b"OggS": "an Ogg file", b"ID3": "an MP3 file", b"FORM": "an AIFF file", b".snd": "an AU file",
          b"caff": "a CAF file", b"riff": "a Wave64 file", b"NIST": "a SPHERE file"}  # by their first bytes
_FFMPEG_BLOCK = 1 << 18  # values that are read from ffmpeg at a time
_PIPE_BLOCK = 1 << 20  # bytes that are read from a pipe at a time
_PIPE_TIMEOUT = 2.0  # seconds to wait until a program writes into a pipe
_FFMPEG_PREFIX = re.compile(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )+")  # the component of ffmpeg, before its message
_UNSPECIFIC = ("Error opening", "Nothing was written", "Conversion failed", "Terminating thread")  # not the reason
_MAX_OVERSHOOT = 2.0  # times full scale: decoders and resampling overshoot by less


def read_recording(path) -> np.ndarray:
    """Read all samples of a file: float32 [n] at 16 kHz, ±32768, one channel.

    Raises:
        UserError: no such file, not audio, truncated, without samples, too large for the memory, or with values that
            are not finite.
    """
    try:
        return _within_scale(np.concatenate([np.zeros(0, np.float32), *recording_blocks(path)]), path)
    except MemoryError:
        raise UserError("does not fit into memory", file=path, hint="cut it into parts") from None


def _within_scale(samples: np.ndarray, path) -> np.ndarray:
    """Scale samples to ±32768 if they are so far beyond it that clipping would damage the signal."""
    beyond = np.abs(samples).max(initial=0.0) / FULL_SCALE
    if beyond <= _MAX_OVERSHOOT:
        return samples
    warn(f"{path}: its samples are up to {beyond:.1f} times full scale; they are divided by that factor")
    return samples / beyond


def recording_blocks(path) -> Iterator[np.ndarray]:
    """Like :func:`read_recording`, but in blocks, so that a long recording need not fit into memory."""
    with _as_file(path) as file:
        try:
            with Recording(file, path) as f:
                yield from _at_one_rate(f.blocks(), f.rate, path)
        except UnsupportedFormat as e:
            yield from _by_ffmpeg(file, e, path)


@contextlib.contextmanager
def _as_file(path) -> Iterator[Path]:
    """A temporary file with the content of ``path`` if that is a pipe; any other path unchanged."""
    try:
        piped = stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:  # reported when it is opened
        piped = False
    if not piped:
        yield Path(path)
        return
    with files.temporary_folder() as work:
        _copy_pipe(path, work / "sound")
        yield work / "sound"


def _copy_pipe(path, copy: Path):
    """Copy the content of a pipe to a file.

    Raises:
        UserError: the pipe cannot be opened, or no program writes into it.
    """
    try:
        source = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # else this would wait forever if no program writes into it
    except OSError as e:
        raise UserError(f"cannot be opened: {e.strerror or e}", file=path, hint="give a file") from None
    with open(source, "rb", buffering=0) as f, open(copy, "wb") as out:
        until, data = time.monotonic() + _PIPE_TIMEOUT, b""
        while data == b"" and time.monotonic() < until:
            data = f.read(_PIPE_BLOCK)  # None: a program has opened the pipe, but has not written yet
            time.sleep(0 if data else 0.02)
        os.set_blocking(source, True)
        while data := data or f.read(_PIPE_BLOCK):
            out.write(data)
            data = b""
        if not out.tell():
            raise UserError("a pipe that gives no data", file=path, hint="check the command that writes into it")


def _at_one_rate(blocks: Iterable[np.ndarray], rate: int, path) -> Iterator[np.ndarray]:
    """Convert blocks of samples in ±1, [n, channels], to one channel at 16 kHz and ±32768."""
    to_rate, mixed = Resampler(rate), Mixer(path)
    for block in blocks:
        yield to_rate(mixed(block) * FULL_SCALE)
    yield to_rate(np.zeros(0, np.float32), last=True)


def on_standard_input(rate: int, channels: int, seconds: float) -> Iterator[np.ndarray]:
    """Read raw PCM from the standard input as it arrives, at most ``seconds`` at a time.

    The blocks are like those of :func:`recording_blocks`.

    Raises:
        UserError: no data arrives, or it is an audio file instead of raw PCM.
    """
    pcm, size = RawPcm(rate, channels), max(2, round(seconds * rate) * 2 * channels)
    begin: bytes | None = b""
    while data := os.read(0, size):
        if begin is not None:
            begin += data
            if len(begin) < 4:
                continue
            data, begin = begin, None
            if file_type := next((name for magic, name in _FILES.items() if data.startswith(magic)), None):
                raise UserError(f"{file_type} on the standard input, where raw PCM is expected", hint="give the name "
                                "of the file, or convert it to raw PCM: `sox FILE -t raw -e signed -b 16 -c 1 -r 16000 "
                                "- | …`")
        yield pcm(data)
    if begin == b"":
        raise UserError("no data on the standard input", hint="check the command before the `|`")
    yield pcm(begin or b"", last=True)


class Resampler:
    """Resamples from ``rate`` to 16 kHz, chunk by chunk."""

    def __init__(self, rate: int):
        self._stream = None if rate == RATE else soxr.ResampleStream(rate, RATE, 1, dtype="float32")

    def __call__(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        return samples if self._stream is None else self._stream.resample_chunk(samples, last=last)


class Pieces:
    """Cuts samples that arrive in blocks of any length into pieces of one length.

    Pauses are looked for after each piece, so results would depend on the blocks without this.

    Args:
        size: samples of a piece.
    """

    def __init__(self, size: int):
        self._size, self._rest = size, np.zeros(0, np.float32)

    def __call__(self, samples: np.ndarray, last: bool = False) -> Iterator[np.ndarray]:
        """Yield the pieces that are complete, and with ``last`` the rest."""
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) if last else len(samples) - len(samples) % self._size
        self._rest = samples[whole:]
        for begin in range(0, whole, self._size):
            yield samples[begin:min(begin + self._size, whole)]


class RawPcm:
    """Converts 16-bit little-endian PCM, in pieces of any number of bytes, to samples at 16 kHz.

    Args:
        rate: samples per second and channel.
        channels: number of interleaved channels; they are mixed into one.
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
    """The path of ffmpeg; None if it is not installed."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # not installed, or it contains no program for this machine
        return None


def _by_ffmpeg(file: Path, unknown: UnsupportedFormat, path) -> Iterator[np.ndarray]:
    if (program := ffmpeg_program()) is None:
        raise UserError(f"{unknown.what}, and there is no ffmpeg", file=path,
                        hint="if it is audio or video, install ffmpeg or the Python package imageio-ffmpeg, or convert "
                             "it to a WAV file")
    command = [program, "-nostdin", "-v", "error", "-i", f"file:{file}", "-vn", "-f", "au", "-c:a", "pcm_f32be", "-"]
    read = 0
    with tempfile.TemporaryFile() as errors:  # not a pipe, which would fill up because it is read only later
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
        messages = [_FFMPEG_PREFIX.sub("", line)
                    for line in errors.read().decode(errors="replace").strip().splitlines()]
    if ffmpeg.returncode or not read:
        if _has_only_video(program, file):
            raise UserError("it contains no audio track", file=path, hint="give the file that contains the sound")
        why = next((line for line in reversed(messages) if not any(text in line for text in _UNSPECIFIC)), None)
        why = why or ("unknown format" if messages else "it contains no samples")
        if "Format not recognised" not in unknown.what:  # libsndfile knows the format, and what is wrong
            raise UserError(unknown.what, file=path, hint="fetch or make it again")
        raise UserError(f"cannot be read as audio: {why}", file=path, hint="fetch or make it again")
    if messages:
        warn(f"{path}: truncated or damaged, as ffmpeg reports in {len(messages)} line{'s' * (len(messages) > 1)}, the "
             f"last `{messages[-1]}`; {read / RATE:.1f} s of it are read")


def _floats(stream, channels: int, path) -> Iterator[np.ndarray]:
    size = 4 * channels * (_FFMPEG_BLOCK // channels)
    while data := stream.read(size):
        block = np.frombuffer(data[:len(data) - len(data) % (4 * channels)], ">f4").astype(np.float32)
        check_float_samples(block, path)
        yield block.reshape(-1, channels)


def _has_only_video(program: str, path) -> bool:
    """Whether ffmpeg finds streams in a file, but none of them is audio."""
    output = subprocess.run([program, "-nostdin", "-hide_banner", "-i", f"file:{path}"], capture_output=True).stderr
    streams = [line for line in output.splitlines() if line.strip().startswith(b"Stream #")]
    return bool(streams) and not any(b"Audio:" in line for line in streams)
