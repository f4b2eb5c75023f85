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
    equal = Spread.of([[0.0, 1.0, 2.0], [0.1, 1.1, 2.1], [5.0, 6.0, 7.0]])  # their own variances say nothing more
    assert equal.df == np.inf and equal.moderated(np.array([0.0, 0.1, 0.2]))[1] == 6
    assert Spread.of([[1.0, 1.1], [2.0, 2.2], [3.0, 3.0], [4.0]]) is None  # two with a variance


def test_a_moderated_variance_lies_between_that_of_the_network_and_of_all():
    spread = Spread(0.1, 4.0, 100.0)
    values = np.array([1.0, 2.0, 3.0])
    assert spread.moderated(values) == (pytest.approx((4 * 0.1 + 2 * 1.0) / 6), 6.0)
    d = difference(values, [0.0, 0.1, 0.2], spread=spread)
    variances = [(4 * 0.1 + 2 * 1.0) / 6, (4 * 0.1 + 2 * 0.01) / 6]
    assert d.error == pytest.approx(np.sqrt(sum(variances) / 3))
    assert d.df == pytest.approx(sum(variances) ** 2 / sum(v ** 2 / 6 for v in variances))
    assert difference([1.0], [0.0, 0.1], spread=spread).error == np.inf  # one seed


def test_moderated_tests_are_right_as_often_as_stated_and_see_more():
    """Twenty networks with three seeds; half of the pairs are equal, the others differ by two standard deviations."""
    rng, wrong, seen, seen_by_welch, trials = np.random.default_rng(4), 0, 0, 0, 150
    for _ in range(trials):
        sd = np.sqrt(0.04 * 10 / rng.chisquare(10, 20))
        samples = rng.normal(50, sd[:, None], (20, 3))
        samples[10::2] += 2 * 0.2
        spread = Spread.of(list(samples))
        for k in range(0, 20, 2):
            p = two_sided(difference(samples[k], samples[k + 1], spread=spread)) < 0.05
            wrong, seen = (wrong + p, seen) if k < 10 else (wrong, seen + p)
            seen_by_welch += k >= 10 and two_sided(difference(samples[k], samples[k + 1])) < 0.05
    assert 0.03 <= wrong / (5 * trials) <= 0.07
    assert seen > 1.25 * seen_by_welch
