"""An audio file, decoded to its end whatever its header says of its length.

Headers are wrong where a program wrote into a pipe, was killed, or never put the length there. What is really cut off
is told, as far as a file lets it be seen. libsndfile decodes, and is shown a header that is right.
"""

import contextlib
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from lstmp.corpus.chunks import samples_length
from lstmp.corpus.mp3 import Mp3
from lstmp.corpus.ogg import look_through
from lstmp.corpus.samples import RATES, must_be_sound
from lstmp.corpus.spliced import Spliced
from lstmp.errors import UserError

REFETCH = "fetch or make it again"
_RAW = (".raw", ".pcm", ".sw", ".s16", ".s16le", ".vox", ".ulaw", ".alaw", ".ul", ".al")
_BLOCK = 1 << 20  # values that are decoded at a time, whatever rate and number of channels a header claims
_FLAC = re.compile(rb"fLaC[\x00\x80]\0\0\x22")  # the only block of metadata that must be there comes first
_MISSED = 8  # bytes: less than this is no more than the last sample of some channels


class Unknown(UserError):
    """Not audio, or of a kind that libsndfile does not read."""


class _Onward(soundfile.SoundFile):
    """Read from begin to end and never set back, which costs time and makes the MP3 decoder complain."""

    def seekable(self) -> bool:
        return False


class Recording:
    """An open file; it is closed at the end of a ``with`` block.

    Attributes:
        path: of the file.
        rate, channels: of the samples.

    Raises:
        Unknown: not audio, or of a kind that libsndfile does not read.
        UserError: missing, empty, without samples, cut off.
    """

    def __init__(self, path):
        self.path = Path(path)
        if os.path.isdir(path):  # unlike a Path, it takes a name that is too long for one that is not there
            raise UserError("it is a folder", file=path, hint="give the files in it")
        if not os.path.isfile(path):
            raise UserError("no such audio file", file=path, hint="check the path")
        self._size = self.path.stat().st_size
        if not self._size:
            raise self._fault("the audio file is empty")
        self._file = open(self.path, "rb")  # noqa: SIM115
        self._to_the_end: list | None = None
        try:
            self._streams, promised = self._truthful()
            with self._decoder(self._streams[0]) as f:
                self.rate, self.channels = f.samplerate, f.channels
                if not f.frames:
                    raise self._fault("the audio file holds no samples")
                if self.rate not in RATES:
                    raise self._fault(f"sampled at {self.rate} Hz, as its header says, which cannot be right")
                self._by_its_end = (f.format != "MP3" and f.subtype not in ("FLOAT", "DOUBLE")
                                    and len(self._streams) == 1 and promised != 0)
                self._promised = f.frames if promised is None else promised
        except BaseException:
            self._file.close()
            raise

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
            view = Spliced(self._file, self._streams[0])
            try:
                with soundfile.SoundFile(view) as f:
                    tail = min(f.frames, f.samplerate // 10)
                    if tail < f.frames:
                        f.seek(f.frames - tail)
                    if len(f.read(tail)) == tail and (self._to_the_end is None or view.tell() == self._size):
                        return f.frames
            except soundfile.LibsndfileError:
                pass  # to be told where it is damaged
        return sum(len(block) for block in self.blocks())

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples, in pieces: float32 [n, channels], of which full scale is 1.

        Raises:
            UserError: cut off, damaged, streams of several rates, values that are not finite or far beyond full scale.
        """
        read = 0
        for n, stream in enumerate(self._streams):
            with self._decoder(stream) as f:
                if (f.samplerate, f.channels) != (self.rate, self.channels):
                    raise UserError(f"its stream {n + 1} has {f.channels} channels at {f.samplerate} Hz, the first "
                                    f"{self.channels} at {self.rate}", file=self.path, hint="make a file of each")
                try:
                    for block in self._decoded(f):
                        read += len(block)
                        yield block
                except soundfile.LibsndfileError as e:
                    raise self._fault(f"cut off, or damaged after {read / self.rate:.1f} s: {reason(e)}") from None
        if len(self._streams) == 1 and read < self._promised or not read:
            raise self._fault(f"cut off: {read} of {self._promised} samples can be decoded")
        if self._to_the_end and len(self._streams) == 1:
            yield from self._beyond(self._to_the_end, read)

    def _decoded(self, f: _Onward) -> Iterator[np.ndarray]:
        most, read = max(1, _BLOCK // self.channels), 0
        while read < f.frames:  # not further: what follows may be a tag, which is not decoded without complaint
            block = f.read(min(most, f.frames - read), dtype="float32", always_2d=True)
            if not len(block):
                return
            must_be_sound(block, self.path)
            read += len(block)
            yield block

    def _beyond(self, stream: list, promised: int) -> Iterator[np.ndarray]:
        """What a FLAC file holds beyond the samples that its header promises."""
        begin = 0
        with self._decoder(stream) as f, contextlib.suppress(soundfile.LibsndfileError):  # a tag, or so
            for block in self._decoded(f):
                if begin + len(block) > promised:
                    yield block[max(0, promised - begin):]
                begin += len(block)

    def _truthful(self) -> tuple[list[list], int | None]:
        """Parts of the file for :class:`Spliced`, for each stream in it, in which headers are right.

        Also the samples of each channel that it promises; 0: it does not say; None: what libsndfile makes of it counts.
        """
        f, size = self._file, self._size
        if self._is(b"fLaC"):
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                begins = [m.start() for m in _FLAC.finditer(data)] or [0]
            parts = [_to_the_end(f, begin, end) for begin, end in zip(begins, [*begins[1:], size], strict=True)]
            self._to_the_end = parts[0][0]
            if len(parts) == 1 and parts[0][1]:
                return [[(0, size)]], parts[0][1]
            return [stream for stream, _ in parts], 0
        if self._is(b"OggS"):
            streams, whole = look_through(f, size)
            if not whole:
                raise self._fault("cut off: its last Ogg page is not there")
            return [[stream] for stream in streams], None
        if found := samples_length(f, size):
            if found.promised is None:
                assert found.field is not None
                at, value = found.field
                return [[(0, at), value, (at + len(value), size)]], None
            if found.promised - found.there >= _MISSED:
                raise self._fault(f"cut off: {found.there} of {found.promised} bytes of samples")
        elif self._is(b"RIFF") and self._is(b"WAVE", 8):
            raise self._fault("a WAV file without a data chunk")
        elif not self._is(b"RIFF") and not self._is(b"ftyp", 4):
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                mp3 = Mp3(data)
                if mp3.frames and (mp3.promised or 0) - mp3.frames > 1:
                    raise self._fault(f"cut off: {mp3.frames} of {mp3.promised} MP3 frames")
                if mp3.frames:
                    return [mp3.told()], None
        return [[(0, size)]], None

    def _is(self, magic: bytes, at: int = 0) -> bool:
        self._file.seek(at)
        return self._file.read(len(magic)) == magic

    def _decoder(self, stream: list) -> _Onward:
        try:
            return _Onward(Spliced(self._file, stream))
        except soundfile.LibsndfileError as e:
            raise self._unknown(reason(e)) from None

    def _unknown(self, why: str) -> UserError:
        self._file.seek(0)
        start = self._file.read(1024)
        if not any(start):
            return self._fault("cannot be read as audio: it begins with zeros")
        if text := _text(start):
            what = "a web page" if "<html" in text.lower() else "text"
            return self._fault(f"cannot be read as audio: it is {what}")
        if self.path.suffix.lower() in _RAW:
            wav = f"sox -t raw -e signed -b 16 -c 1 -r 16000 {self.path.name} {self.path.stem}.wav"
            return UserError("raw PCM: it has no header that says what it is", file=self.path, hint="transcribe it as "
                             f"`- --rate 16000 < {self.path.name}`, or make a WAV of it: `{wav}`")
        return Unknown(f"cannot be read as audio: {why}", file=self.path,
                       hint=f"{REFETCH}; WAV, FLAC, MP3 and Opus are read")

    def _fault(self, what: str) -> UserError:
        return UserError(what, file=self.path, hint=REFETCH)


def _to_the_end(f, begin: int, end: int) -> tuple[list, int]:
    """A FLAC stream whose header leaves the number of samples open, as encoders do that write into a pipe; and that
    number."""
    f.seek(begin + 21)
    field = int.from_bytes(f.read(5), "big")
    samples = field & (1 << 36) - 1
    return [(begin, begin + 21), (field - samples).to_bytes(5, "big"), (begin + 26, end)], samples


def reason(error) -> str:
    """What libsndfile says of an error."""
    return str(getattr(error, "error_string", error)).rstrip(". \n") or "damaged"


def _text(start: bytes) -> str:
    """The text that a file begins with; empty: it is something else."""
    try:
        text = start.decode("utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as e:
        text = start[:e.start].decode() if e.start > len(start) - 4 else ""
    return text if all(c.isprintable() or c.isspace() for c in text) else ""
