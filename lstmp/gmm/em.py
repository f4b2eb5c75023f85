"""Viterbi training of a GMM-HMM in any number of processes: align, collect statistics, update, split.

The processes exchange only sums of statistics, and each makes the same update from the same sums.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lstmp import distributed
from lstmp.config import check
from lstmp.gmm import diag
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.shard import AlignConfig, Shard
from lstmp.log import say


def em_step(shard: Shard, model: AcousticModel, min_occupancy: float, min_variance: float) -> float:
    """Run one EM pass on the current alignment: update ``model`` in place.

    Returns:
        log-likelihood per frame before the update.
    """
    with shard.clock("statistics"):
        stats = diag.GmmStats.zeros(model.mixtures)
        for feats, pdf_counts in shard.frames_by_pdf():
            diag.accumulate(model.mixtures, feats, pdf_counts, stats)
            del feats
    counts = shard.tid_counts.clone()
    with shard.clock("waiting"):
        distributed.all_reduce(*stats.tensors(), counts)
    with shard.clock("updates"):
        model.transitions.update(counts)
        model.gmms = diag.update(model.mixtures, stats, min_occupancy=min_occupancy, min_variance=min_variance)
    return stats.loglike_per_frame


def grow(shard: Shard, model: AcousticModel, num_gaussians: int, power: float, perturb: float, seed: int):
    """Split Gaussians until there are ``num_gaussians``; each pdf's share is its number of frames to the ``power``."""
    occupancy = shard.pdf_counts.double().clone()
    distributed.all_reduce(occupancy)
    targets = diag.split_targets(occupancy.cpu(), num_gaussians, power)
    generator = torch.Generator().manual_seed(seed)
    model.gmms = model.mixtures.to("cpu").split(targets, perturb, generator).to(shard.device)


@dataclass(frozen=True)
class EmConfig:
    """The training schedule: passes, realignments and number of Gaussians.

    Attributes:
        num_iters: number of EM passes.
        realign: numbers of the passes that begin with a realignment of the data.
        num_gaussians: number of Gaussians at the end.
        grow_until: the pass after which the number of Gaussians no longer grows.
        power: a pdf's share of the Gaussians is proportional to its number of frames to this power.
        perturb: standard deviations by which the mean of each half of a split Gaussian is shifted.
        min_occupancy: a Gaussian with fewer frames than this is removed.
        min_variance: floor of the variances.
    """

    num_iters: int
    realign: list[int]
    num_gaussians: int
    grow_until: int
    power: float
    perturb: float
    min_occupancy: float
    min_variance: float

    def __post_init__(self):
        check(self.num_iters > 0, "num_iters", "greater than 0")
        check(0 < self.grow_until <= self.num_iters, "grow_until", "between 1 and num_iters")
        check(self.num_gaussians > 0, "num_gaussians", "greater than 0")
        check(self.min_variance > 0, "min_variance", "greater than 0")


def train(shard: Shard, model: AcousticModel, cfg: EmConfig, align: AlignConfig, seed: int,
          adapt: Callable[[int], bool] | None = None):
    """Run the schedule on ``model``, starting from ``shard.alignment``; prints a line per pass.

    ``adapt(i)`` is called in pass i after any realignment and before the statistics are collected. It may change the
    features (MLLT, fMLLR), and returns whether it has.
    """
    first = model.mixtures.num_gaussians
    shard.sort_by_pdf(model.transitions)
    for i in range(1, cfg.num_iters + 1):
        if i in cfg.realign:
            shard.align(model, align, f"pass {i}: aligning")
        if (adapt is not None and adapt(i)) or i in cfg.realign:
            with shard.clock("statistics"):
                shard.sort_by_pdf(model.transitions)
        num_gaussians = model.mixtures.num_gaussians
        loglike = em_step(shard, model, cfg.min_occupancy, cfg.min_variance)
        if i < cfg.num_iters:
            target = first + (cfg.num_gaussians - first) * min(i, cfg.grow_until) // cfg.grow_until
            with shard.clock("updates"):
                grow(shard, model, max(target, model.mixtures.num_gaussians), cfg.power, cfg.perturb, seed * 1000 + i)
        if distributed.rank() == 0:
            note = ", realigned" if i in cfg.realign else ""
            say(f"pass {i}/{cfg.num_iters}: log-likelihood per frame {loglike:.3f}, {num_gaussians} Gaussians{note}")
