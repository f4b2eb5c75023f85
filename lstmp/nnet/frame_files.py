"""The frames of many utterances that do not fit in memory: they stay in their archives and are read when needed.

Reading an utterance again in each epoch takes 1 % of the time of training on it. A thread reads it ahead of use.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from lstmp.features.ark import read_int_vector
from lstmp.features.load import FeatureConfig, Features
from lstmp.nnet.data import Frames, offsets_of
from lstmp.nnet.front import Front
from lstmp.nnet.streams import Plan

_AHEAD = 20  # batches
_opening = threading.Lock()


@dataclass
class FrameFiles(Frames):
    """The same as :class:`lstmp.nnet.data.FrameSet`, but the frames are in the archives.

    Attributes:
        data_dir, feature: where the features are, and how they are processed.
        utts: ids of the U utterances.
        pdf_index: for each of them, where its pdf-ids are, for :func:`lstmp.features.ark.read_int_vector`.
        offsets: int64 [U + 1], as in a frame set.
        mean, std: float32 [D], of all frames; :meth:`read` normalizes with them.
        counts: float64 [num_pdfs], number of frames of each pdf.
        frame_shift: seconds from frame to frame.
        front: the part of the input that depends on earlier frames, if any.
    """

    data_dir: str
    feature: FeatureConfig
    utts: list[str]
    pdf_index: list[str]
    offsets: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    counts: torch.Tensor
    frame_shift: float
    front: Front | None = None
    _sources: list[Features] = field(default_factory=list, init=False, repr=False)

    @property
    def dim(self) -> int:
        """D, the dimension of the features."""
        return len(self.mean)

    def read(self, u: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The normalized features [T, D] and the pdf-ids int64 [T] of utterance number ``u``.

        Raises:
            UserError: they cannot be read any more.
        """
        with _opening:  # the readers of several threads share one index of the archives
            if not self._sources:
                self._sources.append(Features(self.data_dir, self.feature, front=self.front))
        feats = self._sources[0].load(self.utts[u])
        pdfs = torch.from_numpy(read_int_vector(self.pdf_index[u]).astype(np.int64))
        return feats.sub_(self.mean).div_(self.std), pdfs

    def reader(self, plan: Plan) -> "Reader":
        """What :class:`lstmp.nnet.streams.Streams` gets the frames of a plan's batches from."""
        return Reader(self, plan)

    def pdf_counts(self, num_pdfs: int) -> torch.Tensor:
        """float64 [num_pdfs], number of frames of each pdf."""
        assert num_pdfs == len(self.counts)
        return self.counts

    def mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [D] each, of the frames without normalization."""
        return self.mean, self.std

    def normalized(self, mean: torch.Tensor, std: torch.Tensor) -> "FrameFiles":
        """The frames normalized with other statistics."""
        return replace(self, mean=mean, std=std)

    def subset(self, chosen: list[int]) -> "FrameFiles":
        """Some of the utterances; ``mean``, ``std`` and ``counts`` stay those of all."""
        some = replace(self, utts=[self.utts[u] for u in chosen], pdf_index=[self.pdf_index[u] for u in chosen],
                       offsets=offsets_of(self.lengths[chosen]))
        some._sources = self._sources
        return some


class Reader:
    """Reads the utterances of a plan when their first batch comes near, and forgets them after their last batch."""

    def __init__(self, frames: FrameFiles, plan: Plan):
        self._read: Callable[[int], tuple[torch.Tensor, torch.Tensor]] = frames.read
        self._plan, self._thread = plan, ThreadPoolExecutor(1)
        self._loaded: dict[int, Future] = {}
        self._next = 0  # the first batch whose utterances have not been asked for
        self._active: set[int] = set()

    def gather(self, number: int, utt: torch.Tensor, rows: torch.Tensor,
               target_rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`lstmp.nnet.data.FrameSet.gather`."""
        utts = utt.tolist()
        for u in self._active.difference(utts):
            self._loaded.pop(u, None)
        self._active = set(utts)
        if not number <= self._next <= number + _AHEAD:
            self._next = number
        while self._next < min(number + _AHEAD, len(self._plan)):
            for u in self._plan.utt[self._next].tolist():
                self._ask_for(u)
            self._next += 1
        for u in utts:
            self._ask_for(u)
        parts = [self._loaded[u].result() for u in utts]
        features = torch.stack([x[r] for (x, _), r in zip(parts, rows.unbind(1), strict=True)], 1)
        pdfs = torch.stack([p[r] for (_, p), r in zip(parts, target_rows.unbind(1), strict=True)], 1)
        return features, pdfs

    def _ask_for(self, u: int):
        if u >= 0 and u not in self._loaded:
            self._loaded[u] = self._thread.submit(self._read, u)
