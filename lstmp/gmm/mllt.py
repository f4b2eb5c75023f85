"""Maximum likelihood linear transform (semi-tied covariance with one class), estimated row by row.

Gales, Semi-tied covariance matrices for hidden Markov models, IEEE Trans. SAP 7 (1999). The square matrix A makes
diagonal covariances fit best: it maximizes β·log|det A| − ½ Σᵢ aᵢ Gᵢ aᵢᵀ, where aᵢ are the rows of A, and
Gᵢ = Σ γ (x − μ)(x − μ)ᵀ / σᵢ² is summed over frames and Gaussians.
"""

from dataclasses import dataclass

import torch

from lstmp.gmm.diag import DiagGmms


@dataclass
class MlltStats:
    """Statistics in float64: ``second`` [D, D, D], the matrices Gᵢ; ``beta`` [1], the number of frames."""

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
    """Add the statistics of frames with known pdfs to ``stats``.

    Args:
        feats: float32 [N, D], sorted by pdf.
        pdf_counts: int64 [num_pdfs], number of frames of each pdf.
        skip: bool [num_pdfs], pdfs to leave out (silence).
        block: frames that are processed at a time.
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
    """The objective that A maximizes: log-likelihood per frame up to a constant."""
    quadratic = torch.einsum("id,ide,ie->", a, stats.second, a)
    return float(torch.linalg.slogdet(a)[1] - 0.5 * quadratic / stats.beta)


def estimate(stats: MlltStats, max_iters: int = 200, tolerance: float = 1e-8) -> tuple[torch.Tensor, float]:
    """Estimate the transform: each row in turn is set to its optimum given the other rows.

    Iteration stops when a round over the rows gains less than ``tolerance`` per frame.

    Returns:
        (A float64 [D, D], gain in log-likelihood per frame).
    """
    dim = len(stats.second)
    a = torch.eye(dim, dtype=torch.float64)
    if stats.beta <= 0:
        return a, 0.0
    first = last = objective(stats, a)
    inverse = torch.linalg.inv(stats.second)
    for _ in range(max_iters):
        for i in range(dim):
            cofactor = torch.linalg.inv(a)[:, i]  # the cofactors divided by det A; the factor cancels
            row = inverse[i] @ cofactor
            a[i] = row * torch.sqrt(stats.beta / (cofactor @ row))
        value = objective(stats, a)
        if value - last < tolerance:
            break
        last = value
    return a, value - first
