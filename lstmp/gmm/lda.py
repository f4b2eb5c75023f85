"""Linear discriminant analysis: the projection that keeps tied states apart best.

Fukunaga, Introduction to Statistical Pattern Recognition, ch. 10; Haeb-Umbach and Ney, ICASSP 1992. With W the
covariance within the classes and B that between their means, the rows of the projection are the leading generalized
eigenvectors of (B, W), scaled so that W becomes the identity.
"""

from dataclasses import dataclass

import torch

from lstmp.errors import UserError


@dataclass
class LdaStats:
    """Sums in float64: frames of each class [C], sum of x by class [C, D], sum of x·xᵀ over all [D, D]."""

    counts: torch.Tensor
    sums: torch.Tensor
    second: torch.Tensor

    @classmethod
    def zeros(cls, num_classes: int, dim: int) -> "LdaStats":
        return cls(*(torch.zeros(s, dtype=torch.float64) for s in ((num_classes,), (num_classes, dim), (dim, dim))))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The tensors to sum over processes."""
        return self.counts, self.sums, self.second

    def add(self, feats: torch.Tensor, classes: torch.Tensor):
        """Add frames [T, D] with their classes int64 [T]; those of class −1 do not count."""
        wanted = classes >= 0
        x, classes = feats[wanted], classes[wanted]
        self.counts += torch.bincount(classes, minlength=len(self.counts))
        self.sums.index_add_(0, classes, x.double())
        self.second += (x.t() @ x).double()


def estimate(stats: LdaStats, dim: int) -> torch.Tensor:
    """The projection, float32 [dim, D]; rows by falling ratio of variance between to variance within the classes.

    Raises:
        UserError: no frames, too few for a covariance, or ``dim`` larger than D.
    """
    total, full = stats.counts.sum(), len(stats.second)
    if not 0 < dim <= full:
        raise UserError(f"`lda_dim` is {dim}, the spliced features have {full} dimensions", hint="lower lda_dim")
    if total <= full:
        raise UserError(f"{int(total)} frames of speech are too few for LDA of {full} dimensions",
                        hint="give more data")
    mean = stats.sums.sum(0) / total
    means = stats.sums / stats.counts.clamp(min=1)[:, None]
    between = (stats.counts[:, None] * means).t() @ means / total - torch.outer(mean, mean)
    within = stats.second / total - torch.outer(mean, mean) - between
    lower, fault = torch.linalg.cholesky_ex(within)
    if fault:
        raise UserError("some dimension of the features does not vary within the tied states",
                        hint="look at the features for constant or repeated dimensions")
    half = torch.linalg.solve_triangular(lower, between, upper=False)
    whitened = torch.linalg.solve_triangular(lower, half.t(), upper=False)
    _, vectors = torch.linalg.eigh((whitened + whitened.t()) / 2)  # ascending
    rows = torch.linalg.solve_triangular(lower.t(), vectors.flip(1)[:, :dim], upper=True).t()
    largest = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    return (rows * largest.sign()).float()  # the sign of an eigenvector is arbitrary: choose one
