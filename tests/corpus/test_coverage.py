"""Tests of the detection of unknown words, and of words that a vocabulary contains in a different spelling."""

from collections import Counter

import pytest

from lstmp.corpus.coverage import check_known, describe_unknown, difference, other_spellings, unknown_words
from lstmp.errors import UserError

KNOWN = {"HELLO", "WORLD", "DON'T", "می\u200cخ", "DOGS", "A", "CAFÉ", "مرحبا", "שלום", "한글"}


@pytest.mark.parametrize("word, other, kind", [
    ("hello", "HELLO", "letter case"), ("don\u2019t", "DON'T", "apostrophes"), ("DON\u2019T", "DON'T", "apostrophes"),
    ("میخ", "می\u200cخ", "invisible characters or width"), ("Ａ", "A", "invisible characters or width"),
    ("Hello,", "HELLO", "punctuation"), ("«world»", "WORLD", "punctuation"),
    ("cafe", "CAFÉ", "accents or vowel signs"), ("Wórld", "WORLD", "accents or vowel signs"),
    ("مَرْحَبًا", "مرحبا", "accents or vowel signs"), ("مرحبـا", "مرحبا", "accents or vowel signs"),
    ("שָׁלוֹם", "שלום", "accents or vowel signs")])
def test_unknown_word_is_matched_to_its_other_spelling(word, other, kind):
    assert other_spellings([word, "OTHER"], KNOWN) == {word: other} and difference(word, other) == kind


@pytest.mark.parametrize("word", ["dogs'", "HALLO", "...", "-", "HELLOWORLD", "한끌"])
def test_different_word_is_not_matched(word):
    assert other_spellings([word], KNOWN) == {}


def test_unknown_words_are_counted_and_described():
    counts = Counter({"HELLO": 3, "hello": 2, "world": 1, "XYZ": 1})
    assert unknown_words(counts, KNOWN) == {"hello": 2, "world": 1, "XYZ": 1}
    assert describe_unknown(counts, KNOWN) == ("75 % of these are spelled differently there, for example hello as "
                                               "HELLO (different letter case)")
    assert describe_unknown(Counter({"XYZ": 2, "Q": 1}), KNOWN) == "such as XYZ, Q"


def test_too_many_unknown_words_are_an_error():
    counts = Counter({"A": 2, "a": 2})
    check_known(counts, KNOWN, file="text", where="words.txt")  # half may be unknown
    with pytest.raises(UserError) as e:
        check_known(counts + Counter("b"), KNOWN, file="d/text", where="words.txt")
    assert str(e.value).startswith("d/text: 3 of 5 words (60.0 %) are not in words.txt, 67 % of these are spelled "
                                   "differently there, for example a as A (different letter case); use the same")
    check_known(counts, KNOWN, file="text", where="words.txt", limit=1 - 1e-9)
    with pytest.raises(UserError):
        check_known(Counter("ab"), KNOWN, file="text", where="words.txt", limit=1 - 1e-9)
