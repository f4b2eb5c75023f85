"""fMLLR transforms of the speakers: estimation from an alignment, in any number of processes, and their files.

As in Kaldi, ``trans.ark`` with ``trans.scp`` holds a float matrix [D, D + 1] for each speaker (formats.md).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import distributed
from lstmp.config import check
from lstmp.errors import UserError
from lstmp.features.ark import ArkWriter, read_mat, read_scp
from lstmp.gmm import diag, fmllr
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import Shard
from lstmp.log import say

_SPEAKERS = 500  # whose statistics are collected at a time; they take 140 MB for 40 dimensions


@dataclass(frozen=True)
class FmllrConfig:
    """How the speakers' transforms are estimated.

    Attributes:
        min_count: a speaker with fewer frames than this gets the identity transform.
        silence_weight: weight of a silence frame in the statistics; a speech frame has weight 1.
        iterations: rounds over the rows of the transform.
    """

    min_count: float
    silence_weight: float
    iterations: int

    def __post_init__(self):
        check(self.min_count >= 0, "min_count", "0 or more")
        check(0 <= self.silence_weight <= 1, "silence_weight", "between 0 and 1")
        check(self.iterations > 0, "iterations", "greater than 0")


class Adapter:
    """Adapts the features of a shard to its speakers.

    Args:
        shard: its features must not be adapted yet.
        cfg: how the transforms are estimated.
    """

    def __init__(self, shard: Shard, cfg: FmllrConfig):
        self.shard, self.cfg = shard, cfg
        self.transforms: dict[str, torch.Tensor] = {}

    def update(self, model: AcousticModel, what: str, posteriors_by: AcousticModel | None = None):
        """Re-estimate the transforms of all speakers from the shard's current alignment, and apply them.

        Args:
            model: the transforms maximize the likelihood of the adapted features under its mixtures. Unless
                ``posteriors_by`` is given, it also computes the Gaussian posteriors, from the current features.
            what: beginning of the line that is printed.
            posteriors_by: a model with the same Gaussians that computes the posteriors from unadapted features.
        """
        shard = self.shard
        with shard.clock("fMLLR"):
            self._update(model, what, posteriors_by)

    def _update(self, model: AcousticModel, what: str, posteriors_by: AcousticModel | None):
        transforms: dict[str, torch.Tensor] = {}
        gains: list[tuple[float, float]] = []  # number of frames and gain per frame of each speaker
        speakers = self._all_speakers()
        for start in range(0, len(speakers), _SPEAKERS):
            stats = {s: fmllr.SpeakerStats.zeros(self.shard.dim) for s in speakers[start:start + _SPEAKERS]}
            for utts in filter(None, self.shard.blocks(smaller=True, speakers=stats)):
                self._add(utts, model, posteriors_by, stats)
            for speaker in stats:
                distributed.all_reduce(*stats[speaker].tensors())
            own = sorted(stats)[distributed.rank()::distributed.world_size()]  # speakers that this process estimates
            estimates = {s: fmllr.estimate(stats[s], self.cfg.min_count, self.cfg.iterations) for s in own}
            for speaker, (transform, gain) in (x for part in distributed.gather(estimates) for x in part.items()):
                transforms[speaker] = transform
                gains.append((float(stats[speaker].beta), gain))
        self.apply(transforms)
        if distributed.rank() == 0:
            few = sum(frames < self.cfg.min_count for frames, _ in gains)
            say(f"{what}: fMLLR of {len(speakers)} speakers gains {fmllr.mean_gain(gains):.3f} log-likelihood per frame"
                + (f"; {few} had too few frames" if few else ""))

    def _add(self, utts: list[str], model: AcousticModel, posteriors_by: AcousticModel | None,
             stats: dict[str, fmllr.SpeakerStats]):
        """Add a block of utterances to their speakers' statistics."""
        shard = self.shard
        silent, tid_pdf = model.silent_pdfs(shard.lang.silence), model.transitions.tid_pdf
        pdfs = tid_pdf[torch.from_numpy(np.concatenate([shard.alignment[u] for u in utts])).long()]
        weight = torch.where(silent[pdfs], self.cfg.silence_weight, 1.0).to(shard.device)
        current, unadapted, start = torch.empty(len(pdfs), shard.dim, device=shard.device), [], 0
        for _, before, after in shard.feats.read_both(utts):
            unadapted.append(before)
            current[start:start + len(after)] = after if posteriors_by is None else before
            start += len(after)
        by = None if posteriors_by is None else (posteriors_by.mixtures, current)
        precision, target = fmllr.frame_terms(model.mixtures, current, pdfs.to(shard.device), weight, posteriors_by=by)
        lengths = [len(feats) for feats in unadapted]
        for utt, *frames in zip(utts, unadapted, *(x.split(lengths) for x in (precision, target, weight)), strict=True):
            stats[shard.speaker[utt]].add(*frames)

    def apply(self, transforms: dict[str, torch.Tensor]):
        """Replace the shard's features by the unadapted features under these transforms."""
        self.transforms = transforms
        self.shard.feats.adapt(transforms)

    def speaker_independent(self, model: AcousticModel, min_variance: float) -> DiagGmms:
        """Estimate mixtures for the unadapted features, with the Gaussian posteriors of the adapted features.

        This is Kaldi's ``gmm-acc-stats-twofeats``, which makes ``final.alimdl``.
        """
        shard = self.shard
        shard.sort_by_pdf(model.transitions)
        stats = diag.GmmStats.zeros(model.mixtures)
        for feats, pdf_counts, unadapted in shard.frames_by_pdf(also_unadapted=True):
            diag.accumulate(model.mixtures, feats, pdf_counts, stats, unadapted)
            del feats, unadapted
        distributed.all_reduce(*stats.tensors())
        return diag.update(model.mixtures, stats, min_occupancy=1.0, min_variance=min_variance, remove=False)

    def _all_speakers(self) -> list[str]:
        return sorted({s for part in distributed.gather(set(self.shard.speaker.values())) for s in part})


def write_transforms(directory, transforms: dict[str, torch.Tensor]):
    """Write ``trans.ark`` and ``trans.scp``."""
    directory = Path(directory)
    with ArkWriter(directory / "trans.ark", directory / "trans.scp") as writer:
        for speaker in sorted(transforms):
            writer.write(speaker, transforms[speaker].numpy())


def read_transforms(directory) -> dict[str, torch.Tensor]:
    """Read ``trans.scp``: speaker → transform [D, D + 1].

    Raises:
        UserError: the file is missing or damaged, or a matrix is not an affine transform.
    """
    path = Path(directory) / "trans.scp"
    out = {s: torch.from_numpy(read_mat(rx)) for s, rx in read_scp(path).items()}
    for speaker, matrix in out.items():
        if matrix.shape[1] != matrix.shape[0] + 1:
            raise UserError(f"the matrix of speaker {speaker} is not an affine transform: {matrix.shape[0]} rows, "
                            f"{matrix.shape[1]} columns", file=path, hint="estimate the transforms again")
    return out
