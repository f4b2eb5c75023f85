"""A model folder as an object: :class:`Recognizer` for recordings, and :class:`Stream` for speech as it comes in."""

import functools
import threading
from pathlib import Path

import numpy as np

from lstmp import files
from lstmp.corpus.audio import RATE
from lstmp.corpus.samples import own_samples, whole_rate
from lstmp.decode.live import Segment
from lstmp.errors import UserError
from lstmp.log import quiet
from lstmp.transcribe.contained import contained
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.formats import Transcript
from lstmp.transcribe.media import Resampler, read_recording
from lstmp.transcribe.recognize import recognize
from lstmp.transcribe.sound import Listener
from lstmp.transcribe.transcribe import LiveModel

_recognizing = threading.Lock()  # what is decoded passes through state of the whole process


class Recognizer:
    """Transcribes with a model in one folder.

    It works on one core in the calling thread, prints nothing but warnings, on the standard error, and leaves torch's
    settings as they were. :meth:`transcribe` may be called from several threads, which then wait for each other. For
    many recordings at once, ``lstmp transcribe`` with its ``--nj`` is quicker.

    Args:
        directory: folder made by ``steps/export_model.sh``.

    Raises:
        UserError: no such folder, not a model, or files that are missing or cut off.
    """

    def __init__(self, directory):
        self.model = ModelFolder.load(directory)

    def __repr__(self) -> str:
        return f"Recognizer({str(self.model.path)!r})"

    @contained()
    def transcribe(self, recording, rate: int | None = None) -> Transcript:
        """The words of a recording, as ``./transcribe.sh`` finds them.

        Args:
            recording: path of a file that libsndfile or ffmpeg reads; or samples, floats in ±1 or int16, [n] or
                [n, channels], of which the mean is taken.
            rate: samples a second, where samples are given; they are resampled to 16,000.

        Returns:
            ``text``, ``seconds``, ``name`` (the path, or "") and ``words``, each with ``word``, ``begin``, ``end`` in
            seconds and ``confidence`` from 0 to 1.

        Raises:
            UserError: a file that is not there or cannot be read, samples without a rate, or a damaged model.
            TypeError: samples that are neither floats nor int16.
        """
        if isinstance(recording, (str, Path)):
            if rate is not None:
                raise UserError("a rate beside the path of a file, which has its own", hint="leave rate out")
            name, samples = str(recording), read_recording(recording)
        else:
            to_rate = Resampler(whole_rate(rate))
            name, samples = "", to_rate(own_samples(recording), last=True)
        with _recognizing, quiet(bars=False), files.temporary_folder() as work:
            return recognize(self.model, [(name, samples)], work, 1)[0]

    def stream(self) -> "Stream":
        """Recognize one recording while it comes in.

        Raises:
            UserError: the model needs whole recordings.
        """
        if not self.model.live:
            raise UserError("its network needs whole recordings", file=self.model.path,
                            hint="use transcribe(), or a model with a unidirectional network on fbank features with "
                                 "cmvn none, such as lstmp_live of mini_librispeech")
        with _recognizing:
            return Stream(self._live)

    @functools.cached_property
    def _live(self) -> LiveModel:
        with contained():
            return LiveModel(self.model)


class Stream:
    """One recording that comes in piece by piece, see :meth:`Recognizer.stream`. Not for several threads at once.

    ::

        with recognizer.stream() as stream:
            for block in microphone:
                for segment in stream.accept(block, 48000):
                    if segment.final:
                        print(*segment.words)
            for segment in stream.finish():
                print(*segment.words)

    At the end of the ``with`` block what it holds is freed; segments that are still due are lost unless
    :meth:`finish` is called before.
    """

    def __init__(self, live: LiveModel):
        self._recognizer: Listener | None = live.recognizer()
        self._piece = round(live.live.chunk_seconds * RATE)
        self._rate: int | None = None
        self._to_rate: Resampler | None = None

    def accept(self, samples, rate: int | None = None) -> list[Segment]:
        """More of the recording.

        Args:
            samples: as of :meth:`Recognizer.transcribe`, of any length.
            rate: samples a second; may be left out from the second call on.

        Returns:
            what has changed, in order: the segments that ended (``final``), and the open one as it stands, if it has
            words. A segment has ``begin`` and ``end`` in seconds since the start of the recording, ``words``, and
            ``final``.

        Raises:
            UserError: the recording is at its end, or there is no rate, or another one than before.
            TypeError: samples that are neither floats nor int16.
        """
        if self._recognizer is None:
            raise UserError("the recording is at its end", hint="take a new stream()")
        if self._to_rate is None or rate is not None:
            rate = whole_rate(rate)
            if self._to_rate is None:
                self._rate, self._to_rate = rate, Resampler(rate)
            elif rate != self._rate:
                raise UserError(f"{rate} samples a second after {self._rate}", hint="keep to one rate in a stream")
        return self._more(self._to_rate(own_samples(samples)))

    def finish(self) -> list[Segment]:
        """The end of the recording.

        Returns:
            the last segments, all of them final; none if that is known already.
        """
        if self._recognizer is None:
            return []
        rest = [] if self._to_rate is None else self._more(self._to_rate(np.zeros(0, np.float32), last=True))
        with contained():
            last = self._recognizer.finish()
        self.close()
        return [s for s in rest if s.final] + last

    def close(self):
        """End without the segments that are still due."""
        self._recognizer = None
        self._to_rate = None

    @contained()
    def _more(self, samples: np.ndarray) -> list[Segment]:
        assert self._recognizer is not None
        found: list[Segment] = []
        for at in range(0, len(samples), self._piece):
            found = [s for s in found if s.final] + self._recognizer.accept(samples[at:at + self._piece])
        return found

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind, value, traceback):
        self.close()
