"""Features and their aligned states, all in memory: 2 million frames of 40 float32 are 305 MB."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors
from lstmp.features.frame_shift import KALDI
from lstmp.features.load import FeatureConfig, Features
from lstmp.log import progress, say, warn

_WARNINGS = 5  # so many utterances are named one by one, the others only counted


@dataclass(frozen=True)
class FrameSet:
    """Frames of many utterances, one after the other.

    Attributes:
        utts: ids of the U utterances.
        offsets: int64 [U + 1]; utterance u has the frames offsets[u] to offsets[u + 1] - 1.
        features: float32 [F, D].
        pdfs: int64 [F], the aligned pdf-id of each frame.
        frame_shift: seconds from frame to frame.
    """

    utts: list[str]
    offsets: torch.Tensor
    features: torch.Tensor
    pdfs: torch.Tensor
    frame_shift: float = KALDI

    @property
    def lengths(self) -> torch.Tensor:
        """int64 [U], frames of each utterance."""
        return self.offsets[1:] - self.offsets[:-1]


def load_frames(data_dir, ali_dir, cfg: FeatureConfig, num_pdfs: int, max_left_out: float, what: str,
                only: set[str] | None = None, without: Set[str] = frozenset()) -> FrameSet:
    """Load the utterances of ``data_dir`` that have an alignment.

    Args:
        data_dir: data dir with features.
        ali_dir: folder with pdf.scp or pdf.ark, Kaldi integer vectors of pdf-ids.
        num_pdfs: pdf-ids must be below it.
        max_left_out: the largest share of utterances that may be left out, for want of a usable alignment or of
            usable features, before it is an error.
        what: name for messages.
        only: take no other utterances than these.
        without: leave these out (they are not counted as left out).

    Raises:
        UserError: nothing is left, or more than ``max_left_out`` had to be left out.
    """
    source = Features(data_dir, cfg)
    names = [u for u in source.utts if u not in without and (only is None or u in only)]
    wanted = set(names)
    pdfs = {utt: ids for utt, ids in read_int_vectors(alignment_file(ali_dir)) if utt in wanted}
    mats, states, kept, left_out, first = [], [], [], 0, None
    for utt in progress(names, f"load {what}"):
        try:
            feats = source.load(utt)
            _check(utt, feats, pdfs.get(utt), num_pdfs, ali_dir)
        except UserError as e:
            left_out += 1
            first = first or f"{utt}: {e}"
            if left_out <= _WARNINGS:
                warn(f"{utt} is left out: {e}")
            continue
        mats.append(feats)
        states.append(torch.from_numpy(np.asarray(pdfs[utt], dtype=np.int64)))
        kept.append(utt)
    if left_out > _WARNINGS:
        warn(f"{left_out - _WARNINGS} more utterances of {data_dir} are left out for such reasons")
    if left_out > max_left_out * len(names):
        raise UserError(f"{left_out} of {len(names)} utterances have no usable features or alignment (first {first})",
                        file=data_dir, hint=f"make features and alignment again ({ali_dir}), or raise `max_left_out`")
    if not kept:
        raise UserError(f"no utterance for {what} has both features and an alignment", file=data_dir,
                        hint=f"check that {ali_dir} was made from the same utterances")
    offsets = torch.zeros(len(kept) + 1, dtype=torch.int64)
    offsets[1:] = torch.tensor([len(m) for m in mats]).cumsum(0)
    frames = FrameSet(kept, offsets, torch.cat(mats), torch.cat(states), source.frame_shift)
    say(f"{what}: {len(kept)} utterances, {len(frames.pdfs):,} frames"
        + (f", {left_out} utterances left out" if left_out else ""))
    return frames


def _check(utt: str, feats: torch.Tensor, pdfs: np.ndarray | None, num_pdfs: int, ali_dir):
    if pdfs is None:
        raise UserError("it has no alignment", file=ali_dir)
    if len(pdfs) != len(feats) or not len(pdfs):
        raise UserError(f"{len(feats)} frames of features, {len(pdfs)} of alignment", file=ali_dir,
                        hint="align with features of the same frame shift")
    if pdfs.min() < 0 or pdfs.max() >= num_pdfs:
        raise UserError(f"pdf-id {pdfs.max() if pdfs.max() >= num_pdfs else pdfs.min()} is not below {num_pdfs}",
                        file=ali_dir, hint="align with the model whose tree is used")
    if not torch.isfinite(feats).all():
        raise UserError("NaN or infinity in its features", hint="check its audio and make the features again")


def alignment_file(ali_dir) -> Path:
    """``pdf.scp`` of an alignment folder, or ``pdf.ark`` where there is no index."""
    for name in ("pdf.scp", "pdf.ark"):
        if (Path(ali_dir) / name).is_file():
            return Path(ali_dir) / name
    raise UserError("no such file", file=Path(ali_dir) / "pdf.scp", hint="run the alignment stage, or give --ali")


def read_num_pdfs(ali_dir) -> int:
    """Number of tied states of the model that made an alignment: the file ``num_pdfs`` beside it."""
    path = Path(ali_dir) / "num_pdfs"
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        raise UserError("no such file", file=path, hint="run the alignment stage, or give --ali") from None
    if not config.is_count(text) or int(text) == 0:
        raise UserError(f"{text[:40]!r} is not a number of states", file=path, line=1, hint="align again")
    return int(text)


def normalize(frames: FrameSet, mean: torch.Tensor, std: torch.Tensor):
    """Normalize all features in place."""
    frames.features.sub_(mean).div_(std)


def mean_and_std(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation [D] of features [F, D], in float64; a constant dimension gets deviation 1."""
    total, square = torch.zeros(2, features.shape[1], dtype=torch.float64)
    for block in features.split(1 << 16):
        total += block.sum(0, dtype=torch.float64)
        square += block.double().square().sum(0)
    mean = total / len(features)
    std = (square / len(features) - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-5, std, torch.ones_like(std)).float()


def log_priors(pdfs: torch.Tensor, num_pdfs: int, floor: float) -> torch.Tensor:
    """State priors: natural log of the relative frequency of each pdf-id in the alignment, float32 [num_pdfs].

    A frequency below ``floor`` (a share of all frames) is raised to it, lest a state that was hardly ever seen wins by
    its tiny prior; then they are scaled to sum to 1. States never seen get one frame where the floor is 0.
    """
    counts = torch.bincount(pdfs, minlength=num_pdfs).double()
    share = counts / counts.sum()
    share = share.clamp(min=max(floor, 0.0) or 1.0 / float(counts.sum()))
    return (share / share.sum()).log().float()
