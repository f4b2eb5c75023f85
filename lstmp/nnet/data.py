"""Loads features and their aligned states into memory: 2 million frames of 40 float32 take 305 MB."""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors
from lstmp.features.frame_shift import DEFAULT_SECONDS
from lstmp.features.load import FeatureConfig, Features
from lstmp.log import progress, say, warn

_WARNINGS = 5  # this many utterances are named one by one, the others only counted


@dataclass(frozen=True)
class FrameSet:
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
    def lengths(self) -> torch.Tensor:
        """int64 [U], number of frames of each utterance."""
        return self.offsets[1:] - self.offsets[:-1]


def load_frames(data_dir, ali_dir, cfg: FeatureConfig, num_pdfs: int, max_left_out: float, what: str,
                only: set[str] | None = None, without: Set[str] = frozenset()) -> FrameSet:
    """Load the utterances of ``data_dir`` that have an alignment.

    Args:
        data_dir: data dir with features.
        ali_dir: folder with pdf.scp or pdf.ark, Kaldi integer vectors of pdf-ids.
        num_pdfs: pdf-ids must be below this number.
        max_left_out: the largest fraction of utterances that may be left out because they have no usable alignment or
            no usable features; more are an error.
        what: name of the set in messages.
        only: load only these utterances.
        without: do not load these utterances (they are not counted as left out).

    Raises:
        UserError: no utterance is usable, or more than ``max_left_out`` had to be left out.
    """
    source = Features(data_dir, cfg)
    names = [u for u in source.utts if u not in without and (only is None or u in only)]
    wanted = set(names)
    pdfs = {utt: ids for utt, ids in read_int_vectors(alignment_file(ali_dir)) if utt in wanted}
    mats, states, kept, left_out, first_error = [], [], [], 0, None
    for utt in progress(names, f"load {what}"):
        try:
            feats = source.load(utt)
            _check(utt, feats, pdfs.get(utt), num_pdfs, ali_dir)
        except UserError as e:
            left_out += 1
            first_error = first_error or f"{utt}: {e}"
            if left_out <= _WARNINGS:
                warn(f"{utt} is left out: {e}")
            continue
        mats.append(feats)
        states.append(torch.from_numpy(np.asarray(pdfs[utt], dtype=np.int64)))
        kept.append(utt)
    if left_out > _WARNINGS:
        warn(f"{left_out - _WARNINGS} more utterances of {data_dir} are left out for similar reasons")
    if left_out > max_left_out * len(names):
        raise UserError(f"{left_out} of {len(names)} utterances have no usable features or alignment (first "
                        f"{first_error})", file=data_dir,
                        hint=f"make features and alignment again ({ali_dir}), or raise `max_left_out`")
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
    """``pdf.scp`` of an alignment folder, or ``pdf.ark`` if there is no index.

    Raises:
        UserError: the folder has neither.
    """
    for name in ("pdf.scp", "pdf.ark"):
        if (Path(ali_dir) / name).is_file():
            return Path(ali_dir) / name
    raise UserError("no such file", file=Path(ali_dir) / "pdf.scp", hint="run the alignment stage, or give --ali")


def read_num_pdfs(ali_dir) -> int:
    """Number of tied states of the model that made an alignment, from the file ``num_pdfs`` in the alignment's folder.

    Raises:
        UserError: no such file, or it contains no number above 0.
    """
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

    Frequencies below ``floor`` (a fraction of all frames) are raised to the floor, because a rarely seen state would
    otherwise win through its tiny prior; then all are scaled to sum to 1. With a floor of 0, states that were never
    seen count as one frame.
    """
    counts = torch.bincount(pdfs, minlength=num_pdfs).double()
    frequency = counts / counts.sum()
    frequency = frequency.clamp(min=max(floor, 0.0) or 1.0 / float(counts.sum()))
    return (frequency / frequency.sum()).log().float()
