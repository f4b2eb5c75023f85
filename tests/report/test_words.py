"""The words of utterances, with times and confidences."""

from lstmp.decode.ctm import TimedWord
from lstmp.report.words import Details, confidences, shown_words

PAIRS = [("A", "A"), ("BAT", ""), ("", "UM"), ("TAB", "TAP"), ("SO", "")]  # correct, deleted, inserted, substituted
TIMED = [TimedWord("A", 10, 20, 0.9), TimedWord("UM", 50, 5, 0.4), TimedWord("TAP", 55, 30, 0.61)]


def test_words_have_the_times_of_the_hypothesis_and_deleted_words_those_between():
    words = shown_words(PAIRS, TIMED, 0.01, 1.2)
    assert [(w["op"], w["start"], w["end"], w["confidence"]) for w in words] == [
        ("C", 0.1, 0.3, 0.9), ("D", 0.3, 0.5, None), ("I", 0.5, 0.55, 0.4), ("S", 0.55, 0.85, 0.61),
        ("D", 0.85, 1.2, None)]
    assert [w["start"] for w in shown_words([("A", ""), ("B", "A")], TIMED[:1], 0.01, 1.2)] == [0, 0.1]


def test_other_words_than_those_of_the_hypothesis_give_no_times_and_no_confidences():
    other = [("A", "A"), ("BAT", "BAD"), ("TAB", "TAP")]  # as many words
    assert all(w["start"] is w["end"] is w["confidence"] is None for w in shown_words(other, TIMED, 0.01, 1.2))
    found = Details({"u": TIMED, "v": TIMED}, {}, 0.01, {})
    assert confidences(found, {"u": other, "v": PAIRS}) == ([0.9, 0.4, 0.61], [True, False, False])
