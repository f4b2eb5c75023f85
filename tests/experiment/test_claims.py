"""The verdicts on claims."""

import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.experiment.claims import FAILS, HOLDS, OPEN, PARTLY, UNTESTED, Outcome, decide, effort, spreads
from lstmp.experiment.difference import Spread
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


def decided_alone(claims, outcomes):
    """What these networks decide, without others that show how much seeds vary."""
    return decide(claims, outcomes, spreads(claims, outcomes))


def verdict(claim, outcomes):
    return decided_alone([claim], outcomes)[0]


def of(first, second, measure="accuracy", relation="better", margin=0.0, outcomes=ALL):
    return verdict(Claim("So it is.", [Comparison(first, second, measure, relation, margin)]), outcomes)[0]


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


def test_comparisons_whose_networks_are_run_are_decided_before_the_others():
    good, bad = Comparison("good", "bad", "accuracy"), Comparison("bad", "good", "accuracy")
    later = Comparison("good", "later", "accuracy")
    found, rows = verdict(Claim("", [good, later]), ALL)
    assert found == PARTLY and [(row[0].comparison, row[2]) for row in rows] == [(good, HOLDS)]
    assert rows[0][1] == pytest.approx(2 * rows[0][0].p)  # adjusted for both
    assert verdict(Claim("", [bad, later]), ALL)[0] == FAILS


def learner(*accuracies, seconds=60.0):
    """A network whose held-out accuracy rises in this way, the same for two seeds but for a little."""
    words = np.full(10, 5)
    return Outcome([{"frame_accuracy_valid": max(accuracies), "frame_accuracy_train": 0.8,
                     "epochs": [{"accuracy_valid": a + seed / 1000, "cpu_seconds": seconds} for a in accuracies]}
                    for seed in (0, 1)], [words * 0, words * 0], words)


def test_the_time_to_an_accuracy_is_linear_within_an_epoch():
    epochs = [{"accuracy_valid": a, "cpu_seconds": 120} for a in (0.4, 0.6, 0.5, 0.7)]
    assert [effort(epochs, a, minutes=False) for a in (0.2, 0.4, 0.5, 0.6)] == pytest.approx([0.5, 1, 1.5, 2])
    assert [effort(epochs, 0.65, minutes) for minutes in (False, True)] == pytest.approx([3.5, 7])
    assert effort(epochs, 0.8, minutes=False) == float("inf")


def test_the_quicker_network_needs_fewer_epochs_or_minutes_to_what_both_reach():
    outcomes = {"quick": learner(0.5, 0.6, 0.62), "slow": learner(0.3, 0.4, 0.5, 0.55),
                "costly": learner(0.5, 0.6, 0.62, seconds=600)}
    assert of("quick", "slow", "epochs", outcomes=outcomes) == HOLDS
    assert of("slow", "quick", "epochs", outcomes=outcomes) == FAILS
    assert of("costly", "slow", "epochs", outcomes=outcomes) == HOLDS
    assert of("costly", "slow", "minutes", outcomes=outcomes) == FAILS
    quick = verdict(Claim("", [Comparison("quick", "slow", "epochs")]), outcomes)[1][0][0].difference
    assert quick.mean == pytest.approx(1.5 - 4, abs=0.05)  # both reach 0.55


def test_networks_can_be_compared_at_a_given_accuracy():
    outcomes = {"early": learner(0.4, 0.6, 0.61, 0.61), "late": learner(0.2, 0.3, 0.6, 0.7)}
    at_50, at_65 = (Comparison("early", "late", "epochs", level=level) for level in (50, 65))
    decided, rows = verdict(Claim("", [at_50]), outcomes)
    assert decided == HOLDS and rows[0][0].difference.mean == pytest.approx(1.5 - 8 / 3, abs=0.01)
    decided, rows = verdict(Claim("", [at_65]), outcomes)
    assert decided == OPEN and rows[0][0].why == "not all seeds of early reach 65 %"
    assert rows[0][0].difference.mean == pytest.approx(4 - 3.5, abs=0.02)  # all of its training
    with pytest.raises(UserError, match="except for epochs and minutes"):
        Comparison("early", "late", "wer", level=50)


def test_many_comparisons_need_smaller_p_values():
    chance = outcome([0.612, 0.614, 0.613], rate=0.10), outcome([0.60, 0.605, 0.607], rate=0.10)
    outcomes = dict(zip("ab", chance, strict=True)) | ALL
    one = Comparison("a", "b", "accuracy")
    alone = decided_alone([Claim("", [one])], outcomes)[0]
    among = decided_alone([Claim("", [one]), Claim("", [Comparison("noisy", "bad", "accuracy")] * 3)], outcomes)[0]
    assert alone[1][0][1] < 0.05 < among[1][0][1] and alone[1][0][1] * 4 == pytest.approx(among[1][0][1])
    assert (alone[0], among[0]) == (HOLDS, OPEN)


def test_networks_that_still_learn_decide_nothing():
    learning = Outcome(GOOD.records, GOOD.errors, GOOD.words, learning=True)
    outcomes = {**ALL, "good": learning}
    decided, rows = verdict(Claim("", [Comparison("good", "bad", "wer"), Comparison("bad", "good", "wer")]), outcomes)
    assert decided == OPEN and [c.why for c, _, _ in rows] == 2 * ["good not trained to the end"]
    early = outcome([0.62, 0.621, 0.622], early=0.3).records, outcome([0.6, 0.601, 0.602], early=0.2).records
    outcomes = {n: Outcome(records, [], GOOD.words, learning=True) for n, records in zip("ab", early, strict=True)}
    assert of("a", "b", "early", outcomes=outcomes) == HOLDS  # which does not depend on the end


def test_one_seed_decides_nothing():
    outcomes = {"good": Outcome(GOOD.records[:1], GOOD.errors[:1], GOOD.words), "bad": BAD}
    decided, rows = verdict(Claim("", [Comparison("good", "bad", "wer")]), outcomes)
    assert decided == OPEN and rows[0][0].why == "one seed of good" and rows[0][0].difference.high < 0


def test_untested_claims_count_among_the_comparisons():
    one, other = Comparison("good", "bad", "accuracy"), Comparison("good", "not run", "accuracy")
    alone = decided_alone([Claim("", [one])], ALL)[0][1][0][1]
    assert decided_alone([Claim("", [one]), Claim("", [other] * 3)], ALL)[0][1][0][1] == pytest.approx(4 * alone)


def test_what_other_networks_show_of_the_variance_decides_sooner():
    close = {"good": outcome([0.62, 0.623, 0.626]), "bad": outcome([0.617, 0.618, 0.618])}
    others = {f"other-{n}": outcome([0.5, 0.501 + 0.0002 * n, 0.502]) for n in range(8)}
    assert of("good", "bad", outcomes=close) == OPEN
    assert of("good", "bad", outcomes=close | others) == HOLDS
    noisy = {f"other-{n}": outcome([0.5, 0.53 + 0.001 * n, 0.56]) for n in range(8)}
    assert of("good", "bad", outcomes=close | noisy) == OPEN


def test_networks_elsewhere_decide_how_much_seeds_vary_and_the_level_what_is_significant():
    claims = [Claim("", [Comparison("good", "bad", "accuracy")])]
    tight, wide = Spread(1e-8, 50.0, 50.0), Spread(4.0, 50.0, 50.0)  # variances, in squared points
    for spread, verdict_then in ((tight, HOLDS), (wide, OPEN)):
        (found, rows), = decide(claims, ALL, {"accuracy": spread})
        assert found == verdict_then
    p = decided_alone(claims, ALL)[0][1][0][1]
    assert decide(claims, ALL, spreads(claims, ALL), 1.01 * p)[0][0] == HOLDS
    assert decide(claims, ALL, spreads(claims, ALL), 0.99 * p)[0][0] == OPEN
