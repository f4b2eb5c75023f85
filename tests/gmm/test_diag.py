"""Gaussian mixtures: likelihoods, statistics, updates and splits, compared with their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.gmm.diag import DiagGmms, GmmStats, accumulate, split_targets, update


def random_gmms(rng, num_pdfs=5, dim=3, most=4) -> DiagGmms:
    sizes = rng.integers(1, most + 1, num_pdfs)
    weights = np.concatenate([rng.dirichlet(np.full(n, 3.0)) for n in sizes])
    return DiagGmms(torch.tensor([0, *sizes.cumsum()]), torch.tensor(weights, dtype=torch.float32),
                    torch.tensor(rng.normal(0, 2, (sizes.sum(), dim)), dtype=torch.float32),
                    torch.tensor(rng.uniform(0.2, 3, (sizes.sum(), dim)), dtype=torch.float32))


def density(gmms: DiagGmms, p: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By definition, in float64: log p(x | pdf) [T], and log(weight · density) of each Gaussian of the pdf [T, M]."""
    rows = slice(int(gmms.offsets[p]), int(gmms.offsets[p + 1]))
    w, m, v = (t[rows].double().numpy() for t in (gmms.weights, gmms.means, gmms.variances))
    each = np.log(w) - 0.5 * (np.log(2 * np.pi * v) + (x[:, None] - m) ** 2 / v).sum(2)
    return np.logaddexp.reduce(each, axis=1), each


def statistics(gmms, x, pdfs) -> GmmStats:
    order = np.argsort(pdfs, kind="stable")
    stats = GmmStats.zeros(gmms)
    accumulate(gmms, torch.from_numpy(x[order]).float(), torch.from_numpy(np.bincount(pdfs, minlength=gmms.num_pdfs)),
               stats, block=50)
    return stats


@given(st.integers(0, 10**6), st.lists(st.integers(0, 4), min_size=1, max_size=7), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_likelihoods_equal_the_definition_for_any_pdfs_in_any_order(seed, pdfs, frames):
    rng = np.random.default_rng(seed)
    gmms, x = random_gmms(rng), rng.normal(0, 3, (frames, 3)).astype(np.float32)
    expected = np.stack([density(gmms, p, x.astype(np.float64))[0] for p in range(5)], 1)
    got = gmms.loglikes(torch.from_numpy(x)).numpy()
    assert got.shape == (frames, 5)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    got = gmms.loglikes(torch.from_numpy(x), torch.tensor(pdfs)).numpy()
    np.testing.assert_allclose(got, expected[:, pdfs], rtol=1e-4, atol=1e-4)


def test_likelihoods_far_from_the_means_do_not_overflow_or_underflow():
    gmms = random_gmms(np.random.default_rng(0))
    got = gmms.loglikes(torch.full((1, 3), 300.0)).numpy()
    expected = [density(gmms, p, np.full((1, 3), 300.0))[0][0] for p in range(5)]
    np.testing.assert_allclose(got[0], expected, rtol=1e-4)
    assert gmms.num_params == gmms.num_gaussians * 7 and gmms.sizes().sum() == gmms.num_gaussians


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_statistics_and_update_are_the_weighted_estimate(seed):
    rng = np.random.default_rng(seed)
    gmms = random_gmms(rng)
    x, pdfs = rng.normal(0, 2, (200, 3)), rng.integers(0, 4, 200)  # pdf 4 has no data
    x = x.astype(np.float32).astype(np.float64)
    stats = statistics(gmms, x, pdfs)
    new = update(gmms, stats, min_occupancy=0.0, min_weight=0.0, min_variance=0.05)
    total = 0.0
    assert torch.equal(new.offsets, gmms.offsets)
    for p in range(4):
        mine, rows = x[pdfs == p], slice(int(gmms.offsets[p]), int(gmms.offsets[p + 1]))
        whole, each = density(gmms, p, mine)
        total += whole.sum()
        posterior = np.exp(each - whole[:, None])
        n = posterior.sum(0)
        mean = posterior.T @ mine / n[:, None]
        variance = np.stack([(posterior[:, k, None] * (mine - mean[k]) ** 2).sum(0) / n[k] for k in range(len(n))])
        np.testing.assert_allclose(stats.occupancy[rows], n, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(new.weights[rows], n / len(mine), rtol=1e-3, atol=1e-4)
        sure = n > 0.5  # float32 statistics are not precise for a Gaussian with a thousandth of a frame
        np.testing.assert_allclose(new.means[rows][sure], mean[sure], rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(new.variances[rows][sure], np.maximum(variance, 0.05)[sure], rtol=5e-3, atol=2e-3)
    last = slice(int(gmms.offsets[4]), None)
    for name in ("weights", "means", "variances"):
        torch.testing.assert_close(getattr(new, name)[last], getattr(gmms, name)[last])
    assert stats.loglike_per_frame == pytest.approx(total / 200, rel=1e-5) and float(stats.totals[1]) == 200


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_em_never_lowers_the_likelihood_of_a_fixed_alignment(seed):
    rng = np.random.default_rng(seed)
    gmms = random_gmms(rng)
    centers = rng.normal(0, 4, (5, 2, 3))
    pdfs = rng.integers(0, 5, 400)
    x = centers[pdfs, rng.integers(0, 2, 400)] + rng.normal(0, 1, (400, 3))
    values = []
    for _ in range(12):
        stats = statistics(gmms, x, pdfs)
        values.append(stats.loglike_per_frame)
        gmms = update(gmms, stats, min_occupancy=0.0, min_weight=0.0, min_variance=0.01)
    # likelihoods are about −6, and float32 rounds them by up to 2e-5 of that
    assert min(b - a for a, b in zip(values[:-1], values[1:], strict=True)) > -2e-5 * abs(values[0])
    assert values[-1] > values[0] + 0.1


def test_rare_gaussians_are_removed_except_the_heaviest_of_a_pdf():
    x = np.concatenate([np.zeros((50, 1)), np.full((3, 1), 9.0), np.full((4, 1), 5.0)])
    pdfs = np.array([0] * 53 + [1] * 4)
    gmms = DiagGmms(torch.tensor([0, 2, 4]), torch.full((4,), 0.5), torch.tensor([[0.0], [9.0], [5.0], [-5.0]]),
                    torch.ones(4, 1))
    new = update(gmms, statistics(gmms, x, pdfs), min_occupancy=10.0)
    assert new.sizes().tolist() == [1, 1] and new.weights.tolist() == [1.0, 1.0]
    assert new.means[0] == pytest.approx(0, abs=1e-3)
    assert float(new.means[1]) == 5.0 and float(new.variances[1]) == 1.0  # kept unchanged
    assert float(new.variances[0]) == pytest.approx(0.001)  # all frames are equal: the floor


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_a_split_keeps_weight_and_mean_of_the_mixture(seed):
    rng = np.random.default_rng(seed)
    gmms = random_gmms(rng)
    targets = torch.from_numpy(rng.integers(0, 9, 5))
    new = gmms.split(targets, 0.1, torch.Generator().manual_seed(seed))
    assert new.sizes().tolist() == torch.maximum(targets, gmms.sizes()).tolist()
    for p in range(5):
        old_rows, rows = (slice(int(g.offsets[p]), int(g.offsets[p + 1])) for g in (gmms, new))
        assert float(new.weights[rows].sum()) == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close((new.weights[rows, None] * new.means[rows]).sum(0),
                                   (gmms.weights[old_rows, None] * gmms.means[old_rows]).sum(0), rtol=1e-4, atol=1e-5)
        assert len(torch.unique(new.means[rows], dim=0)) == int(new.sizes()[p])  # all are different
    again = gmms.split(targets, 0.1, torch.Generator().manual_seed(seed))
    assert torch.equal(again.means, new.means)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=20), st.integers(1, 200), st.sampled_from([0.2, 0.25, 1.0]))
@settings(max_examples=100, deadline=None)
def test_split_targets_sum_to_the_requested_number_if_there_are_enough_frames(frames, requested, power):
    sizes = split_targets(torch.tensor(frames, dtype=torch.float64), requested, power, min_count=20.0).tolist()
    assert min(sizes) >= 1
    assert all(n == 1 or n * 20 <= f for n, f in zip(sizes, frames, strict=True))
    room = sum(max(1, f // 20) for f in frames)
    assert sum(sizes) == max(len(frames), min(requested, room))
    by_frames = sorted(zip(frames, sizes, strict=True))
    assert all(a[1] <= b[1] for a, b in zip(by_frames[:-1], by_frames[1:], strict=True) if b[0] > a[0])


def test_split_targets_are_proportional_to_a_power_of_the_frames():
    sizes = split_targets(torch.tensor([160000.0, 10000.0]), 900, 0.25).tolist()
    assert sizes[0] / sizes[1] == pytest.approx(2, rel=0.02) and math.fsum(sizes) == 900
