"""The most probable transform of a speaker: against its definition, and what the prior is good for."""

import numpy as np
import pytest
import torch
from helpers.small_adapter import CFG, D, make

from lstmp.gmm.fmllr import SpeakerStats, objective
from lstmp.gmm.transform_prior import CoordinateEstimator, TransformPrior, principal_axes

SIZE = D * (D + 1)


def speaker(adapter, frames, rng, factor=1.3, shift=0.5):
    """Statistics of frames of the states' Gaussians, scaled and shifted."""
    variance = (adapter.weight[:, None] / adapter.precision).numpy()
    mean = adapter.target.numpy() / adapter.precision.numpy()
    p = torch.from_numpy(rng.integers(1, len(mean), frames))
    x = factor * (mean[p] + rng.normal(size=(frames, D)) * np.sqrt(variance[p])) + shift
    stats = SpeakerStats.zeros(D)
    stats.add(torch.from_numpy(x.astype(np.float32)), adapter.precision[p], adapter.target[p], adapter.weight[p])
    return stats


def log_posterior(adapter, stats, coordinates):
    """As the module defines it, with explicit matrices."""
    average = adapter.prior.average.numpy()
    extended = np.vstack([average, np.eye(D + 1)[-1]])
    g = SpeakerStats(adapter.second, adapter.linear, torch.ones(1)).matrices().numpy()
    delta = np.zeros((D, D + 1))
    for i in range(D):
        unit = np.eye(D + 1)[i]
        lower = np.linalg.cholesky(extended @ g[i] @ extended.T + np.outer(unit, unit))
        delta[i] = np.linalg.inv(lower).T @ coordinates[i]
    w = torch.from_numpy((np.eye(D, D + 1) + delta) @ extended)
    axes = adapter.axes.double().numpy()
    v = CFG.least_variance
    covariance = v * np.eye(SIZE) + axes.T @ np.diag(np.maximum(adapter.variances.numpy(), v) - v) @ axes
    d = coordinates.reshape(-1)
    return CFG.frame_weight * objective(stats, w) - 0.5 * d @ np.linalg.inv(covariance) @ d, w


@pytest.mark.parametrize("frames", [3, 40, 2000])
def test_the_estimate_is_the_most_probable_transform(frames):
    adapter, rng = make(), np.random.default_rng(frames)
    stats = speaker(adapter, frames, rng)
    best = adapter.prior.estimate(stats, adapter.prior.origin, 200)
    value, w = log_posterior(adapter, stats, best.numpy())
    assert torch.allclose(w, adapter.prior.transform(best), atol=1e-5)
    assert value > log_posterior(adapter, stats, np.zeros((D, D + 1)))[0]
    for step in np.eye(SIZE).reshape(SIZE, D, D + 1):  # it falls in every direction, at first not at all
        up, down = (log_posterior(adapter, stats, best.numpy() + sign * 1e-3 * step)[0] for sign in (1, -1))
        assert max(up, down) < value and abs(up - down) < 0.01 * (2 * value - up - down) + 1e-6


def test_every_step_is_an_improvement():
    adapter, rng = make(), np.random.default_rng(1)
    stats, at = speaker(adapter, 300, rng, factor=3.0, shift=-2.0), adapter.prior.origin
    values = [log_posterior(adapter, stats, at.numpy())[0]]
    for _ in range(6):
        at = adapter.prior.estimate(stats, at, 1)
        values.append(log_posterior(adapter, stats, at.numpy())[0])
    assert values == sorted(values) and values[3] > values[0] + 1


def test_before_anything_was_heard_the_speaker_is_the_average_one():
    prior = make().prior
    assert torch.equal(prior.estimate(SpeakerStats.zeros(D), prior.origin, 5), prior.origin)
    assert torch.equal(prior.transform(prior.origin), prior.average)


@pytest.mark.parametrize("change", [lambda x: -x, lambda x: x * float("nan")])
def test_statistics_of_no_frames_are_refused(change):
    adapter = make()
    stats = SpeakerStats(*map(change, speaker(adapter, 50, np.random.default_rng(2)).tensors()))
    with pytest.raises(ValueError, match="no transform for these statistics"):
        adapter.prior.estimate(stats, adapter.prior.origin, 3)


def test_axes_are_those_along_which_speakers_differ():
    rng = np.random.default_rng(3)
    true = np.linalg.qr(rng.normal(size=(SIZE, 2)))[0].T
    coordinates = rng.normal(size=(500, 2)) * [3.0, 1.0] @ true + 0.01 * rng.normal(size=(500, SIZE))
    axes, variances = principal_axes(coordinates, 2)
    assert np.allclose(np.abs(axes.numpy() @ true.T), np.eye(2), atol=0.05)
    assert np.allclose(variances, [9, 1], rtol=0.2)
    few, along = principal_axes(coordinates[:1], 5)
    assert few.shape == (1, SIZE) and len(along) == 1
    none, along = principal_axes(np.zeros((0, SIZE)), 5)
    assert none.shape == (0, SIZE) and len(along) == 0


def test_a_learnt_prior_needs_less_speech():
    """Speakers differ by a shift of all dimensions: after a few frames the learnt prior knows theirs, and one without
    axes does not."""
    adapter, rng = make(), np.random.default_rng(4)
    learn = CoordinateEstimator(adapter.second, adapter.linear)
    shifts = rng.normal(size=20)
    known = np.stack([learn(speaker(adapter, 4000, rng, 1.0, shift)) for shift in shifts])
    axes, variances = principal_axes(known, 1)
    priors = [TransformPrior(adapter.second, adapter.linear, a, v, 0.003, 0.2)
              for a, v in ((axes, variances), (axes[:0], variances[:0]))]
    errors = np.zeros(2)
    for shift in (-1.5, -0.5, 0.7, 2.0):
        few = speaker(adapter, 10, rng, 1.0, shift)
        for n, prior in enumerate(priors):
            w = prior.transform(prior.estimate(few, prior.origin, 50))
            moved = w[:, -1] + w[:, :-1] @ torch.full((D,), shift, dtype=torch.float64)
            errors[n] += float((moved - prior.average[:, -1]).square().sum())
    assert errors[0] < 0.5 * errors[1]
