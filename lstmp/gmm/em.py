"""Viterbi training of a GMM-HMM: align, collect statistics, update, split; by any number of processes.

Only sums travel between the processes, and every one makes the same update from the same sums.
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
    """One pass of EM within the present alignment. Updates ``model``; returns the log-likelihood per frame before."""
    with shard.clock("statistics"):
        stats = diag.GmmStats.zeros(model.mixtures)
        diag.accumulate(model.mixtures, shard.sorted_feats, shard.pdf_counts, stats)
    counts = shard.tid_counts.clone()
    with shard.clock("waiting"):
        distributed.all_reduce(*stats.tensors(), counts)
    with shard.clock("updates"):
        model.transitions.update(counts)
        model.gmms = diag.update(model.mixtures, stats, min_occupancy=min_occupancy, min_variance=min_variance)
    return stats.loglike_per_frame


def grow(shard: Shard, model: AcousticModel, num_gaussians: int, power: float, perturb: float, seed: int):
    """Split to ``num_gaussians`` in all, shared out by the pdfs' frames to the ``power``."""
    occupancy = shard.pdf_counts.double().clone()
    distributed.all_reduce(occupancy)
    targets = diag.split_targets(occupancy.cpu(), num_gaussians, power)
    generator = torch.Generator().manual_seed(seed)
    model.gmms = model.mixtures.to("cpu").split(targets, perturb, generator).to(shard.device)


@dataclass(frozen=True)
class EmConfig:
    """The schedule of a training: passes, realignments and growth.

    Attributes:
        num_iters: EM passes.
        realign: passes before which the data are aligned anew.
        num_gaussians: how many to end with.
        grow_until: pass after which the number stays.
        power: a pdf's share of Gaussians goes with its frames to this power.
        perturb: standard deviations by which the halves of a split Gaussian move apart.
        min_occupancy: frames below which a Gaussian is removed.
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

    ``adapt(i)`` is called before the statistics of pass i, after any realignment; it may change the features (MLLT,
    fMLLR), and says whether it has.
    """
    first = model.mixtures.num_gaussians
    shard.sort_by_pdf(model.transitions)
    for i in range(1, cfg.num_iters + 1):
        if i in cfg.realign:
            shard.align(model, align, f"pass {i}: aligning")
        if (adapt is not None and adapt(i)) or i in cfg.realign:
            with shard.clock("statistics"):
                shard.sort_by_pdf(model.transitions)
        before = model.mixtures.num_gaussians
        loglike = em_step(shard, model, cfg.min_occupancy, cfg.min_variance)
        if i < cfg.num_iters:
            target = first + (cfg.num_gaussians - first) * min(i, cfg.grow_until) // cfg.grow_until
            with shard.clock("updates"):
                grow(shard, model, max(target, model.mixtures.num_gaussians), cfg.power, cfg.perturb, seed * 1000 + i)
        if distributed.rank() == 0:
            note = ", realigned" if i in cfg.realign else ""
            say(f"pass {i}/{cfg.num_iters}: log-likelihood per frame {loglike:.3f}, {before} Gaussians{note}")
