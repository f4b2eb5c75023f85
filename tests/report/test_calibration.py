"""The calibration of confidences."""

import math

import numpy as np
import pytest

from lstmp.report.calibration import calibration


def test_figures_of_a_few_words():
    """Bin 0.9–1.0: three words, confidence 0.95, two correct. Bin 0.2–0.3: one wrong word of confidence 0.2."""
    result = calibration([0.95, 0.95, 0.95, 0.2], [True, True, False, False])
    by_low = {b["low"]: b for b in result["bins"]}
    assert len(result["bins"]) == 10
    assert (by_low[0.9]["n"], by_low[0.9]["confidence"], by_low[0.9]["correct"]) == (3, 0.95, 0.6667)
    assert (by_low[0.2]["n"], by_low[0.2]["correct"]) == (1, 0.0)
    assert by_low[0.5] == {"low": 0.5, "high": 0.6, "n": 0, "confidence": None, "correct": None}
    assert result["ece"] == pytest.approx((3 * (0.95 - 2 / 3) + 0.2) / 4, abs=1e-4)
    entropy = 4 * math.log(2)
    loss = -(2 * math.log(0.95) + math.log(0.05) + math.log(0.8))
    assert result["nce"] == pytest.approx((entropy - loss) / entropy, abs=1e-4)


def test_the_extremes():
    right = [True] * 3 + [False]
    assert calibration([0.75] * 4, right)["nce"] == 0  # no more than the share of correct words
    assert calibration([1.0, 1.0, 1.0, 0.0], right)["nce"] == pytest.approx(1, abs=1e-4)
    assert calibration([1.0] * 4, right)["nce"] < -1  # finite, although a wrong word has confidence 1
    assert calibration([0.9], [True])["nce"] is None
    empty = calibration([], [])
    assert empty["ece"] is None and empty["nce"] is None and sum(b["n"] for b in empty["bins"]) == 0


def test_calibrated_confidences_have_almost_no_calibration_error():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=20_000)
    result = calibration(p.tolist(), (rng.uniform(size=len(p)) < p).tolist())
    assert result["ece"] < 0.02 and result["nce"] > 0.2
    assert sum(b["n"] for b in result["bins"]) == len(p)
