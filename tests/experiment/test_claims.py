"""The verdicts on claims."""

import numpy as np
import pytest

from lstmp.experiment.claims import FAILS, HOLDS, OPEN, UNTESTED, Outcome, verdict
from lstmp.experiment.plan import Claim, Comparison


def outcome(valid, train=0.8, early=0.4, rate=0.2):
    records = [{"frame_accuracy_valid": v, "frame_accuracy_train": train, "epochs": [{"accuracy_valid": early}]}
               for v in valid]
    words = np.full(100, 20)
    rng = np.random.default_rng(int(1000 * rate))
    return Outcome(records, [rng.binomial(words, rate) for _ in valid], words)


GOOD, BAD = outcome([0.62, 0.621, 0.622], rate=0.10), outcome([0.60, 0.601, 0.602], rate=0.20)
NOISY = outcome([0.55, 0.62, 0.68], rate=0.10)
ALL = {"good": GOOD, "bad": BAD, "noisy": NOISY}


def of(first, second, measure="accuracy", relation="better", margin=0.0):
    return verdict(Claim("So it is.", [Comparison(first, second, measure, relation, margin)]), ALL)[0]


@pytest.mark.parametrize("measure", ["accuracy", "wer"])
def test_better_means_higher_accuracy_or_fewer_errors(measure):
    assert of("good", "bad", measure) == HOLDS
    assert of("bad", "good", measure) == FAILS


def test_with_too_much_variance_nothing_is_decided():
    assert of("noisy", "bad") == OPEN == of("bad", "noisy")


def test_a_gap_can_be_larger():
    assert of("bad", "good", "gap", "more") == HOLDS and of("good", "bad", "gap", "more") == FAILS


def test_equality_needs_a_narrow_interval():
    assert of("good", "bad", relation="equal", margin=5.0) == HOLDS
    assert of("good", "bad", relation="equal", margin=1.0) == FAILS
    assert of("noisy", "bad", relation="equal", margin=1.0) == OPEN


@pytest.mark.parametrize("measure, margin", [("accuracy", 0.5), ("wer", 1.0)])
def test_no_better_holds_if_the_network_is_worse(measure, margin):
    assert of("bad", "good", measure, "no_better", margin) == HOLDS
    assert of("good", "bad", measure, "no_better", margin) == FAILS


def test_a_claim_fails_if_one_comparison_fails():
    good, bad = Comparison("good", "bad", "accuracy"), Comparison("bad", "good", "accuracy")
    undecided = Comparison("noisy", "bad", "accuracy")
    assert verdict(Claim("", [good, bad]), ALL)[0] == FAILS
    assert verdict(Claim("", [good, undecided]), ALL)[0] == OPEN
    assert len(verdict(Claim("", [good, undecided]), ALL)[1]) == 2


def test_a_claim_about_a_network_that_was_not_run_is_untested():
    assert verdict(Claim("", [Comparison("good", "bad", "accuracy")]), {"good": GOOD}) == (UNTESTED, [])
    assert verdict(Claim("", [], "why"), ALL) == (UNTESTED, [])
