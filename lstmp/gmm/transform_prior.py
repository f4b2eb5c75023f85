"""What is known of a speaker's fMLLR transform before he speaks: how the transforms of other speakers differ.

Little speech says little about the D (D + 1) numbers of a transform. But speakers differ in few ways: the length of the
vocal tract, the channel, the voice. The transforms of the training speakers show these, as the axes along which they
spread (compare Povey and Yao, A basis representation of constrained MLLR transforms for robust adaptation, Computer
Speech and Language 26 (2012)). So a transform is estimated as the most probable one (MAP): along the axes a second of
speech tells much, and only much speech tells anything across them.

A transform is written as

    W = (I + Δ) W̄,    Δᵢ = Lᵢ⁻ᵀ dᵢ,    Lᵢ Lᵢᵀ = Ḡᵢ + e e',

with W̄ the transform of an average speaker, Ḡᵢ his statistics for each frame, of dimension i and under W̄, and e the
unit vector of dimension i. The matrix on the right is, but for its sign and for terms between two rows, the second
derivative of the objective of :mod:`lstmp.gmm.fmllr`. So a step of some length, in whatever direction of the
coordinates d, changes the likelihood of an average frame by about the same amount. The prior of d is a Gaussian with
mean zero: variance vₖ along axis k, and a smaller one, the same for all directions, across the axes.
"""

import math

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.gmm.fmllr import SpeakerStats, improve_rows
from lstmp.tensors import are

_ROUNDS_OF_AVERAGE = 40
_TRIES = 6  # of a step that does not improve the transform, each half as long as the one before
_WEAK = 0.05  # variance of the prior with which the transforms of the training speakers are estimated
_ROUNDS_TO_LEARN = 30


class TransformPrior:
    """The prior of the transforms of speakers.

    Args:
        second, linear: float64 [D, (D + 1)(D + 2)/2] and [D, D + 1], statistics of an average speaker, in the form of
            :class:`.SpeakerStats`, for each frame.
        axes: [K, D (D + 1)], orthogonal unit vectors of coordinates.
        variances: [K], along the axes.
        least_variance: across the axes; smaller variances along the axes are raised to it.
        frame_weight: how many independent frames one frame counts for; below 1, as neighbouring frames are alike.

    Attributes:
        average: float64 [D, D + 1], the transform of an average speaker.
        origin: float64 [D, D + 1], his coordinates, zeros.

    Raises:
        RuntimeError: the statistics are not those of any frames.
    """

    def __init__(self, second: torch.Tensor, linear: torch.Tensor, axes: torch.Tensor, variances: torch.Tensor,
                 least_variance: float, frame_weight: float):
        stats = SpeakerStats(second, linear, torch.ones(1, dtype=torch.float64))
        dim, matrices = len(linear), stats.matrices()
        average = np.eye(dim, dim + 1)
        improve_rows(average, torch.linalg.inv(matrices).numpy(), linear.numpy(), 1.0, _ROUNDS_OF_AVERAGE)
        self.average = torch.from_numpy(average)
        self._sign = torch.linalg.slogdet(self.average[:, :-1])[0]
        self._extended = torch.cat([self.average, torch.eye(1, dim + 1, dtype=torch.float64).flip(1)])
        metric = self._extended @ matrices @ self._extended.t()
        row = torch.arange(dim)
        metric[row, row, row] += 1
        self._to_delta = torch.linalg.inv(torch.linalg.cholesky(metric)).transpose(1, 2)  # Lᵢ⁻ᵀ
        self._axes, self._frame_weight = axes.double(), frame_weight
        self._across, self._along = 1 / least_variance, 1 / variances.double().clamp(min=least_variance)
        self.origin = torch.zeros(dim, dim + 1, dtype=torch.float64)

    def transform(self, coordinates: torch.Tensor) -> torch.Tensor:
        """The transform [D, D + 1] of coordinates [D, D + 1]."""
        delta = (self._to_delta @ coordinates[..., None])[..., 0]
        return self.average + delta @ self._extended

    def estimate(self, stats: SpeakerStats, start: torch.Tensor, rounds: int) -> torch.Tensor:
        """The coordinates of the most probable transform for the statistics of a speaker.

        Args:
            stats: of the speaker's frames without a transform.
            start: [D, D + 1], coordinates to begin with.
            rounds: steps of Newton's method, at most.

        Raises:
            ValueError: the statistics are not those of any frames.
            RuntimeError: the same, seen by a linear equation without a solution.
        """
        matrices, linear, beta = stats.matrices(), stats.linear, float(stats.beta)
        if not (beta >= 0 and bool((matrices.diagonal(0, 1, 2) >= 0).all())):
            raise ValueError("no transform for these statistics")

        def value(at: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
            """The objective, the transform, and kᵢ − Gᵢ wᵢ."""
            w = self.transform(at)
            fitted = (matrices @ w[..., None])[..., 0]
            fit = (w * (linear - 0.5 * fitted)).sum()
            sign, volume = torch.linalg.slogdet(w[:, :-1])
            prior = 0.5 * (at * self._prior_gradient(at)).sum()
            objective = float(self._frame_weight * (beta * volume + fit) - prior)
            return objective if sign == self._sign else -math.inf, w, linear - fitted  # no step turns space over

        now, (reached, w, residual) = start, value(start)
        if not math.isfinite(reached):
            raise ValueError("no transform for these statistics")
        for _ in range(rounds):
            residual[:, :-1] += beta * torch.linalg.inv(w[:, :-1]).t()
            gradient = (self._to_delta.transpose(1, 2) @ (residual @ self._extended.t())[..., None])[..., 0]
            step = self._newton(self._frame_weight * gradient - self._prior_gradient(now), self._frame_weight * beta)
            for halving in range(_TRIES):
                there = now + step * 0.5 ** halving
                new = value(there)
                if new[0] > reached:
                    break
            else:
                break
            now, (reached, w, residual) = there, new
        return now

    def _prior_gradient(self, coordinates: torch.Tensor) -> torch.Tensor:
        """The gradient of half the squared distance from the origin, in standard deviations of the prior."""
        return self._across * coordinates + self._on_axes(coordinates, self._along - self._across)

    def _newton(self, gradient: torch.Tensor, frames: float) -> torch.Tensor:
        """The gradient divided by the second derivative of an average speaker's objective."""
        across = 1 / (frames + self._across)
        return across * gradient + self._on_axes(gradient, 1 / (frames + self._along) - across)

    def _on_axes(self, coordinates: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        """The parts of coordinates along the axes, multiplied by a factor each."""
        return ((factors * (self._axes @ coordinates.reshape(-1))) @ self._axes).view_as(coordinates)


class CoordinateEstimator:
    """Estimates the coordinates of training speakers, from which :func:`principal_axes` learns a prior.

    Args:
        second, linear: of an average speaker, as for :class:`TransformPrior`.
    """

    def __init__(self, second: torch.Tensor, linear: torch.Tensor):
        size = linear.numel()
        self._prior = TransformPrior(second, linear, torch.zeros(0, size), torch.zeros(0), _WEAK, 1.0)

    def __call__(self, stats: SpeakerStats) -> Array:
        """The coordinates of a speaker, float64 [D (D + 1)]; with little speech they are nearer to zero.

        Raises:
            ValueError: as for :meth:`TransformPrior.estimate`.
        """
        return self._prior.estimate(stats, self._prior.origin, _ROUNDS_TO_LEARN).reshape(-1).numpy()


def is_prior(axes: torch.Tensor, variances: torch.Tensor, size: int) -> bool:
    """Whether these, perhaps from a damaged file, are axes and variances for coordinates of ``size`` numbers."""
    if not are("float32", axes, dims=2) or not are("float32", variances) or axes.shape != (len(variances), size):
        return False
    products = axes.double() @ axes.double().t()
    return bool(((products - torch.eye(len(axes))).abs() < 1e-3).all()) and bool((variances >= 0).all()) \
        and bool(variances.isfinite().all())


def principal_axes(coordinates: Array, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The directions in which speakers are farthest from the average one.

    Args:
        coordinates: [S, N], of each speaker.
        count: number of axes; fewer if there are fewer speakers.

    Returns:
        (axes float32 [K, N], mean squares along them float32 [K], the largest first).
    """
    _, spread, axes = np.linalg.svd(coordinates, full_matrices=False)
    squares = spread ** 2 / max(len(coordinates), 1)
    return torch.from_numpy(axes[:count].astype(np.float32)), torch.from_numpy(squares[:count].astype(np.float32))
