"""Bootstrap confidence intervals of word error rates."""

import kaldialign
import numpy as np
import pytest

from lstmp.score.bootstrap import interval, replicate_wers


def simulate(rng, n):
    """Utterances of 5 to 30 words, each with a different error rate around 20 %."""
    words = rng.integers(5, 31, n)
    return rng.binomial(words, np.clip(rng.normal(0.2, 0.1, n), 0.01, 0.9)), words


def test_the_interval_covers_the_true_rate_in_95_percent_of_cases():
    """The standard deviation of the share of hits is 1.3 %."""
    rng = np.random.default_rng(7)
    errors, words = simulate(rng, 200_000)
    truth = 100 * errors.sum() / words.sum()
    hits = 0
    for i in range(300):
        low, high = interval(*simulate(rng, 150), replicates=400, seed=i)
        hits += low <= truth <= high
    assert 0.90 <= hits / 300 <= 0.985


def test_the_seed_determines_the_interval_and_it_contains_the_rate():
    errors, words = simulate(np.random.default_rng(1), 100)
    first = interval(errors, words, replicates=2500, seed=3)
    assert first == interval(errors, words, replicates=2500, seed=3) != interval(errors, words, replicates=2500, seed=4)
    assert first[0] < 100 * errors.sum() / words.sum() < first[1]
    narrow = interval(errors, words, replicates=2500, seed=3, confidence=0.5)
    assert first[0] < narrow[0] < narrow[1] < first[1]


def test_the_spread_agrees_with_theory_and_with_kaldialign():
    """If all utterances have the same length, the standard error of the rate is s/√n."""
    errors = np.random.default_rng(2).binomial(10, 0.3, 200)
    wers = replicate_wers(errors, np.full(200, 10), 20_000, 1)
    assert len(wers) == 20_000
    assert wers.std() == pytest.approx(100 * errors.std() / 10 / np.sqrt(200), rel=0.03)
    refs = [["A"] * 10] * 200
    hyps = [["B"] * e + ["A"] * (10 - e) for e in errors.tolist()]
    theirs = kaldialign.bootstrap_wer_ci(refs, hyps, replications=5000)
    ours = interval(errors, np.full(200, 10), replicates=5000, seed=1)
    assert (ours[1] - ours[0]) / 2 == pytest.approx(100 * theirs["ci95"], rel=0.06)


def test_one_utterance_and_no_errors():
    assert interval(np.array([2]), np.array([8]), replicates=100, seed=0) == (25.0, 25.0)
    assert interval(np.zeros(50, int), np.full(50, 9), replicates=100, seed=0) == (0.0, 0.0)
