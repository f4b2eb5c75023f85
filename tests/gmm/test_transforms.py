"""LDA, MLLT and fMLLR, compared with slow, direct computations in float64 and with known solutions."""

import math

import numpy as np
import pytest
import torch

from lstmp.errors import UserError
from lstmp.gmm import fmllr, lda, mllt
from lstmp.gmm.diag import DiagGmms


def mixtures(rng, sizes, dim, spread=3.0):
    total = sum(sizes)
    weights = np.concatenate([rng.dirichlet(np.full(n, 3.0)) for n in sizes])
    return DiagGmms(torch.tensor([0, *np.cumsum(sizes)]), torch.tensor(weights).float(),
                    torch.tensor(spread * rng.normal(size=(total, dim))).float(),
                    torch.tensor(rng.uniform(0.3, 2.0, (total, dim))).float())


def draw(rng, gmms, frames):
    """Draw frames from a model: features [T, D] and random pdfs [T]."""
    pdfs = rng.integers(0, gmms.num_pdfs, frames)
    out = np.zeros((frames, gmms.dim))
    for t, p in enumerate(pdfs):
        rows = np.arange(gmms.offsets[p], gmms.offsets[p + 1])
        weights = gmms.weights.double().numpy()[rows]
        g = rng.choice(rows, p=weights / weights.sum())
        out[t] = rng.normal(gmms.means[g].numpy(), gmms.variances[g].sqrt().numpy())
    return torch.tensor(out).float(), torch.tensor(pdfs)


def slow_posteriors(gmms, p, x):
    """Posterior of each Gaussian of pdf p for frame x, from the densities: list of (Gaussian, posterior)."""
    rows = range(int(gmms.offsets[p]), int(gmms.offsets[p + 1]))
    densities = []
    for g in rows:
        mean, var = gmms.means[g].double().numpy(), gmms.variances[g].double().numpy()
        densities.append(float(gmms.weights[g]) * math.exp(-0.5 * ((x - mean) ** 2 / var).sum())
                         / math.sqrt(np.prod(2 * math.pi * var)))
    return list(zip(rows, np.array(densities) / sum(densities), strict=True))


# LDA

def test_lda_equals_the_generalized_eigenvectors():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 6, 4000)
    mix = rng.normal(size=(7, 7))
    x = (rng.normal(size=(6, 7))[classes] + rng.normal(size=(4000, 7))) @ mix + 5
    stats = lda.LdaStats.zeros(7, 7)  # the last of seven classes has no frames
    for part in np.array_split(np.arange(4000), 3):
        stats.add(torch.tensor(x[part]).float(), torch.tensor(classes[part]))
    within = sum(np.cov(x[classes == c].T, bias=True) * (classes == c).mean() for c in range(6))
    between = np.cov(x.T, bias=True) - within
    values, vectors = np.linalg.eig(np.linalg.inv(within) @ between)
    order = np.argsort(-values.real)[:3]
    m = lda.estimate(stats, 3).double().numpy()
    np.testing.assert_allclose(m @ within @ m.T, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(m @ between @ m.T, np.diag(values.real[order]), atol=1e-4)
    for row, k in zip(m, order, strict=True):
        v = vectors[:, k].real
        assert abs(row @ v) / np.linalg.norm(row) / np.linalg.norm(v) == pytest.approx(1, abs=1e-5)


def test_lda_of_two_classes_is_fishers_direction_and_ignores_frames_without_class():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 4))
    difference = np.array([1.0, -2.0, 0.5, 0.0])
    classes = rng.integers(0, 2, 100_000)
    x = classes[:, None] * difference + rng.normal(size=(100_000, 4)) @ root.T
    noise = rng.normal(size=(5000, 4)) * 100
    stats = lda.LdaStats.zeros(2, 4)
    stats.add(torch.tensor(np.concatenate([x, noise])).float(),
              torch.tensor(np.concatenate([classes, np.full(5000, -1)])))
    row = lda.estimate(stats, 1)[0].double().numpy()
    known = np.linalg.solve(root @ root.T, difference)
    assert abs(row @ known) / np.linalg.norm(row) / np.linalg.norm(known) > 0.999


@pytest.mark.parametrize("change, message", [({"dim": 9}, "lda_dim"), ({"frames": 3}, "too few"),
                                          ({"constant": True}, "is singular")])
def test_lda_of_unsuitable_data_is_an_error(change, message):
    x = torch.randn(change.get("frames", 100), 4, generator=torch.Generator().manual_seed(0))
    if "constant" in change:
        x[:, 2] = 1.0
    stats = lda.LdaStats.zeros(2, 4)
    stats.add(x, torch.arange(len(x)) % 2)
    with pytest.raises(UserError, match=message):
        lda.estimate(stats, change.get("dim", 2))


# MLLT

def test_mllt_statistics_equal_the_definition():
    rng = np.random.default_rng(3)
    gmms = mixtures(rng, [1, 3, 2], 4)
    x, pdfs = draw(rng, gmms, 60)
    order = torch.argsort(pdfs, stable=True)
    stats = mllt.MlltStats.zeros(4)
    mllt.accumulate(gmms, x[order], torch.bincount(pdfs, minlength=3), torch.tensor([False, False, True]), stats,
                    block=7)
    expected = np.zeros((4, 4, 4))
    for frame, p in zip(x.double().numpy(), pdfs.tolist(), strict=True):
        for g, share in slow_posteriors(gmms, p, frame) if p != 2 else []:
            d = frame - gmms.means[g].double().numpy()
            for i in range(4):
                expected[i] += share * np.outer(d, d) / float(gmms.variances[g, i])
    np.testing.assert_allclose(stats.second.numpy(), expected, rtol=1e-4, atol=1e-4)
    assert float(stats.beta) == (pdfs != 2).sum()


def test_mllt_finds_the_transform_that_makes_all_covariances_diagonal():
    rng = np.random.default_rng(4)
    mix = rng.normal(size=(3, 3))
    stats = mllt.MlltStats.zeros(3)
    scales = [np.array(s) for s in ([1.0, 4.0, 0.3], [2.0, 0.2, 1.0], [0.1, 1.0, 3.0])]
    for scale in scales:
        x = (rng.normal(size=(30_000, 3)) * np.sqrt(scale)) @ mix.T
        gmms = DiagGmms(torch.tensor([0, 1]), torch.ones(1), torch.zeros(1, 3), torch.tensor(x.var(0))[None].float())
        mllt.accumulate(gmms, torch.tensor(x).float(), torch.tensor([len(x)]), torch.tensor([False]), stats)
    # as in training, variances and A are re-estimated in turn
    a = np.eye(3)
    for _ in range(30):
        second = np.zeros((3, 3, 3))
        for scale in scales:
            covariance = mix @ np.diag(scale) @ mix.T
            variances = np.diag(a @ covariance @ a.T)
            second += covariance[None] / variances[:, None, None]
        step, gain = mllt.estimate(mllt.MlltStats(torch.tensor(second) * 1000, torch.tensor([3000.0]).double()))
        assert gain >= 0
        a = step.numpy()
    weights = np.abs(a @ mix)
    weights = np.sort(weights / weights.max(1, keepdims=True), 1)
    assert (weights[:, :2] < 1e-3).all()  # each row depends on one of the independent dimensions only
    assert mllt.estimate(stats)[1] > 0.01


def test_mllt_estimate_is_a_maximum():
    rng = np.random.default_rng(5)
    roots = torch.tensor(rng.normal(size=(4, 4, 9)))
    stats = mllt.MlltStats(roots @ roots.transpose(1, 2) * 100, torch.tensor([500.0]).double())
    a, gain = mllt.estimate(stats)
    best = mllt.objective(stats, a)
    assert gain == pytest.approx(best - mllt.objective(stats, torch.eye(4).double()))
    free = a.clone().requires_grad_(True)
    value = torch.linalg.slogdet(free)[1] - 0.5 * torch.einsum("id,ide,ie->", free, stats.second, free) / stats.beta
    (gradient,) = torch.autograd.grad(value.sum(), free)
    assert gradient.abs().max() < 1e-3
    assert mllt.estimate(mllt.MlltStats.zeros(4))[1] == 0.0


# fMLLR

def test_fmllr_statistics_equal_the_definition():
    rng = np.random.default_rng(6)
    gmms, other = mixtures(rng, [2, 1, 3], 3), mixtures(rng, [2, 1, 3], 3)
    x, pdfs = draw(rng, gmms, 50)
    other_x = x + 0.3
    weight = torch.tensor(rng.choice([0.0, 0.25, 1.0], 50)).float()
    for posteriors_by in (None, (other, other_x)):
        stats = fmllr.SpeakerStats.zeros(3)
        for part in torch.arange(50).split(20):
            terms = fmllr.frame_terms(gmms, x, pdfs, weight, posteriors_by)
            stats.add(x[part], *(t[part] for t in terms), weight[part])
        second, linear = np.zeros((3, 4, 4)), np.zeros((3, 4))
        for t in range(50):
            xi = np.append(x[t].double().numpy(), 1.0)
            model, frame = (gmms, x[t]) if posteriors_by is None else (other, other_x[t])
            for g, share in slow_posteriors(model, int(pdfs[t]), frame.double().numpy()):
                for i in range(3):
                    gamma = float(weight[t]) * share / float(gmms.variances[g, i])
                    second[i] += gamma * np.outer(xi, xi)
                    linear[i] += gamma * float(gmms.means[g, i]) * xi
        np.testing.assert_allclose(stats.matrices().numpy(), second, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(stats.linear.numpy(), linear, rtol=1e-4, atol=1e-3)
        assert float(stats.beta) == pytest.approx(float(weight.sum()))


def speaker(gmms, x, pdfs):
    weight = torch.ones(len(x))
    stats = fmllr.SpeakerStats.zeros(gmms.dim)
    stats.add(x, *fmllr.frame_terms(gmms, x, pdfs, weight), weight)
    return stats


def test_fmllr_undoes_an_affine_distortion_of_the_features():
    rng = np.random.default_rng(7)
    gmms = mixtures(rng, [1] * 12, 4)
    x, pdfs = draw(rng, gmms, 40_000)
    a = np.eye(4) + 0.2 * rng.normal(size=(4, 4))
    distorted = torch.tensor((x.numpy() - rng.normal(size=4)) @ np.linalg.inv(a).T).float()
    w, gain = fmllr.estimate(speaker(gmms, distorted, pdfs), min_count=500)
    np.testing.assert_allclose(w[:, :4].numpy(), a, atol=0.03)
    assert gain > 0.1
    back = distorted @ w[:, :4].t() + w[:, 4]
    assert (back - x).abs().mean() < 0.05


def test_fmllr_estimate_is_a_maximum_and_reports_its_gain_in_likelihood():
    rng = np.random.default_rng(8)
    gmms = mixtures(rng, [1, 1, 1, 1], 3)
    x, pdfs = draw(rng, gmms, 2000)
    x = x * 1.3 - 0.5
    stats = speaker(gmms, x, pdfs)
    w, gain = fmllr.estimate(stats, min_count=0, iters=100)

    def likelihood(transform):  # with one Gaussian per pdf, the objective is the likelihood
        y = x @ transform[:, :3].t() + transform[:, 3]
        own = gmms.loglikes(y)[torch.arange(len(y)), pdfs]
        return float(own.double().mean() + torch.linalg.slogdet(transform[:, :3].double())[1])

    assert gain == pytest.approx(likelihood(w) - likelihood(torch.eye(3, 4)), abs=1e-4)
    for _ in range(20):
        nearby = w + 0.01 * torch.tensor(rng.normal(size=(3, 4))).float()
        assert fmllr.objective(stats, nearby) < fmllr.objective(stats, w)


def test_few_or_degenerate_frames_give_the_identity_transform():
    rng = np.random.default_rng(9)
    gmms = mixtures(rng, [2, 2], 3)
    x, pdfs = draw(rng, gmms, 100)
    assert torch.equal(fmllr.estimate(speaker(gmms, x, pdfs), min_count=101)[0], torch.eye(3, 4))
    assert not torch.equal(fmllr.estimate(speaker(gmms, x, pdfs), min_count=100)[0], torch.eye(3, 4))
    same = x[:1].repeat(100, 1)  # the same frame repeated: the statistics are singular
    w, gain = fmllr.estimate(speaker(gmms, same, pdfs[:1].repeat(100)), min_count=10)
    assert torch.isfinite(w).all() and math.isfinite(gain)
    assert torch.equal(fmllr.estimate(fmllr.SpeakerStats.zeros(3), min_count=0)[0], torch.eye(3, 4))
