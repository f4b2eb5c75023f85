"""Train an i-vector extractor on filterbank energies: PCA, a background model, and the loading matrices by EM.

No transcripts are needed. The online CMVN of every second utterance of a speaker begins with the statistics of the one
before it, as in the training of networks. :mod:`lstmp.gmm.ivector` has the model, Dehak et al. 2011 its estimation.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.aliases import Array
from lstmp.corpus.bad import LeftOut
from lstmp.errors import UserError, command
from lstmp.features.load import FeatureConfig, Features, data_inputs, listener
from lstmp.features.online_cmvn import OnlineNormalization
from lstmp.gmm.ivector import NAME, Extractor, IvectorConfig, cosine_transform, sparse_posteriors, spliced
from lstmp.log import progress, say
from lstmp.stage import Stage

_FEATURE = FeatureConfig("fbank", "online_mean", 0)
_LEAST_VARIANCE = 0.01  # of the variance of all frames
_BLOCK = 1 << 14  # frames


class BackgroundModel:
    """A mixture of Gaussians with diagonal covariances, trained by EM.

    Args:
        x: float64 [N, P], the frames.
        gaussians: number of Gaussians G, at most N.
        rng: draws their first means.

    Attributes:
        weights, means, variances: [G], [G, P], [G, P].
    """

    def __init__(self, x: Array, gaussians: int, rng: np.random.Generator):
        if len(x) < 10 * gaussians:
            raise UserError(f"{len(x)} frames for {gaussians} Gaussians", hint="lower `gaussians` in conf/ivector.yaml")
        self._x, self._floor = x, _LEAST_VARIANCE * x.var(0) + 1e-10
        self.weights = np.full(gaussians, 1 / gaussians)
        self.means = x[rng.choice(len(x), gaussians, replace=False)]
        self.variances = np.tile(x.var(0) + 1e-10, (gaussians, 1))

    def scores(self, x: Array) -> Array:
        """log(weight · density) of each Gaussian at frames [T, P]: [T, G]."""
        constant = np.log(self.weights) - 0.5 * (np.log(2 * np.pi * self.variances)
                                                 + self.means ** 2 / self.variances).sum(1)
        return constant + x @ (self.means / self.variances).T + (x * x) @ (-0.5 / self.variances.T)

    def update(self) -> float:
        """One iteration of EM; returns the log-likelihood per frame before it."""
        counts, sums, squares, total = 0.0, 0.0, 0.0, 0.0
        for x in np.split(self._x, range(_BLOCK, len(self._x), _BLOCK)):
            scores = self.scores(x)
            top = scores.max(1, keepdims=True)
            posteriors = np.exp(scores - top)
            norm = posteriors.sum(1, keepdims=True)
            total += float((top + np.log(norm)).sum())
            posteriors /= norm
            counts, sums = counts + posteriors.sum(0), sums + posteriors.T @ x
            squares = squares + posteriors.T @ (x * x)
        counts = np.maximum(counts, 1e-3)[:, None]
        self.weights = counts[:, 0] / counts.sum()
        self.means = sums / counts
        self.variances = np.maximum(squares / counts - self.means ** 2, self._floor)
        return total / len(self._x)


def moments(posteriors: Array, x: Array, floor: Array) -> tuple[Array, Array]:
    """Means and variances [G, P] of frames [N, P] with posteriors [N, G]."""
    counts = np.maximum(posteriors.sum(0), 1e-3)[:, None]
    means = posteriors.T @ x / counts
    return means, np.maximum(posteriors.T @ (x * x) / counts - means ** 2, floor)


class LoadingMatrices:
    """EM for the loading matrices T_g, the means m_g and the variances Σ_g, from statistics of utterances.

    Args:
        extractor: gives the first values; :meth:`extractor` returns one with the present ones.
        counts: float64 [U, G], counts of each utterance, scaled as in use, to at most `max_count` in all.
        sums: float32 [U, G, P], sums of its frames without CMVN, scaled likewise.
        squares: float64 [G, P], sums of the squares of all frames, scaled likewise.
    """

    def __init__(self, extractor: Extractor, counts: Array, sums: Array, squares: Array):
        self._extractor, self._counts, self._sums, self._squares = extractor, counts, sums, squares

    def update(self) -> float:
        """One iteration; returns the improvement of the log-likelihood by the i-vectors, per frame, before it."""
        ex, counts = self._extractor, self._counts
        centred: Array = self._sums - counts[:, :, None] * ex.raw_means  # [U, G, P]
        linear = centred.reshape(len(counts), -1) @ ex.weighted_loading
        precision = ex.precision(counts)
        covariance = np.linalg.inv(precision)
        w = np.einsum("ukl,ul->uk", covariance, linear)
        gain = 0.5 * (np.einsum("uk,uk->", w, linear) - np.linalg.slogdet(precision)[1].sum())
        second = covariance + w[:, :, None] * w[:, None, :]  # E[w wᵀ]
        cross = np.einsum("ugp,uk->gpk", centred, w, optimize=True)
        square = (counts.T @ second.reshape(len(w), -1)).reshape(-1, ex.dim, ex.dim)
        loading = np.linalg.solve(square + 1e-6 * np.eye(ex.dim), cross.transpose(0, 2, 1)).transpose(0, 2, 1)
        # minimum divergence: the i-vectors of all utterances together get the prior's mean and covariance
        mean = w.mean(0)
        root = np.linalg.cholesky(second.mean(0) - np.outer(mean, mean))
        means = ex.raw_means + loading @ mean
        total = np.maximum(counts.sum(0), 1e-3)[:, None]
        about_mean = self._squares / total - 2 * ex.raw_means * self._sums.sum(0) / total + ex.raw_means ** 2
        explained = np.einsum("gpk,gpk->gp", loading, cross) / total
        floor = _LEAST_VARIANCE * np.average(ex.raw_variances, axis=0, weights=ex.weights)
        variances = np.maximum(about_mean - explained, floor)
        self._extractor = ex.replaced(raw_means=means, raw_variances=variances, loading=loading @ root)
        return float(gain / counts.sum())

    def extractor(self) -> Extractor:
        """The extractor with the present values."""
        return self._extractor


def train_ivectors(data: Path, out: Path, cfg: IvectorConfig) -> None:
    """Train the extractor ``out/ivectors.safetensors`` on a data dir with filterbank energies, unless this was done.

    Raises:
        UserError: bad or too little data.
    """
    stage = Stage(out, "ivectors", data_inputs(data), config.to_dict(cfg))
    if stage.is_done():
        return
    features, rng = Features(data, _FEATURE), np.random.default_rng(cfg.seed)
    extractor = _background_model(features, cfg, rng)
    chosen = sorted(rng.permutation(features.utts)[:cfg.utterances].tolist())
    training = LoadingMatrices(extractor, *_statistics(features, chosen, extractor))
    for number in range(cfg.iterations):
        gain = training.update()
        say(f"i-vectors, iteration {number + 1} of {cfg.iterations}: log-likelihood per frame {gain:+.4f}")
    training.extractor().write(out / NAME)
    say(f"{out}: i-vectors of {cfg.dim} dimensions, {cfg.gaussians} Gaussians, {len(chosen)} utterances")
    stage.mark([out / NAME])


def _inputs(features: Features, utts: list[str], normalization: OnlineNormalization, context: int,
            what: str) -> Iterator[tuple[Array, Array]]:
    """The spliced energies of utterances, after online CMVN and without: [T, filters · (1 + 2 context)] each."""
    history, left_out = features.history(listener(normalization)), LeftOut(features.dir)
    for utt in progress(utts, what):
        try:
            raw = features.load(utt).numpy()
        except UserError as e:
            left_out.add(utt, e)
            continue
        both = normalization.start(history.pair(utt)).accept(raw), raw
        padded = [np.pad(x.astype(np.float64), ((context, context), (0, 0)), "edge") for x in both]
        yield spliced(padded[0], context), spliced(padded[1], context)
    left_out.done()
    if len(left_out) == len(utts):
        raise UserError("no utterance has usable features", file=features.dir, hint="make the features again")


def _background_model(features: Features, cfg: IvectorConfig, rng: np.random.Generator) -> Extractor:
    """PCA and background model from random frames; the loading matrices are random."""
    if cfg.cepstra > features.dim:
        raise UserError(f"{cfg.cepstra} cepstra of {features.dim} energies",
                        hint="lower `cepstra` in conf/ivector.yaml")
    # utterances with some ten times the frames, so that not all of a large set are read
    order, frames, utts = rng.permutation(features.utts).tolist(), 0, list[str]()
    while order and frames < 10 * cfg.ubm_frames:
        utts.append(order.pop())
        frames += features.num_frames_or_0(utts[-1])
    share = min(1.0, cfg.ubm_frames / max(frames, 1))
    normalized: list[Array] = []
    raw: list[Array] = []
    cosines = cosine_transform(features.dim, cfg.cepstra)
    to_cepstra = np.kron(np.eye(1 + 2 * cfg.context), cosines)
    moments_of_energies = features.training_moments()
    normalization = cfg.normalization(*moments_of_energies)
    for both in _inputs(features, sorted(utts), normalization, cfg.context, "frames of the background model"):
        rows = np.flatnonzero(rng.random(len(both[0])) < share)
        for x, collected in zip(both, (normalized, raw), strict=True):
            collected.append((x[rows] @ to_cepstra).astype(np.float32))
    x, without = np.concatenate(normalized), np.concatenate(raw)
    values, vectors = np.linalg.eigh(np.cov(x, rowvar=False).reshape(x.shape[1], -1))
    directions = vectors[:, ::-1][:, :cfg.pca_dim]
    kept = values[::-1][:cfg.pca_dim].sum() / values.sum()
    say(f"PCA: {cfg.pca_dim} of {len(values)} dimensions have {kept:.1%} of the variance")
    offset = x.mean(0) @ directions
    x, without = (a @ directions - offset for a in (x.astype(np.float64), without.astype(np.float64)))
    model = BackgroundModel(x, cfg.gaussians, rng)
    for number in range(cfg.ubm_iterations):
        say(f"background model, iteration {number + 1} of {cfg.ubm_iterations}: log-likelihood per frame "
            f"{model.update():.3f}")
    posteriors = np.concatenate([sparse_posteriors(model.scores(block), cfg.best_gaussians)
                                 for block in np.split(x, range(_BLOCK, len(x), _BLOCK))])
    raw_means, raw_variances = moments(posteriors, without, _LEAST_VARIANCE * without.var(0) + 1e-10)
    loading = 0.1 * rng.standard_normal((*raw_means.shape, cfg.dim)) * np.sqrt(raw_variances)[:, :, None]
    return Extractor(cfg, to_cepstra @ directions, offset, model.weights, model.means, model.variances, raw_means,
                     raw_variances, loading, *moments_of_energies)


def _statistics(features: Features, utts: list[str], extractor: Extractor) -> tuple[Array, Array, Array]:
    """Counts [U, G], sums [U, G, P] and, of all utterances together, sums of squares [G, P]."""
    counts, sums, squares = [], [], np.zeros_like(extractor.raw_means)
    cfg = extractor.cfg
    for normalized, raw in _inputs(features, utts, extractor.normalization, cfg.context, "statistics of the i-vectors"):
        posteriors = extractor.posteriors(extractor.project(normalized))
        posteriors *= min(cfg.posterior_scale, cfg.max_count / len(posteriors))
        x = extractor.project(raw)
        counts.append(posteriors.sum(0))
        sums.append((posteriors.T @ x).astype(np.float32))
        squares += posteriors.T @ (x * x)
    return np.stack(counts), np.stack(sums), squares


@command
def main(argv: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(prog="steps/train_ivectors.sh", description=__doc__.split("\n")[0])
    p.add_argument("--data", type=Path, required=True, help="data dir with filterbank energies")
    p.add_argument("--out", type=Path, required=True, help="folder to write")
    p.add_argument("--config", type=Path, default=Path("conf/ivector.yaml"), help="default: %(default)s")
    a = p.parse_args(argv)
    train_ivectors(a.data, a.out, config.load(a.config, IvectorConfig))


if __name__ == "__main__":
    main()
