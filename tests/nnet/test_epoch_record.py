"""Which epoch is the best: a held-out loss that is not a number is worse than any other."""

from math import inf, nan

from lstmp.nnet.epoch_record import held_out_loss, is_best


def test_a_loss_that_is_no_number_is_the_worst():
    assert [held_out_loss({"loss_valid": x}) for x in (0.5, nan)] == [0.5, inf]
    rows = [{"left_out": 0, "loss_valid": x} for x in (nan, 0.3, nan, 0.2, 0.4)]
    assert [is_best(rows[:n]) for n in range(1, 6)] == [True, True, False, True, False]


def test_cross_entropy_goes_by_the_accuracy():
    rows = [{"loss_valid": loss, "accuracy_valid": accuracy} for loss, accuracy in ((1.0, 0.5), (2.0, 0.6), (0.5, 0.4))]
    assert [is_best(rows[:n]) for n in range(1, 4)] == [True, True, False]
