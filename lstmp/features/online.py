"""Features of speech that comes in pieces: the frames that :func:`lstmp.features.extract.compute_features` gives."""

import zlib

import numpy as np
import soxr

from lstmp.aliases import Array
from lstmp.corpus.audio import RATE
from lstmp.features.extract import FbankConfig, computer


class OnlineFeatures:
    """The features of one recording, frame by frame as its windows fill. It keeps no frame that it has handed out.

    Args:
        cfg: a :class:`FbankConfig`, or an :class:`MfccConfig`.
        utt: id that seeds the dither.
        rate: samples per second of what comes; where ``cfg`` has another rate, they are resampled.
    """

    def __init__(self, cfg: FbankConfig, utt: str = "", rate: int = RATE):
        self.cfg, self._computer = cfg, computer(cfg)
        self._rng = np.random.default_rng(zlib.crc32(utt.encode()))
        self._next = 0
        self._resampler = None
        if rate != cfg.sample_rate:
            self._resampler = soxr.ResampleStream(rate, cfg.sample_rate, 1, dtype="float32")

    @property
    def dim(self) -> int:
        return int(self._computer.dim)

    def accept(self, samples: Array) -> Array:
        """Samples float32 [n] on the scale of 16-bit integers → float32 [T, D], the frames that are new."""
        self._take(samples)
        return self._frames()

    def finish(self) -> Array:
        """The frames that wait for the end of the recording: none with ``snip_edges`` and samples of the right rate."""
        if self._resampler is not None:
            self._take(np.zeros(0, np.float32), last=True)
        self._computer.input_finished()
        return self._frames()

    def _take(self, samples: Array, last: bool = False) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.asarray(samples, np.float32), last=last)
        if self.cfg.dither > 0 and len(samples):
            noise = self._rng.standard_normal(len(samples), dtype=np.float32)
            samples = samples + np.float32(self.cfg.dither) * noise
        if len(samples):
            self._computer.accept_waveform(self.cfg.sample_rate, samples)

    def _frames(self) -> Array:
        ready = self._computer.num_frames_ready
        out = [np.array(self._computer.get_frame(t)) for t in range(self._next, ready)]  # pop() frees what it shows
        self._computer.pop(ready - self._next)
        self._next = ready
        return np.stack(out) if out else np.zeros((0, self.dim), np.float32)
