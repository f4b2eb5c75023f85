"""i-vectors: what was heard of a speaker and a channel so far, as a vector, estimated online.

The mean of Gaussian g of a background model is m_g + T_g w in the speech of one speaker, with the i-vector w, whose
prior is a standard normal distribution (Dehak et al., "Front-End Factor Analysis for Speaker Verification", 2011). With
the counts N_g and the sums F_g of the frames so far, the estimate is

    w = (I + Σ_g N_g T_gᵀ Σ_g⁻¹ T_g)⁻¹ Σ_g T_gᵀ Σ_g⁻¹ (F_g − N_g m_g)

which is 0 before the first frame and stays near it after few frames. As in Kaldi, the posteriors of the Gaussians are
computed from frames after online CMVN, the sums from frames without it, which show the channel; frames count for
`posterior_scale`; an estimate is made every `period` frames.

The frames are cepstra of the filterbank energies, spliced and projected by PCA.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.config import check
from lstmp.errors import UserError
from lstmp.features.history import Heard
from lstmp.features.online_cmvn import OnlineNormalization
from lstmp.tensors import opened, write_tensors

NAME = "ivectors.safetensors"


@dataclass(frozen=True)
class IvectorConfig:
    """The values of conf/ivector.yaml, explained there."""

    cepstra: int
    context: int
    pca_dim: int
    gaussians: int
    best_gaussians: int
    dim: int
    ubm_frames: int
    ubm_iterations: int
    iterations: int
    posterior_scale: float
    max_count: float
    period: int
    window: int
    speaker_frames: int
    global_frames: int
    utterances: int
    seed: int

    def __post_init__(self) -> None:
        for name in ("cepstra", "pca_dim", "gaussians", "best_gaussians", "dim", "ubm_frames", "ubm_iterations",
                     "iterations", "period", "window", "global_frames", "utterances"):
            check(getattr(self, name) >= 1, name, "at least 1")
        check(0 <= self.context <= 20, "context", "between 0 and 20")
        check(self.pca_dim <= self.cepstra * (1 + 2 * self.context), "pca_dim", "at most cepstra · (1 + 2 context)")
        check(self.best_gaussians <= self.gaussians, "best_gaussians", "at most `gaussians`")
        check(0 < self.posterior_scale <= 1, "posterior_scale", "above 0, at most 1")
        check(self.max_count > 0, "max_count", "above 0")
        for name in ("seed", "speaker_frames"):
            check(getattr(self, name) >= 0, name, "0 or more")

    def normalization(self, mean: Array, variance: Array) -> OnlineNormalization:
        """The online CMVN of the energies; ``mean`` and ``variance``, [D], are those of the training data."""
        return OnlineNormalization(self.window, self.speaker_frames, self.global_frames, False, mean, variance)


def cosine_transform(filters: int, cepstra: int) -> Array:
    """The matrix [filters, cepstra] from log energies to cepstra: the first rows of an orthonormal DCT-II."""
    angle = np.pi / filters * np.outer(np.arange(filters) + 0.5, np.arange(cepstra))
    scale = np.where(np.arange(cepstra) == 0, np.sqrt(1 / filters), np.sqrt(2 / filters))
    return np.cos(angle) * scale


class Extractor:
    """A trained i-vector extractor.

    Args:
        cfg: configuration.
        projection: float64 [filters · (1 + 2 context), P], from spliced energies to the frames of the Gaussians.
        offset: float64 [P], subtracted from them.
        weights, means, variances: float64 [G], [G, P], [G, P], the background model, of frames after online CMVN.
        raw_means, raw_variances: float64 [G, P], the model of the same frames without CMVN.
        loading: float64 [G, P, K], T_g.
        cmvn_mean, cmvn_variance: float64 [filters], of the energies, for online CMVN.

    Attributes:
        filters: number of filterbank energies.
        dim: K.
        normalization: the online CMVN.
        weighted_loading: float64 [G P, K], Σ_g⁻¹ T_g of all Gaussians.
    """

    TENSORS = ("projection", "offset", "weights", "means", "variances", "raw_means", "raw_variances", "loading",
               "cmvn_mean", "cmvn_variance")

    def __init__(self, cfg: IvectorConfig, projection: Array, offset: Array, weights: Array, means: Array,
                 variances: Array, raw_means: Array, raw_variances: Array, loading: Array, cmvn_mean: Array,
                 cmvn_variance: Array):
        self.cfg, self.projection, self.offset = cfg, projection, offset
        self.cmvn_mean, self.cmvn_variance = cmvn_mean, cmvn_variance
        self.normalization = cfg.normalization(cmvn_mean, cmvn_variance)
        self.weights, self.means, self.variances = weights, means, variances
        self.raw_means, self.raw_variances, self.loading = raw_means, raw_variances, loading
        self.filters, self.dim = len(projection) // (1 + 2 * cfg.context), loading.shape[2]
        self._constant = (np.log(weights) - 0.5 * (np.log(2 * np.pi * variances) + means ** 2 / variances).sum(1))
        self._linear, self._square = (means / variances).T, -0.5 / variances.T
        weighted = loading / raw_variances[:, :, None]  # Σ⁻¹ T
        self.weighted_loading = weighted.reshape(-1, self.dim)  # [G P, K]: Σ_g⁻¹ T_g
        self._quad = np.einsum("gpk,gpl->gkl", weighted, loading).reshape(len(weights), -1)  # [G, K²]

    def write(self, path: Path) -> None:
        """Write the extractor to one safetensors file."""
        tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in self.TENSORS}
        write_tensors(path, tensors, {"ivectors": json.dumps(asdict(self.cfg))})

    @classmethod
    def read(cls, path: Path) -> "Extractor":
        """Read what :meth:`write` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        hint = "train the i-vectors again (steps/train_ivectors.sh)"
        with opened(path, "not an i-vector extractor, or cut off", hint, ("no such file", hint), "np") as f:
            cfg = config.build(config.json_value(f.metadata()["ivectors"]), IvectorConfig, file=path)
            x = {name: f.get_tensor(name) for name in cls.TENSORS}
        gaussians, dim = x["means"].shape if x["means"].ndim == 2 else (0, 0)
        shapes = {"offset": (dim,), "weights": (gaussians,), "loading": (gaussians, dim, cfg.dim)}
        shapes |= {name: (gaussians, dim) for name in ("variances", "raw_means", "raw_variances")}
        rows, columns = x["projection"].shape if x["projection"].ndim == 2 else (0, 0)
        shapes |= {name: (rows // (1 + 2 * cfg.context),) for name in ("cmvn_mean", "cmvn_variance")}
        if any(x[name].shape != shape for name, shape in shapes.items()) or columns != dim or not rows \
                or rows % (1 + 2 * cfg.context) or cfg.best_gaussians > gaussians \
                or not all(np.isfinite(a).all() for a in x.values()) \
                or min(x["weights"].min(), x["variances"].min(), x["raw_variances"].min()) <= 0:
            raise UserError("not an i-vector extractor", file=path, hint=hint)
        return cls(cfg, **{name: a.astype(np.float64) for name, a in x.items()})

    def project(self, spliced: Array) -> Array:
        """The frames of the Gaussians [T, P], from spliced energies [T, filters · (1 + 2 context)]."""
        return _product(spliced, self.projection) - self.offset

    def posteriors(self, x: Array) -> Array:
        """[T, G]: posterior of each Gaussian given a normalized frame [T, P]; only the best ones, which sum to 1."""
        scores = self._constant + _product(x, self._linear) + _product(x * x, self._square)
        return sparse_posteriors(scores, self.cfg.best_gaussians)

    def estimate(self, counts: Array, linear: Array) -> Array:
        """The i-vectors, float64 [B, K].

        Args:
            counts: [B, G], counts of the frames, scaled.
            linear: [B, K], Σ_g T_gᵀ Σ_g⁻¹ (F_g − N_g m_g).
        """
        scale = np.minimum(1.0, self.cfg.max_count / np.maximum(counts.sum(1), 1e-10))[:, None]
        precision = torch.from_numpy(self.precision(scale * counts))
        return torch.linalg.solve(precision, torch.from_numpy((scale * linear)[:, :, None]))[:, :, 0].numpy()

    def precision(self, counts: Array) -> Array:
        """I + Σ_g N_g T_gᵀ Σ_g⁻¹ T_g for counts [B, G]: [B, K, K]."""
        return _product(counts, self._quad).reshape(-1, self.dim, self.dim) + np.eye(self.dim)

    def replaced(self, **tensors: Array) -> "Extractor":
        """The extractor with other values of some tensors."""
        return Extractor(self.cfg, **{name: getattr(self, name) for name in self.TENSORS} | tensors)

    def linear_term(self, posteriors: Array, raw: Array) -> Array:
        """The linear term [K] of the estimate, of frames [T, P] without CMVN and their posteriors [T, G]."""
        centred = _product(posteriors.T, raw) - posteriors.sum(0)[:, None] * self.raw_means
        return _product(centred.reshape(1, -1), self.weighted_loading)[0]


def _product(a: Array, b: Array) -> Array:
    """The matrix product, by torch: unlike NumPy it obeys torch's number of threads, which is 1 in worker processes."""
    return (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def sparse_posteriors(scores: Array, best: int) -> Array:
    """Softmax over the ``best`` highest of the scores [T, G] in each row; 0 elsewhere."""
    if best < scores.shape[1]:
        lowest = np.partition(scores, -best, axis=1)[:, -best:].min(1, keepdims=True)
        scores = np.where(scores >= lowest, scores, -np.inf)
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


class OnlineIvectors:
    """Estimates i-vectors while the frames of an utterance arrive.

    The vector of a frame depends on this frame and those before it alone.

    Args:
        extractor: the extractor.
        heard: of the speaker before; None: nothing.
    """

    def __init__(self, extractor: Extractor, heard: Heard | None = None):
        self.extractor, self._cmvn = extractor, extractor.normalization.start(heard)
        self._counts = heard.counts if heard else np.zeros(len(extractor.weights))
        self._linear = heard.linear if heard else np.zeros(extractor.dim)
        self._frames, self._current = 0, np.zeros(extractor.dim)
        self._last = np.zeros((2, 0, extractor.filters))  # frames that are neighbours of later ones: normalized, raw

    def accept(self, frames: Array) -> Array:
        """The i-vectors of the next frames, float32 [T, K], from their filterbank energies [T, filters]."""
        ex, first = self.extractor, self._frames
        if not len(frames):
            return np.zeros((0, ex.dim), np.float32)
        posteriors, raw, numbers = self._statistics(frames)
        marks = np.arange(-(-first // ex.cfg.period) * ex.cfg.period, self._frames, ex.cfg.period)  # new estimates
        ends = np.searchsorted(numbers, marks - ex.cfg.context, side="right")  # the frames that each of them has
        counts, linear, done = [], [], 0
        for end in [*ends.tolist(), len(numbers)]:
            if end > done:
                self._counts = self._counts + posteriors[done:end].sum(0)
                self._linear = self._linear + ex.linear_term(posteriors[done:end], raw[done:end])
                done = end
            counts.append(self._counts)
            linear.append(self._linear)
        vectors = self._current[None]
        if len(marks):
            vectors = np.concatenate([vectors, ex.estimate(np.stack(counts[:-1]), np.stack(linear[:-1]))])
        self._current = vectors[-1]
        return vectors[np.searchsorted(marks, np.arange(first, self._frames), side="right")].astype(np.float32)

    def _statistics(self, frames: Array) -> tuple[Array, Array, Array]:
        """Scaled posteriors [n, G], projected frames without CMVN [n, P] and numbers [n] of frames.

        They are the frames whose neighbours on the right are known now.
        """
        ex, context = self.extractor, self.extractor.cfg.context
        both = np.stack([self._cmvn.accept(frames), frames]).astype(np.float64)
        if not self._frames:  # the first frame is repeated before the utterance
            both = np.concatenate([np.repeat(both[:, :1], context, 1), both], 1)
        self._frames += len(frames)
        both = np.concatenate([self._last, both], 1)
        self._last = both[:, max(0, both.shape[1] - 2 * context):]
        ready = max(0, both.shape[1] - 2 * context)
        numbers = self._frames - context - ready + np.arange(ready)
        if not ready:
            return np.zeros((0, len(ex.weights))), np.zeros((0, len(ex.offset))), numbers
        normalized, raw = (ex.project(spliced(x, context)) for x in both)
        return ex.cfg.posterior_scale * ex.posteriors(normalized), raw, numbers

    def heard(self) -> Heard:
        """The statistics of the speaker so far."""
        return Heard(self._cmvn.speaker(), self._counts, self._linear)


def spliced(x: Array, context: int) -> Array:
    """Each frame of [T, D] that has all of its neighbours, with them: [T − 2 context, D (1 + 2 context)]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, 1 + 2 * context, axis=0)  # [T', D, 1 + 2 context]
    return np.require(windows.transpose(0, 2, 1).reshape(len(windows), -1), requirements="W")
