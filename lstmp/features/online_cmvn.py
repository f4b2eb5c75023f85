"""Normalizes mean and variance without later frames: Kaldi's online CMVN.

The statistics of a frame are those of the last `window` frames of its utterance. As long as there are fewer, they are
completed by the speaker's earlier utterances, if known, up to `speaker_frames` frames, and by the training data, up to
`global_frames`. So the first frames of an utterance are normalized as well as what was heard before allows.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lstmp.aliases import Array
from lstmp.features.history import Heard

# Variances are at least this share of those of the training data: silence for a whole window is not amplified.
_LEAST_VARIANCE = 0.01


@dataclass(frozen=True)
class OnlineNormalization:
    """How the utterances of a network's input are normalized.

    Attributes:
        window, speaker_frames, global_frames: numbers of frames, see the module's docstring.
        with_variance: whether variances are normalized too.
        mean, variance: float [D], of the training data.
    """

    window: int
    speaker_frames: int
    global_frames: int
    with_variance: bool
    mean: Array
    variance: Array
    added = 0  # dimensions that it adds to the energies, see Front in load.py

    def start(self, heard: Heard | None = None) -> "OnlineCmvn":
        """What normalizes an utterance; ``heard``: of its speaker before."""
        return OnlineCmvn(self, heard.cmvn if heard else None)


def mean_and_variance(stats: Iterable[Array]) -> tuple[Array, Array]:
    """float64 [D] each, of all speakers of a data dir together, from their statistics [2, D + 1] in ``cmvn.ark``."""
    total = np.sum(np.stack(list(stats)), 0)
    mean, square = total[:, :-1] / total[0, -1]
    return mean, square - mean ** 2


class OnlineCmvn:
    """Normalizes the frames of one utterance, or of one recording, as they arrive.

    Args:
        how: windows, and statistics of the training data.
        speaker: float64 [2, D + 1], statistics of the speaker's earlier utterances in the form of ``cmvn.ark``
            (:mod:`lstmp.features.cmvn`); None: an unknown speaker.
    """

    def __init__(self, how: OnlineNormalization, speaker: Array | None = None):
        mean, variance = np.asarray(how.mean, np.float64), np.asarray(how.variance, np.float64)
        self.how, self._dim = how, len(mean)
        self._global = np.concatenate([mean, variance + mean ** 2])  # of a frame: x, then x²
        self._floor = np.maximum(_LEAST_VARIANCE * variance, 1e-10)
        self._before = np.zeros((2, self._dim + 1)) if speaker is None else np.array(speaker, np.float64)
        # Sums up to each of the last frames; those of no frame at the beginning.
        self._upto, self._frames = np.zeros((1, 2 * self._dim)), 0

    def accept(self, frames: Array) -> Array:
        """Normalize the next frames, float32 [T, D], T ≥ 0. The result does not depend on how frames are divided."""
        if not len(frames):
            return frames
        window, x = self.how.window, np.asarray(frames, np.float64)
        # One frame is added after the other, so that the rounding does not depend on the division.
        new = np.cumsum(np.concatenate([self._upto[-1:], np.concatenate([x, x * x], 1)]), 0)[1:]
        upto, first = np.concatenate([self._upto, new]), self._frames - len(self._upto)  # row i: frame first + i
        here = np.arange(self._frames, self._frames + len(x))
        sums = new - upto[np.maximum(here - window, -1) - first]
        self._upto, self._frames = upto[-(window + 1):], self._frames + len(x)
        return self._normalized(x, sums, np.minimum(here + 1, window)).astype(np.float32)

    def _normalized(self, x: Array, sums: Array, counts: Array) -> Array:
        """Normalize frames [T, D] with the sums [T, 2 D] over their windows of ``counts`` [T] frames."""
        how, spoken = self.how, self._before[0, -1]
        from_speaker = np.minimum(how.window - counts, min(how.speaker_frames, spoken))
        from_global = np.minimum(how.window - counts - from_speaker, how.global_frames)
        speaker = self._before[:, :-1].reshape(-1) / max(spoken, 1)
        total = sums + from_speaker[:, None] * speaker + from_global[:, None] * self._global
        moments = total / (counts + from_speaker + from_global)[:, None]
        mean, square = moments[:, :self._dim], moments[:, self._dim:]
        deviation: Array = np.sqrt(np.maximum(square - mean ** 2, self._floor))
        centred: Array = x - mean
        return centred / deviation if how.with_variance else centred

    def speaker(self) -> Array:
        """The statistics of the speaker, float64 [2, D + 1]: the earlier ones and those of all frames so far."""
        stats = self._before.copy()
        stats[:, :-1] += self._upto[-1].reshape(2, self._dim)
        stats[0, -1] += self._frames
        return stats

    def heard(self) -> Heard:
        """The same statistics, as what was heard of the speaker."""
        return Heard(self.speaker())
