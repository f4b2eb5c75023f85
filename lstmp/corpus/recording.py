"""An audio file, decoded to its end whatever its header says of its length.

Headers are wrong where a program wrote into a pipe, was killed, or never put the length there. What is really cut off
is told, as far as a file lets it be seen. libsndfile decodes, and is shown a header that is right.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from lstmp.corpus.foreign import not_sound
from lstmp.corpus.overheard import Overheard
from lstmp.corpus.samples import LOUDEST, RATES, must_be_sound
from lstmp.corpus.spliced import Spliced
from lstmp.corpus.truthful import REFETCH, Stream, streams
from lstmp.errors import UserError
from lstmp.log import warn

_BLOCK = 1 << 20  # values that are decoded at a time, whatever rate and number of channels a header claims
_OF_MP3 = 1 << 14  # of an MP3 file, so that it is known where its decoder complains
_PLACED = 1 << 12  # as many, where the place of a fault is looked for


class Unknown(UserError):
    """Not audio, or of a kind that libsndfile does not read."""


class _Onward(soundfile.SoundFile):
    """Read from begin to end and never set back, which costs time and makes the MP3 decoder complain."""

    def seekable(self) -> bool:
        return False


class Recording:
    """An open file; it is closed at the end of a ``with`` block.

    Args:
        path: of the file.
        named: what messages call it; None: its path.

    Attributes:
        path: what messages call it.
        rate, channels: of the samples.

    Raises:
        Unknown: not audio, or of a kind that libsndfile does not read.
        UserError: missing, empty, without samples, cut off.
    """

    def __init__(self, path, named=None):
        self.path = Path(named or path)
        self._file = self._opened(Path(path))
        try:
            self._streams = self._looked_through()
            first = self._streams[0]
            with self._decoder(first) as f:
                self.rate, self.channels = f.samplerate, f.channels
                if not f.frames:
                    raise self._fault("the audio file holds no samples")
                if self.rate not in RATES:
                    raise self._fault(f"sampled at {self.rate} Hz, as its header says, which cannot be right")
                self._by_its_end = (not first.mp3 and f.subtype not in ("FLOAT", "DOUBLE")
                                    and len(self._streams) == 1 and first.promised != 0)
                self._promised = f.frames if first.promised is None else first.promised
        except BaseException:
            self._file.close()
            raise

    def _opened(self, path: Path) -> BinaryIO:
        if os.path.isdir(path):  # unlike a Path, it takes a name that is too long for one that is not there
            raise UserError("it is a folder", file=self.path, hint="give the files in it")
        if os.path.islink(path) and not os.path.exists(path):
            raise UserError(f"a link to {os.readlink(path)}, which is not there", file=self.path, hint="check the link")
        if not os.path.isfile(path):
            what = "a pipe or a device, no file" if os.path.exists(path) else "no such audio file"
            raise UserError(what, file=self.path, hint="check the path")
        try:
            self._size = os.stat(path).st_size
            if not self._size:
                raise self._fault("the audio file is empty")
            return open(path, "rb")
        except OSError as e:
            raise UserError(f"cannot be opened: {e.strerror or e}", file=self.path,
                            hint="check its owner and mode, and the disk") from None

    def _looked_through(self) -> list[Stream]:
        try:
            return streams(self._file, self._size)
        except UserError as e:
            raise UserError(e.what, file=self.path, hint=e.hint) from None
        except OSError as e:
            raise UserError(f"cannot be read: {e.strerror or e}", file=self.path, hint="check the disk") from None

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, kind, value, traceback):
        self._file.close()

    def samples(self) -> int:
        """How many samples of each channel there are; decodes what must be, which may be the last ones alone.

        Raises:
            UserError: as :meth:`blocks`.
        """
        if self._by_its_end:
            stream = self._streams[0]
            view = Spliced(self._file, stream.parts)
            try:
                with soundfile.SoundFile(view) as f:
                    tail = min(f.frames, f.samplerate // 10)
                    if tail < f.frames:
                        f.seek(f.frames - tail)
                    if len(f.read(tail)) == tail and (stream.onward is None or view.tell() == view.size):
                        return f.frames
            except soundfile.LibsndfileError:
                pass  # to be told where it is damaged
        return sum(len(block) for block in self._all_blocks())

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples, in pieces: float32 [n, channels], of which full scale is 1. What is odd is warned of.

        Raises:
            UserError: cut off, damaged, streams of several rates, values that are not finite or far beyond full scale.
        """
        for odd in dict.fromkeys(s.odd for s in self._streams if s.odd):
            warn(f"{self.path}: {odd}")
        complaints: list[float] = []
        yield from self._all_blocks(complaints)
        if complaints and not any(s.odd for s in self._streams if s.mp3):
            times = "once" if len(complaints) == 1 else f"{len(complaints)} times"
            warn(f"{self.path}: damaged, as the MP3 decoder says {times}, first after {complaints[0]:.1f} s; what it "
                 "makes of it is used")

    def _all_blocks(self, complaints: list[float] | None = None) -> Iterator[np.ndarray]:
        """``complaints`` get the seconds before each complaint of a decoder."""
        read = 0
        for n, stream in enumerate(self._streams):
            with self._decoder(stream) as f:
                if (f.samplerate, f.channels) != (self.rate, self.channels):
                    raise UserError(f"its stream {n + 1} has {f.channels} channels at {f.samplerate} Hz, the first "
                                    f"{self.channels} at {self.rate}", file=self.path, hint="make a file of each")
                for block in self._decoded(f, stream, read, [] if complaints is None else complaints):
                    read += len(block)
                    yield block
        alone = self._streams[0] if len(self._streams) == 1 else None
        if alone and read < self._promised or not read:
            raise self._fault(f"cut off: {read} of {self._promised} samples can be decoded")
        if alone and alone.onward:
            yield from self._beyond(alone, read)

    def _decoded(self, f: _Onward, stream: Stream, before: int = 0,
                 complaints: list[float] | None = None) -> Iterator[np.ndarray]:
        """``before``: samples of the streams before it."""
        most, read = max(1, (_OF_MP3 if stream.mp3 else _BLOCK) // self.channels), 0
        while read < f.frames:  # not further: what follows may be a tag, which is not decoded without complaint
            with Overheard() if stream.mp3 else contextlib.nullcontext() as heard:
                try:
                    block = f.read(min(most, f.frames - read), dtype="float32", always_2d=True)
                except soundfile.LibsndfileError as e:
                    after = (before + self._decodable(stream)) / self.rate
                    raise self._fault(f"cut off, or damaged after {after:.1f} s: {reason(e)}") from None
            if not len(block):
                return
            if stream.mp3:  # of a damaged frame the decoder may make values beyond all measure, without complaint
                wild = ~(np.abs(block) <= LOUDEST)
                block[wild] = 0
                if complaints is not None:
                    complaints += [(before + read) / self.rate] * max(heard.complaints, int(wild.any()))
            must_be_sound(block, self.path)
            read += len(block)
            yield block

    def _decodable(self, stream: Stream) -> int:
        """How many samples of a stream come before a fault, since the block that holds it is lost as a whole."""
        read = 0
        with self._decoder(stream) as f, Overheard(), contextlib.suppress(soundfile.LibsndfileError):
            while n := len(f.read(_PLACED, always_2d=True)):
                read += n
        return read

    def _beyond(self, stream: Stream, promised: int) -> Iterator[np.ndarray]:
        """What a FLAC file holds beyond the samples that its header promises."""
        begin, onward = 0, Stream(stream.onward)
        with self._decoder(onward) as f, contextlib.suppress(UserError):  # a tag, or so
            for block in self._decoded(f, onward):
                if begin + len(block) > promised:
                    yield block[max(0, promised - begin):]
                begin += len(block)

    def _decoder(self, stream: Stream) -> _Onward:
        try:
            with Overheard() if stream.mp3 else contextlib.nullcontext():
                return _Onward(Spliced(self._file, stream.parts))
        except soundfile.LibsndfileError as e:
            self._file.seek(0)
            raise not_sound(self.path, self._file.read(1024)) or Unknown(
                f"cannot be read as audio: {reason(e)}", file=self.path, hint="if it is audio, make a WAV file of it: "
                f"`ffmpeg -i {self.path.name} out.wav`; WAV, FLAC, MP3 and Opus are read") from None

    def _fault(self, what: str) -> UserError:
        return UserError(what, file=self.path, hint=REFETCH)


def reason(error) -> str:
    """What libsndfile says of an error."""
    return str(getattr(error, "error_string", error)).rstrip(". \n") or "damaged"
