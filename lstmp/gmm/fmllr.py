"""Feature-space maximum likelihood linear regression (constrained MLLR): one affine transform of a speaker's features.

Gales, Maximum likelihood linear transformations for HMM-based speech recognition, Computer Speech and Language 12
(1998), section 2.2 and appendix. With ξ = (x, 1) and x̂ = W ξ, W = [A b], the transform maximizes

    β·log|det A| + Σᵢ (wᵢ·kᵢ − ½ wᵢ Gᵢ wᵢᵀ),    Gᵢ = Σ γ/σᵢ² ξξᵀ,    kᵢ = Σ γ μᵢ/σᵢ² ξ,    β = Σ γ

over frames and Gaussians, row by row. The Gaussians' sums per frame (:func:`frame_terms`) are kept apart from the sums
over a speaker's frames (:meth:`SpeakerStats.add`), so that both are matrix products.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from lstmp.gmm.diag import DiagGmms

_SINGULAR = 1e-6  # ratio of the least to the greatest eigenvalue below which sums made in float32 say nothing
_BLOCK = 4096  # frames at a time: their outer products take 14 MB with D = 40


@dataclass
class SpeakerStats:
    """A speaker's sums in float64.

    Attributes:
        second: [D, (D + 1)(D + 2)/2], the upper triangles of the Gᵢ, row by row.
        linear: [D, D + 1], the kᵢ.
        beta: [1], the frames.
    """

    second: torch.Tensor
    linear: torch.Tensor
    beta: torch.Tensor

    @classmethod
    def zeros(cls, dim: int) -> "SpeakerStats":
        shapes = (dim, (dim + 1) * (dim + 2) // 2), (dim, dim + 1), (1,)
        return cls(*(torch.zeros(s, dtype=torch.float64) for s in shapes))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The tensors to sum over processes."""
        return self.second, self.linear, self.beta

    def add(self, feats: torch.Tensor, precision: torch.Tensor, target: torch.Tensor, weight: torch.Tensor):
        """Add frames [T, D] with what :func:`frame_terms` gave for them, and their weights [T]."""
        size = feats.shape[1] + 1
        for x, a, b in zip(feats.split(_BLOCK), precision.split(_BLOCK), target.split(_BLOCK), strict=True):
            xi = torch.cat([x, x.new_ones(len(x), 1)], 1).t().contiguous()  # frames innermost: long rows to multiply
            outer = torch.cat([xi[i] * xi[i:] for i in range(size)])
            self.second += (outer @ a).t().double().cpu()
            self.linear += (xi @ b).t().double().cpu()
        self.beta += float(weight.double().sum())

    def matrices(self) -> torch.Tensor:
        """The Gᵢ, float64 [D, D + 1, D + 1]."""
        size = self.linear.shape[1]
        row, column = torch.triu_indices(size, size)
        out = self.second.new_zeros(len(self.second), size, size)
        out[:, row, column] = out[:, column, row] = self.second
        return out


def frame_terms(gmms: DiagGmms, feats: torch.Tensor, pdfs: torch.Tensor, weight: torch.Tensor,
                like: tuple[DiagGmms, torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Σ γ/σ² and Σ γ μ/σ² over each frame's Gaussians.

    Args:
        gmms: the mixtures that the transformed features shall fit.
        feats: float32 [N, D], as the mixtures of ``gmms`` see them now.
        pdfs: int64 [N], the pdf of each frame.
        weight: float32 [N], what the frame counts; 0 leaves it out.
        like: other mixtures with as many Gaussians, and other features of the same frames, by which γ is computed: the
            speaker-independent ones, before a first transform is known.

    Returns:
        (precision, target), each float32 [N, D].
    """
    model, seen = like or (gmms, feats)
    precision, target = torch.zeros_like(feats), torch.zeros_like(feats)
    order = torch.argsort(pdfs, stable=True)
    order = order[weight[order] > 0]
    counts = torch.bincount(pdfs[order], minlength=gmms.num_pdfs).tolist()
    start = 0
    for p, count in enumerate(counts):
        rows = slice(int(gmms.offsets[p]), int(gmms.offsets[p + 1]))
        inverse = 1.0 / gmms.variances[rows]
        both = torch.cat([inverse, gmms.means[rows] * inverse], 1)
        for at in order[start:start + count].split(_BLOCK):
            if len(at):
                sums = (model.posteriors(p, seen[at]) * weight[at, None]) @ both
                precision[at], target[at] = sums[:, :feats.shape[1]], sums[:, feats.shape[1]:]
        start += count
    return precision, target


def objective(stats: SpeakerStats, transform: torch.Tensor) -> float:
    """What the transform [D, D + 1] maximizes: the frames' log-likelihood up to a constant."""
    w = transform.double()
    fit = (w * stats.linear).sum() - 0.5 * torch.einsum("id,ide,ie->", w, stats.matrices(), w)
    return float(stats.beta * torch.linalg.slogdet(w[:, :-1])[1] + fit)


def estimate(stats: SpeakerStats, min_count: float, iters: int = 40) -> tuple[torch.Tensor, float]:
    """A speaker's transform and its gain: (W float32 [D, D + 1], log-likelihood per frame more than without).

    With fewer than ``min_count`` frames, or where the statistics are degenerate, the transform is the identity.
    """
    dim, beta = len(stats.linear), float(stats.beta)
    w = torch.eye(dim, dim + 1, dtype=torch.float64)
    identity = w.float()
    if beta < min_count or beta <= 0:
        return identity, 0.0
    second = stats.matrices()
    spread = torch.linalg.eigvalsh(second)  # ascending
    if bool((spread[:, 0] < _SINGULAR * spread[:, -1]).any()):
        return identity, 0.0
    before = objective(stats, w)
    _row_by_row(w.numpy(), torch.linalg.inv(second).numpy(), stats.linear.numpy(), beta, iters)
    gain = (objective(stats, w) - before) / beta
    if not gain >= 0:  # NaN too
        return identity, 0.0
    return w.float(), gain


def _row_by_row(w: np.ndarray, inverse: np.ndarray, linear: np.ndarray, beta: float, iters: int):
    """Improve the transform ``w`` [D, D + 1] in place; ``inverse`` are the Gᵢ⁻¹, ``linear`` the kᵢ."""
    dim = len(w)
    for _ in range(iters):
        of_a = torch.linalg.inv(torch.from_numpy(w[:, :-1].copy())).numpy()  # numpy's starts threads for it
        for i in range(dim):
            cofactor = of_a[:, i].copy()  # up to det A, which α takes up
            pg = inverse[i, :, :-1] @ cofactor
            alpha = _best_alpha(float(pg[:-1] @ cofactor), float(pg @ linear[i]), beta)
            row = alpha * pg + inverse[i] @ linear[i]
            change = (row[:-1] - w[i, :-1]) @ of_a
            of_a -= np.outer(cofactor, change / (1 + change[i]))  # Sherman and Morrison: one row of A has changed
            w[i] = row


def _best_alpha(a: float, b: float, beta: float) -> float:
    """The root of a·α² + b·α − β = 0 with the greater β·log|a·α + b| − ½·a·α²."""
    root = (b * b + 4 * a * beta) ** 0.5
    far = -0.5 * (b + root if b > 0 else b - root)  # the two of one sign: no cancellation
    return max((far / a, -beta / far), key=lambda x: beta * math.log(abs(a * x + b)) - 0.5 * a * x * x)


def mean_gain(speakers: Iterable[tuple[SpeakerStats, float]]) -> float:
    """Gain in log-likelihood per frame over all speakers, from each one's statistics and own gain per frame."""
    weighted = [(float(stats.beta), gain) for stats, gain in speakers]
    return sum(frames * gain for frames, gain in weighted) / max(sum(frames for frames, _ in weighted), 1.0)
