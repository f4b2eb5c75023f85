"""Decodes audio files completely, even if the length in their header is wrong.

Headers are wrong if a program wrote to a pipe, was killed, or never set the length. libsndfile decodes the file, but
with a corrected header. A file that is really truncated is an error, as far as its format allows that to be detected.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from lstmp.corpus.foreign import describe_non_audio
from lstmp.corpus.overheard import CapturedStderr
from lstmp.corpus.samples import MAX_FLOAT, RATES, check_float_samples
from lstmp.corpus.spliced import Spliced
from lstmp.corpus.truthful import REFETCH, Stream, streams
from lstmp.errors import UserError
from lstmp.log import warn

_BLOCK = 1 << 20  # values decoded at a time, whatever sampling rate and channels the header declares
_MP3_BLOCK = 1 << 14  # the same for MP3: smaller, to locate the decoder's messages
_SEARCH_BLOCK = 1 << 12  # samples decoded at a time while locating an error


class UnsupportedFormat(UserError):
    """The file is not audio, or has a format that libsndfile does not read."""


class _ForwardReader(soundfile.SoundFile):
    """Reads forwards only: seeking takes time and makes the MP3 decoder print messages."""

    def seekable(self) -> bool:
        return False


class Recording:
    """An open audio file; use it as a context manager.

    Args:
        path: path of the file.
        display_name: name for messages; None: the path.

    Attributes:
        path: name for messages.
        rate, channels: sampling rate in Hz and number of channels.

    Raises:
        UnsupportedFormat: the file is not audio, or has a format that libsndfile does not read.
        UserError: the file is missing, empty, truncated or without samples.
    """

    def __init__(self, path, display_name=None):
        self.path = Path(display_name or path)
        self._file = self._open(Path(path))
        try:
            self._streams = self._find_streams()
            first = self._streams[0]
            with self._decoder(first) as f:
                self.rate, self.channels = f.samplerate, f.channels
                if not f.frames:
                    raise self._error("the audio file contains no samples")
                if self.rate not in RATES:
                    raise self._error(f"its header gives a sampling rate of {self.rate} Hz, which cannot be right")
                self._count_by_end = (not first.mp3 and f.subtype not in ("FLOAT", "DOUBLE")
                                    and len(self._streams) == 1 and first.declared != 0)
                self._declared = f.frames if first.declared is None else first.declared
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path) -> BinaryIO:
        if os.path.isdir(path):  # unlike Path.is_dir, it is False for a name that is too long
            raise UserError("it is a folder", file=self.path, hint="give the files in it")
        if os.path.islink(path) and not os.path.exists(path):
            raise UserError(f"a link to {os.readlink(path)}, which is missing", file=self.path, hint="check the link")
        if not os.path.isfile(path):
            what = "a pipe or a device, not a file" if os.path.exists(path) else "no such audio file"
            raise UserError(what, file=self.path, hint="check the path")
        try:
            self._size = os.stat(path).st_size
            if not self._size:
                raise self._error("the audio file is empty")
            return open(path, "rb")
        except OSError as e:
            raise UserError(f"cannot be opened: {e.strerror or e}", file=self.path,
                            hint="check its owner and mode, and the disk") from None

    def _find_streams(self) -> list[Stream]:
        try:
            return streams(self._file, self._size)
        except UserError as e:
            raise UserError(e.what, file=self.path, hint=e.hint) from None
        except OSError as e:
            raise UserError(f"cannot be read: {e.strerror or e}", file=self.path, hint="check the disk") from None

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, exc_type, value, traceback):
        self._file.close()

    def samples(self) -> int:
        """Count the samples per channel; decodes only the end of the file if that suffices.

        Raises:
            UserError: as for :meth:`blocks`.
        """
        if self._count_by_end:
            stream = self._streams[0]
            view = Spliced(self._file, stream.parts)
            try:
                with soundfile.SoundFile(view) as f:
                    tail = min(f.frames, f.samplerate // 10)
                    if tail < f.frames:
                        f.seek(f.frames - tail)
                    if len(f.read(tail)) == tail and (stream.open_length is None or view.tell() == view.size):
                        return f.frames
            except soundfile.LibsndfileError:
                pass  # decoding everything below reports where the file is damaged
        return sum(len(block) for block in self._all_blocks())

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all samples in blocks: float32 [n, channels], full scale 1. Logs a warning if the file is unusual.

        Raises:
            UserError: the file is truncated or damaged, its streams differ in rate or channels, or samples are not
                finite or far beyond full scale.
        """
        for warning in dict.fromkeys(s.warning for s in self._streams if s.warning):
            warn(f"{self.path}: {warning}")
        complaints: list[float] = []
        yield from self._all_blocks(complaints)
        if complaints and not any(s.warning for s in self._streams if s.mp3):
            times = "once" if len(complaints) == 1 else f"{len(complaints)} times"
            warn(f"{self.path}: damaged: the MP3 decoder complained {times}, first after {complaints[0]:.1f} s; its "
                 "output is used")

    def _all_blocks(self, complaints: list[float] | None = None) -> Iterator[np.ndarray]:
        """``complaints``: the time in seconds of each message of the decoder is appended."""
        read = 0
        for n, stream in enumerate(self._streams):
            with self._decoder(stream) as f:
                if (f.samplerate, f.channels) != (self.rate, self.channels):
                    raise UserError(f"its stream {n + 1} has {f.channels} channels at {f.samplerate} Hz, the first "
                                    f"{self.channels} at {self.rate} Hz", file=self.path, hint="split it into files")
                for block in self._decoded(f, stream, read, [] if complaints is None else complaints):
                    read += len(block)
                    yield block
        only = self._streams[0] if len(self._streams) == 1 else None
        if only and read < self._declared or not read:
            raise self._error(f"cut off: {read} of {self._declared} samples can be decoded")
        if only and only.open_length:
            yield from self._beyond_declared(only, read)

    def _decoded(self, f: _ForwardReader, stream: Stream, samples_before: int = 0,
                 complaints: list[float] | None = None) -> Iterator[np.ndarray]:
        """``samples_before``: number of samples in the preceding streams."""
        max_frames, read = max(1, (_MP3_BLOCK if stream.mp3 else _BLOCK) // self.channels), 0
        while read < f.frames:  # not further: a tag may follow, which the decoder complains about
            with CapturedStderr() if stream.mp3 else contextlib.nullcontext() as captured:
                try:
                    block = f.read(min(max_frames, f.frames - read), dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as e:
                    after = (samples_before + self._samples_before_damage(stream)) / self.rate
                    raise self._error(f"cut off, or damaged after {after:.1f} s: {libsndfile_reason(e)}") from None
            if not len(block):
                return
            if stream.mp3:  # damaged frames may decode to huge values, without a message
                invalid = ~(np.abs(block) <= MAX_FLOAT)
                block[invalid] = 0
                if complaints is not None:
                    assert captured is not None
                    complaints += [(samples_before + read) / self.rate] * max(captured.complaints, int(invalid.any()))
            check_float_samples(block, self.path)
            read += len(block)
            yield block

    def _samples_before_damage(self, stream: Stream) -> int:
        """Count the samples of a stream before the first damage; the block with the damage cannot be decoded."""
        read = 0
        with self._decoder(stream) as f, CapturedStderr(), contextlib.suppress(soundfile.LibsndfileError):
            while n := len(f.read(_SEARCH_BLOCK, always_2d=True)):
                read += n
        return read

    def _beyond_declared(self, stream: Stream, declared: int) -> Iterator[np.ndarray]:
        """Yield the samples of a FLAC file beyond the number in its header (``declared``)."""
        assert stream.open_length is not None
        begin, unlimited = 0, Stream(stream.open_length)
        with self._decoder(unlimited) as f, contextlib.suppress(UserError):  # such as a tag
            for block in self._decoded(f, unlimited):
                if begin + len(block) > declared:
                    yield block[max(0, declared - begin):]
                begin += len(block)

    def _decoder(self, stream: Stream) -> _ForwardReader:
        try:
            with CapturedStderr() if stream.mp3 else contextlib.nullcontext():
                return _ForwardReader(Spliced(self._file, stream.parts))
        except soundfile.LibsndfileError as e:
            self._file.seek(0)
            raise describe_non_audio(self.path, self._file.read(1024)) or UnsupportedFormat(
                f"cannot be read as audio: {libsndfile_reason(e)}", file=self.path, hint="if it is audio, convert it: "
                f"`ffmpeg -i {self.path.name} out.wav`; WAV, FLAC, MP3 and Opus are read") from None

    def _error(self, what: str) -> UserError:
        return UserError(what, file=self.path, hint=REFETCH)


def libsndfile_reason(error) -> str:
    """Return libsndfile's description of an error."""
    return str(getattr(error, "error_string", error)).rstrip(". \n") or "damaged"
