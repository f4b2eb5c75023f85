"""The matched-pairs test: its segments are compared with manual results, its statistic with the normal distribution."""

import numpy as np
import pytest
from scipy.stats import norm

from lstmp.score.segments import errors_at, matched_pairs, segments


def words(text):
    return tuple(text.split())


def test_errors_are_counted_at_their_words():
    ref = words("a b c d")
    assert errors_at(ref, ref).tolist() == [0, 0, 0, 0, 0]
    assert errors_at(ref, words("a x c d")).tolist() == [0, 1, 0, 0, 0]
    assert errors_at(ref, words("a c d")).tolist() == [0, 1, 0, 0, 0]
    assert errors_at(ref, words("a b c d e f")).tolist() == [0, 0, 0, 0, 2]
    assert errors_at(ref, words("z a b c d")).tolist() == [1, 0, 0, 0, 0]
    assert errors_at(ref, ()).tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("first, second, expected", [
    ("0000", "0000", []),
    ("0100", "0001", [(1, 1)]),  # only one correct word between the errors: one segment
    ("010010", "000000", [(1, 0), (1, 0)]),
    ("110100", "000001", [(3, 1)]),
    ("1101000", "0000001", [(3, 0), (0, 1)]),
    ("2001", "0000", [(2, 0), (1, 0)]),
    ("0010", "0010", [(1, 1)]),
    ("101", "010", [(2, 1)])])
def test_two_correct_words_separate_segments(first, second, expected):
    a, b = (np.array([int(c) for c in text]) for text in (first, second))
    assert segments(a, b) == expected


def test_the_statistic_by_hand():
    result = matched_pairs([(2, 0), (1, 0), (0, 1), (1, 0)])
    differences = np.array([2, 1, -1, 1])
    assert result.segments == 4 and result.mean == differences.mean()
    assert result.z == pytest.approx(differences.mean() / (differences.std(ddof=1) / 2))
    assert result.p == pytest.approx(2 * norm.sf(abs(result.z)))


def test_p_is_one_without_a_difference():
    assert matched_pairs([]).p == 1 and matched_pairs([(1, 1), (2, 2)]).p == 1 and matched_pairs([(1, 0)]).p == 1
    assert matched_pairs([(1, 0), (1, 0)]).p == 0


def test_equal_systems_differ_significantly_in_one_of_twenty_cases():
    rng, significant = np.random.default_rng(3), 0
    for _ in range(400):
        pairs = [(int(a), int(b)) for a, b in rng.poisson(0.7, (300, 2)) if a or b]
        significant += matched_pairs(pairs).p < 0.05
    assert 0.03 <= significant / 400 <= 0.08
