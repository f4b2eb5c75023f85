"""Computes features while audio arrives, identical to :func:`lstmp.features.extract.compute_features`."""

import zlib

import numpy as np
import soxr

from lstmp.aliases import Array
from lstmp.corpus.audio import RATE
from lstmp.features.extract import FbankConfig, make_extractor


class OnlineFeatures:
    """Computes the features of one recording incrementally. Frames that were returned are not kept.

    Args:
        cfg: an :class:`FbankConfig` or :class:`MfccConfig`.
        utt: utterance id, which seeds the dither.
        rate: sampling rate in Hz of the incoming audio; it is resampled if ``cfg`` has another rate.
    """

    def __init__(self, cfg: FbankConfig, utt: str = "", rate: int = RATE):
        self.cfg, self._extractor = cfg, make_extractor(cfg)
        self._rng = np.random.default_rng(zlib.crc32(utt.encode()))
        self._next = 0
        self._resampler = None
        if rate != cfg.sample_rate:
            self._resampler = soxr.ResampleStream(rate, cfg.sample_rate, 1, dtype="float32")

    @property
    def dim(self) -> int:
        return int(self._extractor.dim)

    def accept(self, samples: Array) -> Array:
        """Accept samples, float32 [n] on the scale of 16-bit integers, and return the new frames, float32 [T, D]."""
        self._feed(samples)
        return self._frames()

    def finish(self) -> Array:
        """Return the remaining frames at the end of the recording: none with ``snip_edges`` and no resampling."""
        if self._resampler is not None:
            self._feed(np.zeros(0, np.float32), last=True)
        self._extractor.input_finished()
        return self._frames()

    def _feed(self, samples: Array, last: bool = False) -> None:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(np.asarray(samples, np.float32), last=last)
        if self.cfg.dither > 0 and len(samples):
            noise = self._rng.standard_normal(len(samples), dtype=np.float32)
            samples = samples + np.float32(self.cfg.dither) * noise
        if len(samples):
            self._extractor.accept_waveform(self.cfg.sample_rate, samples)

    def _frames(self) -> Array:
        ready = self._extractor.num_frames_ready
        out = [np.array(self._extractor.get_frame(t)) for t in range(self._next, ready)]  # pop() frees it
        self._extractor.pop(ready - self._next)
        self._next = ready
        return np.stack(out) if out else np.zeros((0, self.dim), np.float32)
