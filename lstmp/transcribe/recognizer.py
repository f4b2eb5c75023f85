"""The Python interface for recognition: :class:`Recognizer` for recordings, :class:`Stream` for online recognition."""

import functools
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lstmp import files
from lstmp.corpus.audio import RATE
from lstmp.corpus.samples import checked_rate, to_int16_scale
from lstmp.decode.live import Segment
from lstmp.errors import UserError, only_warn
from lstmp.log import quiet
from lstmp.transcribe.contained import contained
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.formats import Transcript
from lstmp.transcribe.media import Pieces, Resampler, read_recording
from lstmp.transcribe.recognize import recognize
from lstmp.transcribe.sound import SoundOnlyRecognizer
from lstmp.transcribe.transcribe import LiveModel

_recognizing = threading.Lock()  # decoding uses global state of the process


class Recognizer:
    """Transcribes recordings with a model folder.

    It uses one core in the calling thread. It prints only warnings, on the standard error, and restores torch's
    settings. :meth:`transcribe` may be called from several threads, which then wait for each other. For many
    recordings, ``lstmp transcribe`` with its ``--nj`` is faster.

    Args:
        directory: folder made by ``steps/export_model.sh``.

    Raises:
        UserError: no such folder, not a model, or files are missing or truncated.
    """

    def __init__(self, directory):
        self.model = ModelFolder.load(directory)

    def __repr__(self) -> str:
        return f"Recognizer({str(self.model.path)!r})"

    @contained()
    def transcribe(self, recording, rate: int | None = None) -> Transcript:
        """Recognize the words of a recording, in the same way as ``./transcribe.sh``.

        Args:
            recording: path of a file that libsndfile or ffmpeg reads; or samples, floats in ±1 or int16, [n] or
                [n, channels]; channels are averaged.
            rate: samples per second if samples are given; they are resampled to 16,000.

        Returns:
            ``text``, ``seconds``, ``name`` (the path, or "") and ``words``, each with ``word``, ``begin``, ``end`` in
            seconds and ``confidence`` from 0 to 1.

        Raises:
            UserError: a file is missing or cannot be read, samples without a rate, or a damaged model.
            TypeError: samples that are neither floats nor int16.
        """
        if isinstance(recording, (str, Path)):
            if rate is not None:
                raise UserError("a rate was given with the path of a file, which has its own", hint="leave rate out")
            name, samples = str(recording), read_recording(recording)
        else:
            to_rate = Resampler(checked_rate(rate))
            name, samples = "", to_rate(to_int16_scale(recording), last=True)
        with _recognizing, quiet(bars=False), files.temporary_folder() as work:
            return recognize(self.model, [(name, samples)], work, 1)[0]

    def stream(self, speaker=None) -> "Stream":
        """Recognize one recording online, while its samples arrive.

        Args:
            speaker: path of a small file with what was heard of the speaker in earlier recordings. It need not exist;
                :meth:`.Stream.finish` writes it. None: a speaker not known.

        Raises:
            UserError: the model needs whole recordings, it does not adapt to speakers, or the file is damaged.
        """
        if not self.model.live:
            raise UserError("its network needs whole recordings", file=self.model.path,
                            hint="use transcribe(), or a model with a unidirectional network on online_fmllr features, "
                                 "such as lstmp_live of mini_librispeech, or fbank with cmvn online_mean or none")
        with _recognizing:
            return Stream(self._live, None if speaker is None else Path(speaker))

    @functools.cached_property
    def _live(self) -> LiveModel:
        with contained():
            return LiveModel(self.model)


class Stream:
    """Recognizes one recording online, see :meth:`Recognizer.stream`. It must not be used in several threads at once.

    ::

        with recognizer.stream() as stream:
            for block in microphone:
                for segment in stream.accept(block, 48000):
                    if segment.final:
                        print(*segment.words)
            for segment in stream.finish():
                print(*segment.words)

    At the end of the ``with`` block its memory is freed. Segments that have not been returned yet are lost unless
    :meth:`finish` is called before.
    """

    def __init__(self, live: LiveModel, speaker: Path | None = None):
        self._recognizer: SoundOnlyRecognizer | None = live.recognizer(speaker)
        self._live, self._speaker = live, speaker
        self._pieces = Pieces(round(live.live.chunk_seconds * RATE))
        self._rate: int | None = None
        self._to_rate: Resampler | None = None

    def accept(self, samples, rate: int | None = None) -> list[Segment]:
        """Recognize the next samples of the recording.

        Args:
            samples: as for :meth:`Recognizer.transcribe`, of any length.
            rate: samples per second; may be left out from the second call on.

        Returns:
            the segments that have changed, in order: those that have ended (``final``), and then the open segment in
            its present state, if it has words. A segment has ``begin`` and ``end`` in seconds since the start of the
            recording, ``words``, ``final``, ``settled`` and ``confidences``, see :class:`lstmp.decode.live.Segment`.

        Raises:
            UserError: the recording has been finished, or the rate is missing or differs from the previous one.
            TypeError: samples that are neither floats nor int16.
        """
        if self._recognizer is None:
            raise UserError("the recording has been finished", hint="take a new stream()")
        if self._to_rate is None or rate is not None:
            rate = checked_rate(rate)
            if self._to_rate is None:
                self._rate, self._to_rate = rate, Resampler(rate)
            elif rate != self._rate:
                raise UserError(f"{rate} samples per second after {self._rate}", hint="use one rate in a stream")
        return self._recognize(self._pieces(self._to_rate(to_int16_scale(samples))))

    def finish(self) -> list[Segment]:
        """End the recording.

        Returns:
            the last segments, all of them final; none if the recording had been finished before.
        """
        if self._recognizer is None:
            return []
        nothing = np.zeros(0, np.float32)
        rest = [] if self._to_rate is None else \
            self._recognize(self._pieces(self._to_rate(nothing, last=True), last=True))
        with contained():
            last = self._recognizer.finish()
        recognizer = self._recognizer
        self.close()
        if self._speaker:
            with only_warn(f"what was heard of the speaker is not kept in {self._speaker}"):
                self._live.remember(self._speaker, recognizer)
        return [s for s in rest if s.final] + last

    def close(self):
        """Stop without the segments that have not been returned yet."""
        self._recognizer = None
        self._to_rate = None

    @contained()
    def _recognize(self, pieces: Iterable[np.ndarray]) -> list[Segment]:
        assert self._recognizer is not None
        segments: list[Segment] = []
        for piece in pieces:
            segments = [s for s in segments if s.final] + self._recognizer.accept(piece)
        return segments

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, exception_type, value, traceback):
        self.close()
