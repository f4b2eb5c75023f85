"""Words that a vocabulary lacks, and those that it has in another spelling."""

from collections import Counter

import pytest

from lstmp.corpus.coverage import check_known, difference, hint, spelled_otherwise, unknown_words
from lstmp.errors import UserError

KNOWN = {"HELLO", "WORLD", "DON'T", "می\u200cخ", "DOGS", "A", "CAFÉ", "مرحبا", "שלום", "한글"}


@pytest.mark.parametrize("word, other, kind", [
    ("hello", "HELLO", "letter case"), ("don\u2019t", "DON'T", "apostrophes"), ("DON\u2019T", "DON'T", "apostrophes"),
    ("میخ", "می\u200cخ", "invisible characters or width"), ("Ａ", "A", "invisible characters or width"),
    ("Hello,", "HELLO", "punctuation"), ("«world»", "WORLD", "punctuation"),
    ("cafe", "CAFÉ", "accents or vowel signs"), ("Wórld", "WORLD", "accents or vowel signs"),
    ("مَرْحَبًا", "مرحبا", "accents or vowel signs"), ("مرحبـا", "مرحبا", "accents or vowel signs"),
    ("שָׁלוֹם", "שלום", "accents or vowel signs")])
def test_another_spelling(word, other, kind):
    assert spelled_otherwise([word, "OTHER"], KNOWN) == {word: other} and difference(word, other) == kind


@pytest.mark.parametrize("word", ["dogs'", "HALLO", "...", "-", "HELLOWORLD", "한끌"])
def test_another_word(word):
    assert spelled_otherwise([word], KNOWN) == {}


def test_counts_and_hint():
    said = Counter({"HELLO": 3, "hello": 2, "world": 1, "XYZ": 1})
    assert unknown_words(said, KNOWN) == {"hello": 2, "world": 1, "XYZ": 1}
    assert hint(said, KNOWN) == "75 % of these are there but for letter case: hello as HELLO"
    assert hint(Counter({"XYZ": 2, "Q": 1}), KNOWN) == "such as XYZ, Q"


def test_limit():
    said = Counter({"A": 2, "a": 2})
    check_known(said, KNOWN, file="text", where="words.txt")  # half is allowed
    with pytest.raises(UserError) as e:
        check_known(said + Counter("b"), KNOWN, file="d/text", where="words.txt")
    assert str(e.value).startswith("d/text: 3 of 5 words (60.0 %) are not in words.txt, 67 % of these are there but "
                                   "for letter case: a as A; give transcripts")
    check_known(said, KNOWN, file="text", where="words.txt", limit=1 - 1e-9)
    with pytest.raises(UserError):
        check_known(Counter("ab"), KNOWN, file="text", where="words.txt", limit=1 - 1e-9)
