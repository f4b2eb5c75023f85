"""Feature-space maximum likelihood linear regression (fMLLR, constrained MLLR): an affine transform for each speaker.

Gales, Maximum likelihood linear transformations for HMM-based speech recognition, Computer Speech and Language 12
(1998), section 2.2 and appendix. With ξ = (x, 1) and x̂ = W ξ, W = [A b], the transform maximizes

    β·log|det A| + Σᵢ (wᵢ·kᵢ − ½ wᵢ Gᵢ wᵢᵀ),    Gᵢ = Σ γ/σᵢ² ξξᵀ,    kᵢ = Σ γ μᵢ/σᵢ² ξ,    β = Σ γ

with the sums taken over frames and Gaussians. It is optimized row by row. The sums over the Gaussians of each frame
(:func:`frame_terms`) are computed separately from the sums over a speaker's frames (:meth:`SpeakerStats.add`), so
that both are matrix products.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from lstmp.gmm.diag import DiagGmms

_SINGULAR = 1e-6  # a smaller ratio of smallest to largest eigenvalue is below the precision of float32 sums
_BLOCK = 4096  # frames that are processed at a time: their outer products take 14 MB with D = 40


@dataclass
class SpeakerStats:
    """Statistics of one speaker in float64.

    Attributes:
        second: [D, (D + 1)(D + 2)/2], the upper triangles of the Gᵢ, row by row.
        linear: [D, D + 1], the kᵢ.
        beta: [1], the sum of the frame weights.
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
        """Add frames [T, D] with their terms from :func:`frame_terms` and their weights [T]."""
        size = feats.shape[1] + 1
        for x, a, b in zip(feats.split(_BLOCK), precision.split(_BLOCK), target.split(_BLOCK), strict=True):
            xi = torch.cat([x, x.new_ones(len(x), 1)], 1).t().contiguous()  # frames innermost: products of long rows
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
                posteriors_by: tuple[DiagGmms, torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute Σ γ/σ² and Σ γ μ/σ² over the Gaussians of each frame.

    Args:
        gmms: the mixtures that the transform is estimated for.
        feats: float32 [N, D], features under the current transform.
        pdfs: int64 [N], the pdf of each frame.
        weight: float32 [N], weight of each frame; frames of weight 0 are skipped.
        posteriors_by: mixtures with the same number of Gaussians, and other features of the same frames, from which
            the posteriors γ are computed instead: speaker-independent ones, as long as there is no transform.

    Returns:
        (precision, target), each float32 [N, D].
    """
    posterior_gmms, posterior_feats = posteriors_by or (gmms, feats)
    precision, target = torch.zeros_like(feats), torch.zeros_like(feats)
    order = torch.argsort(pdfs, stable=True)
    order = order[weight[order] > 0]
    counts = torch.bincount(pdfs[order], minlength=gmms.num_pdfs).tolist()
    start = 0
    for p, count in enumerate(counts):
        rows = slice(int(gmms.offsets[p]), int(gmms.offsets[p + 1]))
        inverse = 1.0 / gmms.variances[rows]
        both = torch.cat([inverse, gmms.means[rows] * inverse], 1)
        for block in order[start:start + count].split(_BLOCK):
            if len(block):
                posteriors = posterior_gmms.posteriors(p, posterior_feats[block])
                sums = (posteriors * weight[block, None]) @ both
                precision[block], target[block] = sums[:, :feats.shape[1]], sums[:, feats.shape[1]:]
        start += count
    return precision, target


def objective(stats: SpeakerStats, transform: torch.Tensor) -> float:
    """The objective that the transform [D, D + 1] maximizes: log-likelihood of the frames up to a constant."""
    w = transform.double()
    fit = (w * stats.linear).sum() - 0.5 * torch.einsum("id,ide,ie->", w, stats.matrices(), w)
    return float(stats.beta * torch.linalg.slogdet(w[:, :-1])[1] + fit)


def estimate(stats: SpeakerStats, min_count: float, iters: int = 40) -> tuple[torch.Tensor, float]:
    """Estimate the transform of a speaker.

    Returns:
        (W float32 [D, D + 1], gain in log-likelihood per frame). W is the identity if there are fewer than
        ``min_count`` frames or the statistics are degenerate.
    """
    dim, beta = len(stats.linear), float(stats.beta)
    w = torch.eye(dim, dim + 1, dtype=torch.float64)
    identity = w.float()
    if beta < min_count or beta <= 0:
        return identity, 0.0
    second = stats.matrices()
    eigenvalues = torch.linalg.eigvalsh(second)  # ascending
    if bool((eigenvalues[:, 0] < _SINGULAR * eigenvalues[:, -1]).any()):
        return identity, 0.0
    before = objective(stats, w)
    improve_rows(w.numpy(), torch.linalg.inv(second).numpy(), stats.linear.numpy(), beta, iters)
    gain = (objective(stats, w) - before) / beta
    if not gain >= 0:  # also true for NaN
        return identity, 0.0
    return w.float(), gain


def improve_rows(w: np.ndarray, inverse: np.ndarray, linear: np.ndarray, beta: float, iters: int):
    """Improve the transform ``w`` [D, D + 1] in place; ``inverse`` holds the Gᵢ⁻¹, ``linear`` the kᵢ."""
    dim = len(w)
    for _ in range(iters):
        a_inverse = torch.linalg.inv(torch.from_numpy(w[:, :-1].copy())).numpy()  # numpy's inv would start threads
        for i in range(dim):
            cofactor = a_inverse[:, i].copy()  # the cofactors divided by det A; α absorbs the factor
            pg = inverse[i, :, :-1] @ cofactor
            alpha = _best_alpha(float(pg[:-1] @ cofactor), float(pg @ linear[i]), beta)
            row = alpha * pg + inverse[i] @ linear[i]
            change = (row[:-1] - w[i, :-1]) @ a_inverse
            a_inverse -= np.outer(cofactor, change / (1 + change[i]))  # Sherman-Morrison: one row of A has changed
            w[i] = row


def _best_alpha(a: float, b: float, beta: float) -> float:
    """The root of a·α² + b·α − β = 0 with the larger β·log|a·α + b| − ½·a·α²."""
    root = (b * b + 4 * a * beta) ** 0.5
    far = -0.5 * (b + root if b > 0 else b - root)  # both terms have the same sign, so nothing cancels
    return max((far / a, -beta / far), key=lambda x: beta * math.log(abs(a * x + b)) - 0.5 * a * x * x)


def mean_gain(weighted: list[tuple[float, float]]) -> float:
    """Average gain in log-likelihood per frame, from the number of frames and the gain per frame of each speaker."""
    return sum(frames * gain for frames, gain in weighted) / max(sum(frames for frames, _ in weighted), 1.0)
