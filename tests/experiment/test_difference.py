"""Differences of means and their intervals."""

import numpy as np
import pytest
from scipy import stats

from lstmp.experiment.difference import Spread, difference, holm, wer_difference


def two_sided(d):
    return 2 * min(d.p_above(0), d.p_below(0))


def test_it_is_welchs_test():
    first, second = [61.0, 61.5, 61.2], [60.1, 60.9, 60.3, 60.0]
    d = difference(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False)
    assert two_sided(d) == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))
    assert d.mean == pytest.approx(np.mean(first) - np.mean(second))


def test_one_sided_p_values():
    first, second = [61.0, 61.5, 61.2], [60.1, 60.9, 60.3, 60.0]
    d = difference(first, second)
    for bound in (-1.0, 0.0, 0.4):
        shifted = [x - bound for x in first]
        for alternative, p in (("greater", d.p_above(bound)), ("less", d.p_below(bound))):
            expected = stats.ttest_ind(shifted, second, equal_var=False, alternative=alternative)
            assert p == pytest.approx(expected.pvalue)
    unknown, exact = difference([61.0], [60.0]), difference([61, 61], [60, 60])
    assert unknown.p_above(0) == unknown.p_below(0) == 1
    assert [exact.p_above(b) for b in (0.5, 1.0, 1.5)] == [0, 1, 1]
    assert [exact.p_below(b) for b in (0.5, 1.0, 1.5)] == [1, 1, 0]


def test_adjustment_for_many_comparisons():
    assert holm([0.04, 0.01, 0.03, 0.9]) == pytest.approx([0.09, 0.04, 0.09, 0.9])  # by hand
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([]) == [] and holm([0.02]) == [0.02]


def test_with_one_seed_the_interval_is_infinite():
    d = difference([61.0], [50.0, 50.1])
    assert d.mean == pytest.approx(10.95) and d.p_above(0) == d.p_below(0) == 1
    assert d.low == -np.inf and d.high == np.inf


def test_with_one_seed_each_only_the_utterances_vary():
    words = np.full(400, 10)
    rng = np.random.default_rng(2)
    first, second = rng.binomial(words, 0.1), rng.binomial(words, 0.2)
    d = wer_difference([first], [second], words)
    differences = 100 * (first - second) / 10
    assert d.mean == pytest.approx(differences.mean()) and two_sided(d) < 1e-6
    assert d.high - d.low == pytest.approx(2 * 1.96 * differences.std() / 20, rel=0.1)


def test_another_source_of_variance_changes_the_interval():
    plain, more = (difference([61.0, 61.2], [60.0, 60.2], extra) for extra in (None, (0.5, 100)))
    assert more.high - more.low != plain.high - plain.low and two_sided(more) > 0
    # if it is large and has many degrees of freedom, the interval is the normal one of that source
    wide = difference([61.0, 61.2], [60.0, 60.2], (100.0, 1e6))
    assert wide.high - wide.mean == pytest.approx(1.96 * 10, rel=0.01)


def test_without_variance_the_p_value_is_0_or_1():
    assert two_sided(difference([5, 5], [4, 4])) == 0 and difference([4, 4], [4, 4]).p_above(0) == 1


def test_word_errors_of_the_same_utterances_are_compared_pairwise():
    rng = np.random.default_rng(0)
    words = rng.integers(5, 30, 300)
    hard = rng.random(300)  # some utterances are hard for both, which must not widen the interval
    first = [rng.binomial(words, 0.3 * hard) for _ in range(3)]
    second = [rng.binomial(words, 0.3 * hard + 0.02) for _ in range(3)]
    d = wer_difference(first, second, words)
    assert -3 < d.mean < -1 and d.high < 0 and two_sided(d) < 0.05
    same = wer_difference(first, first, words)
    assert same.mean == 0 and same.low < 0 < same.high


def test_the_interval_covers_the_true_difference_as_often_as_stated():
    """With simulated results of two networks with known error rates, and variance over seeds and utterances."""
    rng, covered, trials = np.random.default_rng(1), 0, 200
    words = np.full(200, 15)
    for _ in range(trials):
        def seeds(rate, rng=rng):
            return [rng.binomial(words, rate + rng.normal(0, 0.004)) for _ in range(3)]
        d = wer_difference(seeds(0.20), seeds(0.21), words)
        covered += d.low <= -1 <= d.high
    assert 0.91 <= covered / trials <= 1.0


def test_the_spread_of_simulated_networks_is_found():
    rng = np.random.default_rng(3)
    sd = np.sqrt(0.04 * 8 / rng.chisquare(8, 20000))  # variances of a scaled inverse χ² with 8 degrees of freedom
    samples = list(rng.normal(50, sd[:, None], (20000, 3)))
    spread = Spread.of(samples)
    assert spread.variance == pytest.approx(0.04, rel=0.03) and spread.df == pytest.approx(8, rel=0.15)
    assert spread.most_df == 40000
    alike = Spread.of([[x, x + 1.0, x + 2.0] for x in np.arange(6) / 8])  # their own variances say nothing more
    assert alike.df == np.inf and alike.moderated(np.array([0.0, 0.1, 0.2])) == (pytest.approx(alike.variance), 12)
    assert Spread.of([[1.0, 1.1]] * 5 + [[2.0]]) is None  # of five networks
    assert Spread.of([[1.0, 1.0]] * 9) is None


def test_a_network_without_variance_hardly_changes_the_spread():
    samples = [[0.1 * n, 0.1 * n + 0.2, 0.1 * n - 0.3] for n in range(20)]
    plain, more = Spread.of(samples), Spread.of([*samples, [1.0, 1.0, 1.0], [2.0, 2.0 + 1e-14, 2.0]])
    assert more.variance < plain.variance and more.df < plain.df
    assert 0.1 * plain.variance < more.moderated(np.array([0.0, 0.2, -0.3]))[0] < plain.variance


def test_a_moderated_variance_lies_between_that_of_the_network_and_of_all():
    spread = Spread(0.1, 4.0, 100.0)
    values = np.array([1.0, 2.0, 3.0])
    assert spread.moderated(values) == (pytest.approx((4 * 0.1 + 2 * 1.0) / 6), 6.0)
    assert spread.moderated(100 * values) == (10000.0, 2)  # far more than is expected of it
    assert difference([1.0], [0.0, 0.1], spread=spread).error == np.inf  # one seed


@pytest.mark.parametrize("extra", [None, (0.02, 30)])
def test_its_t_distribution_has_the_variance_and_the_kurtosis_of_the_difference(extra):
    spread, first, second = Spread(0.1, 8.0, 100.0), [1.0, 1.5, 2.0], [0.0, 0.1, 0.2]
    d = difference(first, second, extra, spread=spread)
    parts = [(spread.moderated(np.array(x))[0] / 3, 10) for x in (first, second)] + ([extra] if extra else [])
    moments = [stats.t.stats(df, scale=np.sqrt(v), moments="vk") for v, df in parts]
    variance = sum(v for v, _ in moments)
    kurtosis = sum(k * v ** 2 for v, k in moments) / variance ** 2  # fourth cumulants add
    assert stats.t.stats(d.df, scale=d.error, moments="vk") == pytest.approx((variance, kurtosis))
    assert difference(first, second, spread=Spread(0.1, 8.0, 10.0)).df == 10  # not known better than by all samples
    assert difference(first, second, spread=Spread(0.1, 1.0, 10.0)).df == 3  # without a kurtosis


@pytest.mark.parametrize("df, networks", [(4, 20), (10, 20), (np.inf, 6)])
def test_moderated_tests_are_right_as_often_as_stated_and_see_more(df, networks):
    """Networks with three seeds; half of the pairs are equal, the others differ by three standard deviations."""
    rng, trials = np.random.default_rng(4), 3000 // networks
    p_values, by_welch = [], []
    for _ in range(trials):
        sd = 0.2 * np.sqrt(df / rng.chisquare(df, networks) if np.isfinite(df) else np.ones(networks))
        samples = rng.normal(50, sd[:, None], (networks, 3))
        samples[1::4] += 3 * 0.2
        spread = Spread.of(list(samples))
        for k in range(0, networks, 2):
            p_values.append(two_sided(difference(samples[k], samples[k + 1], spread=spread)))
            by_welch.append(two_sided(difference(samples[k], samples[k + 1])))
    per_trial = np.array(p_values).reshape(trials, networks // 2)
    different, same = per_trial[:, ::2], per_trial[:, 1::2]
    assert 0.025 <= (same < 0.05).mean() <= 0.075 and (same < 0.002).mean() <= 0.01
    welch = np.array(by_welch).reshape(trials, networks // 2)[:, ::2]
    assert (different < 0.01).mean() > 1.3 * (welch < 0.01).mean()
