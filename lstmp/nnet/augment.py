"""Augments the input: masks as in SpecAugment (Park et al., arXiv 1904.08779), random loudness, Gaussian noise.

Each is optional. The masks of an epoch are drawn at its start for all utterances, from seed and epoch alone: a mask
stays in place over the chunks of an utterance, and a resumed training sees the same masks. Masked values become 0, the
mean.
"""

import math

import numpy as np
import torch

from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import Frames
from lstmp.nnet.streams import Batch


class Augment:
    """The masks and gains of one epoch, as a function that augments its batches.

    Args:
        cfg: configuration.
        frames: the training set, normalized.
        epoch: from 0.
        std: [D], the standard deviation by which the features were divided; needed if ``cfg.gain_db`` is above 0.
    """

    def __init__(self, cfg: LstmpConfig, frames: Frames, epoch: int, std: torch.Tensor | None = None):
        rng = np.random.default_rng([cfg.seed, epoch, 1])
        self.noise = cfg.input_noise
        # bool [D], false for i-vectors, which are not masked
        self.energies = torch.arange(frames.dim) < frames.dim - cfg.ivector_dim if cfg.ivector_dim else None
        self.time = self.freq = None
        if cfg.time_masks_per_second > 0 and cfg.time_mask_width > 0:
            self.time = TimeMasks(rng, frames.offsets.numpy(), cfg.time_masks_per_second * frames.frame_shift,
                                    cfg.time_mask_width)
        if cfg.freq_masks > 0 and cfg.freq_mask_width > 0:
            channels = (frames.dim - cfg.ivector_dim) // (cfg.feature.deltas + 1)  # and their derivatives
            self.freq = _freq_masks(rng, len(frames.utts), channels, cfg.freq_masks, cfg.freq_mask_width)
            self.freq = self.freq.repeat(1, cfg.feature.deltas + 1)
            self.freq = torch.nn.functional.pad(self.freq, (0, cfg.ivector_dim))
        self.gain = None
        if cfg.gain_db > 0:  # a gain adds the same number to the log energies of all channels
            gain = rng.uniform(-cfg.gain_db, cfg.gain_db, (len(frames.utts), 1)) * math.log(10) / 10
            assert std is not None
            self.gain = (torch.from_numpy(gain) / std.cpu()).float()

    def __call__(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """The batch's features [T, n, D] with gain, noise and masks; ``generator`` draws the noise."""
        x = batch.features
        if self.gain is not None:
            x = x + self.gain[batch.utts].unsqueeze(0).to(x.device)
        if self.noise > 0:
            x = x.add(torch.empty_like(x).normal_(0, self.noise, generator=generator))
        if self.time is not None:
            mask = self.time(batch.frames).unsqueeze(2)
            x = x.masked_fill((mask if self.energies is None else mask & self.energies).to(x.device), 0.0)
        if self.freq is not None:
            x = x.masked_fill(self.freq[batch.utts].unsqueeze(0).to(x.device), 0.0)
        return x


class TimeMasks:
    """Masks of 0 to ``width`` frames at random positions, ``per_frame`` masks per frame.

    Args:
        rng: draws them.
        offsets: int64 [U + 1], see :class:`lstmp.nnet.data.FrameSet`.
    """

    def __init__(self, rng, offsets: np.ndarray, per_frame: float, width: int):
        total = int(offsets[-1])
        count = round(per_frame * total)
        begin = rng.integers(0, total, count)
        end = begin + rng.integers(0, width + 1, count)
        end = np.minimum(end, offsets[np.searchsorted(offsets, begin, side="right")])  # no mask crosses utterances
        order = np.argsort(begin, kind="stable")
        self._begin = torch.from_numpy(begin[order])
        self._reach = torch.from_numpy(np.maximum.accumulate(np.append(0, end[order])))  # of the masks begun so far

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Whether each of the frames, numbered over the whole set, is in a mask: int64 [...] → bool [...]."""
        return self._reach[torch.searchsorted(self._begin, frames, right=True)] > frames


def _freq_masks(rng, utts: int, channels: int, count: int, width: int) -> torch.Tensor:
    """bool [U, channels]: True in ``count`` random bands of 0 to ``width`` channels for each utterance."""
    channel = np.arange(channels)
    masked = np.zeros((utts, channels), dtype=bool)
    for _ in range(count):
        size = rng.integers(0, min(width, channels) + 1, (utts, 1))
        low = rng.integers(0, channels - size + 1)
        masked |= (channel >= low) & (channel < low + size)
    return torch.from_numpy(masked)
