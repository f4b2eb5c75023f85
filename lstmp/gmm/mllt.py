"""Maximum likelihood linear transform (semi-tied covariance with one class), estimated row by row.

Gales, Semi-tied covariance matrices for hidden Markov models, IEEE Trans. SAP 7 (1999). A square matrix A is sought
that makes diagonal covariances fit best: it maximizes β·log|det A| − ½ Σᵢ aᵢ Gᵢ aᵢᵀ, where aᵢ are its rows and
Gᵢ = Σ γ (x − μ)(x − μ)ᵀ / σᵢ² over frames and Gaussians.
"""

from dataclasses import dataclass

import torch

from lstmp.gmm.diag import DiagGmms


@dataclass
class MlltStats:
    """Sums in float64: ``second`` [D, D, D], the matrices Gᵢ; ``beta`` [1], the frames."""

    second: torch.Tensor
    beta: torch.Tensor

    @classmethod
    def zeros(cls, dim: int) -> "MlltStats":
        return cls(torch.zeros(dim, dim, dim, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The tensors to sum over processes."""
        return self.second, self.beta


def accumulate(gmms: DiagGmms, feats: torch.Tensor, pdf_counts: torch.Tensor, skip: torch.Tensor, stats: MlltStats,
               block: int = 8192):
    """Add the statistics of frames whose pdf is known.

    Args:
        feats: float32 [N, D], sorted by pdf; pdf_counts: int64 [num_pdfs], frames of each pdf.
        skip: bool [num_pdfs], pdfs whose frames do not count (silence).
        block: frames at a time.
    """
    start = 0
    for p, end in enumerate(pdf_counts.cumsum(0).tolist()):
        rows = slice(int(gmms.offsets[p]), int(gmms.offsets[p + 1]))
        mean, inverse = gmms.means[rows], 1.0 / gmms.variances[rows]
        for lo in range(start, start if skip[p] else end, block):
            x = feats[lo:min(lo + block, end)]
            posterior = gmms.posteriors(p, x).t()                                          # [K, n]
            centred = x - mean[:, None]                                                    # [K, n, D]
            scatter = (centred * posterior[:, :, None]).transpose(1, 2) @ centred          # [K, D, D]
            stats.second += (inverse.t() @ scatter.reshape(len(mean), -1)).view_as(stats.second).double().cpu()
            stats.beta += len(x)
        start = end


def objective(stats: MlltStats, a: torch.Tensor) -> float:
    """What A maximizes, per frame: the log-likelihood up to a constant."""
    quadratic = torch.einsum("id,ide,ie->", a, stats.second, a)
    return float(torch.linalg.slogdet(a)[1] - 0.5 * quadratic / stats.beta)


def estimate(stats: MlltStats, max_iters: int = 200, tolerance: float = 1e-8) -> tuple[torch.Tensor, float]:
    """The transform and its gain: (A float64 [D, D], log-likelihood per frame more than without it).

    Each row is set to its best value given the others, in turn, until a round gains less than ``tolerance`` per frame.
    """
    dim = len(stats.second)
    a = torch.eye(dim, dtype=torch.float64)
    if stats.beta <= 0:
        return a, 0.0
    first = last = objective(stats, a)
    inverse = torch.linalg.inv(stats.second)
    for _ in range(max_iters):
        for i in range(dim):
            cofactor = torch.linalg.inv(a)[:, i]  # up to det A, which cancels
            row = inverse[i] @ cofactor
            a[i] = row * torch.sqrt(stats.beta / (cofactor @ row))
        now = objective(stats, a)
        if now - last < tolerance:
            break
        last = now
    return a, now - first
