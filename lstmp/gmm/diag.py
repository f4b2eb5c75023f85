"""Gaussian mixtures with diagonal covariances, one per pdf: likelihoods, EM statistics, updates and splitting.

The Gaussians of all mixtures are stored in flat tensors; those of pdf ``p`` are rows ``offsets[p] : offsets[p + 1]``.
The log-likelihood of a Gaussian is linear in x̃ = (x, x²), so the likelihoods of many frames and states are one matrix
product.
"""

import heapq
import math
from dataclasses import dataclass

import torch


@dataclass
class DiagGmms:
    """The Gaussian mixtures of ``num_pdfs`` pdfs.

    Attributes:
        offsets: int64 [num_pdfs + 1], first row of the Gaussians of each pdf.
        weights: float32 [G], summing to 1 within a pdf.
        means, variances: float32 [G, D].
    """

    offsets: torch.Tensor
    weights: torch.Tensor
    means: torch.Tensor
    variances: torch.Tensor

    def __post_init__(self):
        self._linear = None

    @property
    def num_pdfs(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_gaussians(self) -> int:
        return len(self.weights)

    @property
    def dim(self) -> int:
        return self.means.shape[1]

    @property
    def num_params(self) -> int:
        """Free parameters: a mean and a variance per dimension and a weight per Gaussian."""
        return self.num_gaussians * (2 * self.dim + 1)

    def to(self, device) -> "DiagGmms":
        return DiagGmms(self.offsets.to(device), self.weights.to(device), self.means.to(device),
                        self.variances.to(device))

    def sizes(self) -> torch.Tensor:
        """int64 [num_pdfs]: the number of Gaussians of each pdf."""
        return self.offsets[1:] - self.offsets[:-1]

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(A [G, 2D], b [G]) such that A (x, x²) + b is each Gaussian's log(weight · density)."""
        if self._linear is None:
            inverse = 1.0 / self.variances.double()
            mean = self.means.double()
            constant = (self.weights.double().clamp(min=1e-30).log() - 0.5 * self.dim * math.log(2 * math.pi)
                        + 0.5 * inverse.log().sum(1) - 0.5 * (mean * mean * inverse).sum(1))
            self._linear = (torch.cat([mean * inverse, -0.5 * inverse], 1).float(), constant.float())
        return self._linear

    def loglikes(self, feats: torch.Tensor, pdfs: torch.Tensor | None = None) -> torch.Tensor:
        """Log-likelihoods (natural logarithm) of frames under pdfs.

        Args:
            feats: float32 [T, D].
            pdfs: int64 [P], pdf-ids to compute; default all.

        Returns:
            float32 [T, P].
        """
        if pdfs is None:
            pdfs = torch.arange(self.num_pdfs, device=feats.device)
        a, b = self.linear()
        sizes = self.sizes()[pdfs]
        x = torch.cat([feats, feats * feats], 1).t().contiguous()
        out = feats.new_empty(len(pdfs), len(feats))
        for size in sizes.unique().tolist():  # pdfs with the same number of Gaussians make one block [size, pdfs, T]
            same_size = (sizes == size).nonzero()[:, 0]
            step = max(1, (1 << 22) // max(1, len(feats) * size))  # limits a block to a few tens of MB
            for part in same_size.split(step):
                rows = (torch.arange(size, device=feats.device)[:, None] + self.offsets[pdfs[part]]).reshape(-1)
                block = torch.addmm(b[rows, None], a[rows], x)
                if size == 1:
                    out[part] = block
                    continue
                block = block.view(size, len(part), len(feats))
                top = block.amax(0)  # frames are the innermost dimension, so each operation runs over contiguous memory
                out[part] = block.sub_(top).exp_().sum(0).log_().add_(top)
        return out.t()

    def log_joint(self, pdf: int, feats: torch.Tensor) -> torch.Tensor:
        """log(weight · density) of each Gaussian of one pdf: float32 [T, D] → [T, K]."""
        a, b = self.linear()
        rows = slice(int(self.offsets[pdf]), int(self.offsets[pdf + 1]))
        return torch.addmm(b[rows], torch.cat([feats, feats * feats], 1), a[rows].t())

    def posteriors(self, pdf: int, feats: torch.Tensor) -> torch.Tensor:
        """Posterior of each Gaussian of one pdf in each frame: float32 [T, D] → [T, K], rows summing to 1."""
        return self.log_joint(pdf, feats).softmax(1)

    def split(self, targets: torch.Tensor, perturb: float, generator: torch.Generator) -> "DiagGmms":
        """Grow each pdf to ``targets[p]`` Gaussians (never fewer than it has) by splitting the heaviest Gaussians.

        A split halves the weight and shifts the two means in opposite directions, by ``perturb`` standard deviations
        times a random normal vector.
        """
        grow = (targets - self.sizes()).clamp(min=0)
        noise = torch.randn(int(grow.sum()), self.dim, generator=generator)
        weights, means, variances, used = [], [], [], 0
        for p in range(self.num_pdfs):
            rows = slice(int(self.offsets[p]), int(self.offsets[p + 1]))
            w, m, v = self.weights[rows].tolist(), list(self.means[rows]), list(self.variances[rows])
            for _ in range(int(grow[p])):
                k = max(range(len(w)), key=w.__getitem__)
                shift = perturb * noise[used] * v[k].sqrt()
                used += 1
                w[k] /= 2
                w.append(w[k])
                m.append(m[k] + shift)
                v.append(v[k])
                m[k] = m[k] - shift
            weights += w
            means += m
            variances += v
        sizes = self.sizes() + grow
        return DiagGmms(_offsets(sizes), torch.tensor(weights), torch.stack(means), torch.stack(variances))


@dataclass
class GmmStats:
    """Sufficient statistics in float64: occupancies [G], first and second moments [G, D], log-likelihood, frames."""

    occupancy: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    totals: torch.Tensor  # [2]: log-likelihood of the data, number of frames

    @classmethod
    def zeros(cls, gmms: DiagGmms) -> "GmmStats":
        shape, device = gmms.means.shape, gmms.means.device
        return cls(*(torch.zeros(s, dtype=torch.float64, device=device) for s in (shape[0], shape, shape, (2,))))

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The tensors to sum over processes."""
        return self.occupancy, self.first, self.second, self.totals

    @property
    def loglike_per_frame(self) -> float:
        return float(self.totals[0] / self.totals[1].clamp(min=1))


def accumulate(gmms: DiagGmms, feats: torch.Tensor, pdf_counts: torch.Tensor, stats: GmmStats,
               moments_of: torch.Tensor | None = None, block: int = 65536):
    """Add the statistics of frames with known pdfs to ``stats`` (the E-step within the mixtures).

    Args:
        feats: float32 [N, D], sorted by pdf: first all frames of pdf 0, then of pdf 1, …
        pdf_counts: int64 [num_pdfs], number of frames of each pdf.
        moments_of: other features of the same frames [N, D]. If given, the moments are those of these features, while
            the posteriors still come from ``feats``.
        block: frames that are processed at a time.
    """
    ends = pdf_counts.cumsum(0).tolist()
    offsets, start = gmms.offsets.tolist(), 0
    for p, end in enumerate(ends):
        rows = slice(offsets[p], offsets[p + 1])
        for lo in range(start, end, block):
            x = feats[lo:min(lo + block, end)]
            log_joint = gmms.log_joint(p, x)
            total = log_joint.logsumexp(1)
            posterior = (log_joint - total[:, None]).exp_()
            if moments_of is not None:
                x = moments_of[lo:lo + len(x)]
            moments = (posterior.t() @ torch.cat([x, x * x], 1)).double()
            stats.occupancy[rows] += posterior.sum(0).double()
            stats.first[rows] += moments[:, :gmms.dim]
            stats.second[rows] += moments[:, gmms.dim:]
            stats.totals[0] += total.double().sum()
            stats.totals[1] += len(x)
        start = end


def update(gmms: DiagGmms, stats: GmmStats, *, min_occupancy: float = 10.0, min_weight: float = 1e-5,
           min_variance: float = 0.001, remove: bool = True) -> DiagGmms:
    """Maximum-likelihood update (the M-step).

    A Gaussian with fewer than ``min_occupancy`` frames or a weight below ``min_weight`` is removed. The heaviest
    Gaussian of its pdf is not removed, nor is any if ``remove`` is false: they keep their mean and variance. A pdf
    without data stays unchanged.
    """
    occupancy = stats.occupancy
    pdf_of = torch.repeat_interleave(torch.arange(gmms.num_pdfs, device=occupancy.device), gmms.sizes())
    total = torch.zeros(gmms.num_pdfs, dtype=torch.float64, device=occupancy.device).index_add_(0, pdf_of, occupancy)
    share = occupancy / total.clamp(min=1e-10)[pdf_of]
    enough = (occupancy > min_occupancy) & (share > min_weight)
    n = occupancy.clamp(min=1e-10)[:, None]
    mean = stats.first / n
    variance = (stats.second / n - mean * mean).clamp(min=min_variance)
    means = torch.where(enough[:, None], mean.float(), gmms.means)
    variances = torch.where(enough[:, None], variance.float(), gmms.variances)
    unseen = (total <= 0)[pdf_of]
    weights = torch.where(unseen, gmms.weights.double(), share)
    best = torch.stack([part.max() for part in weights.split(gmms.sizes().tolist())])
    heaviest = weights == best[pdf_of]
    keep = enough | unseen | heaviest if remove else torch.ones_like(enough)
    weights = weights[keep]
    kept_pdf = pdf_of[keep]
    weights = weights / torch.zeros_like(total).index_add_(0, kept_pdf, weights)[kept_pdf]
    sizes = torch.bincount(kept_pdf, minlength=gmms.num_pdfs)
    return DiagGmms(_offsets(sizes), weights.float(), means[keep], variances[keep])


def split_targets(occupancy: torch.Tensor, num_gaussians: int, power: float, min_count: float = 20.0) -> torch.Tensor:
    """Distribute ``num_gaussians`` Gaussians over the pdfs.

    Gaussians are assigned one at a time, to the pdf with the largest occupancy^power per Gaussian. A pdf gets no more
    Gaussians than leave each of them ``min_count`` frames.

    Args:
        occupancy: float [num_pdfs], number of frames of each pdf.

    Returns:
        int64 [num_pdfs], number of Gaussians of each pdf.
    """
    frames = occupancy.tolist()
    sizes = [1] * len(frames)
    heap = [(-(n ** power), p) for p, n in enumerate(frames) if n > 0]
    heapq.heapify(heap)
    spare = num_gaussians - len(frames)
    while spare > 0 and heap:
        _, p = heapq.heappop(heap)
        if frames[p] < min_count * (sizes[p] + 1):
            continue
        sizes[p] += 1
        spare -= 1
        heapq.heappush(heap, (-(frames[p] ** power) / sizes[p], p))
    return torch.tensor(sizes)


def _offsets(sizes: torch.Tensor) -> torch.Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
