"""The frames that a network is trained on: features and their aligned states, in memory or left in their archives.

2 million frames of 40 float32 take 305 MB.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from lstmp.features.frame_shift import DEFAULT_SECONDS


class Frames(Protocol):
    """What training reads: a :class:`FrameSet`, or frames in files, :class:`lstmp.nnet.frame_files.FrameFiles`."""

    utts: list[str]
    offsets: torch.Tensor
    frame_shift: float

    @property
    def lengths(self) -> torch.Tensor:
        """int64 [U], number of frames of each utterance."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def num_frames(self) -> int:
        """F, the number of frames."""
        return int(self.offsets[-1])

    @property
    def dim(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where the features of batches are."""
        return torch.device("cpu")

    def reader(self, plan: Any) -> Any: ...

    def pdf_counts(self, num_pdfs: int) -> torch.Tensor: ...

    def mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]: ...

    def normalized(self, mean: torch.Tensor, std: torch.Tensor) -> "Frames": ...

    def subset(self, chosen: list[int]) -> "Frames": ...


@dataclass
class FrameSet(Frames):
    """The frames of many utterances, concatenated.

    Attributes:
        utts: ids of the U utterances.
        offsets: int64 [U + 1]; the frames of utterance u are offsets[u] to offsets[u + 1] - 1.
        features: float32 [F, D].
        pdfs: int64 [F], the aligned pdf-id of each frame.
        frame_shift: seconds from frame to frame.
    """

    utts: list[str]
    offsets: torch.Tensor
    features: torch.Tensor
    pdfs: torch.Tensor
    frame_shift: float = DEFAULT_SECONDS

    @property
    def dim(self) -> int:
        """D, the dimension of the features."""
        return self.features.shape[1]

    @property
    def device(self) -> torch.device:
        return self.features.device

    def reader(self, plan) -> "FrameSet":
        """What :class:`lstmp.nnet.streams.Streams` gets the frames of a plan's batches from: the set itself."""
        return self

    def gather(self, number: int, utt: torch.Tensor, rows: torch.Tensor,
               target_rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The frames of batch ``number`` of the plan.

        Args:
            utt: int64 [n], the utterance of each stream.
            rows: int64 [T, n], the frames of the utterance whose features are wanted.
            target_rows: int64 [T', n], those whose pdf-ids are wanted.

        Returns:
            features float32 [T, n, D], pdf-ids int64 [T', n].
        """
        offset = self.offsets[utt]
        here, wanted = (x.to(self.device, non_blocking=True) for x in (offset + rows, offset + target_rows))
        features = self.features.index_select(0, here.view(-1)).view(*rows.shape, -1)
        return features, self.pdfs[wanted]

    def pdf_counts(self, num_pdfs: int) -> torch.Tensor:
        """float64 [num_pdfs], number of frames of each pdf."""
        return torch.bincount(self.pdfs, minlength=num_pdfs).double()

    def mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the features, float32 [D] each; a constant dimension gets deviation 1."""
        moments = Moments(self.dim)
        for block in self.features.split(Moments.BLOCK):
            moments.add(block)
        return moments.mean_and_std()

    def normalized(self, mean: torch.Tensor, std: torch.Tensor) -> "FrameSet":
        """Normalize all features in place; returns the set itself."""
        self.features.sub_(mean).div_(std)
        return self

    def subset(self, chosen: list[int]) -> "FrameSet":
        """A copy of some of the utterances."""
        rows = torch.cat([torch.arange(int(self.offsets[u]), int(self.offsets[u + 1])) for u in chosen])
        return FrameSet([self.utts[u] for u in chosen], offsets_of(self.lengths[chosen]), self.features[rows],
                        self.pdfs[rows], self.frame_shift)


def on_device(frames: Frames, device: str) -> Frames:
    """The frames in the memory of a GPU, if they are in memory and take at most half of what is free there."""
    if not isinstance(frames, FrameSet):
        return frames
    needed = sum(x.numel() * x.element_size() for x in (frames.features, frames.pdfs))
    if device != "cpu" and needed > torch.cuda.mem_get_info(device)[0] / 2:
        return frames
    return dataclasses.replace(frames, features=frames.features.to(device), pdfs=frames.pdfs.to(device))


def offsets_of(lengths: torch.Tensor) -> torch.Tensor:
    """int64 [U + 1]: the offsets of utterances of these lengths [U]."""
    return torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])


class Moments:
    """Sums of features and of their squares, in float64.

    They are summed in blocks of the same size, so that the result is the same to the last bit in whatever parts the
    features are added.
    """

    BLOCK = 1 << 16  # frames

    def __init__(self, dim: int):
        self.count = 0
        self.total, self.square = torch.zeros(2, dim, dtype=torch.float64)
        self._rest, self._length = [torch.zeros(0, dim)], 0  # what does not fill a block yet

    def add(self, feats: torch.Tensor):
        """Add features float32 [n, D]."""
        self._rest.append(feats)
        self._length += len(feats)
        if self._length >= self.BLOCK:
            blocks = torch.cat(self._rest).split(self.BLOCK)
            for block in blocks[:-1]:
                self._sum(block)
            self._rest, self._length = [blocks[-1]], len(blocks[-1])

    def _sum(self, block: torch.Tensor):
        self.count += len(block)
        self.total += block.sum(0, dtype=torch.float64)
        self.square += block.double().square().sum(0)

    def mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [D] each; a constant dimension gets deviation 1. Nothing can be added afterwards."""
        self._sum(torch.cat(self._rest))
        mean = self.total / self.count
        std = (self.square / self.count - mean.square()).clamp(min=0).sqrt()
        return mean.float(), torch.where(std > 1e-5, std, torch.ones_like(std)).float()


def log_priors(counts: torch.Tensor, floor: float) -> torch.Tensor:
    """State priors: natural log of the relative frequency of each pdf-id in the alignment, float32 [num_pdfs].

    ``counts``: float64 [num_pdfs], number of frames of each pdf.

    Frequencies below ``floor`` (a fraction of all frames) are raised to the floor, because a rarely seen state would
    otherwise win through its tiny prior; then all are scaled to sum to 1. With a floor of 0, states that were never
    seen count as one frame.
    """
    frequency = counts / counts.sum()
    frequency = frequency.clamp(min=max(floor, 0.0) or 1.0 / float(counts.sum()))
    return (frequency / frequency.sum()).log().float()


def has_priors(priors: torch.Tensor) -> bool:
    """Whether the `log_priors` of a network are priors: those of one whose training began with LF-MMI are all 0."""
    return bool(priors.any())
