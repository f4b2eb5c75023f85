"""Words of ordinary written text are found in a lexicon."""

import pytest

from lstmp.transcribe.spelling import UNKNOWN, Speller

KNOWN = {"HELLO", "WORLD", "DON'T", "'EM", "DOGS'", "WELL", "KNOWN", "T-SHIRT", "lower", "McCoy", "[NOISE]", "ÉTÉ",
         "A.M.", "می\u200cخ", "بدون"}


@pytest.mark.parametrize(("text", "expected"), [
    ("Hello, world!", [("Hello", ["HELLO"]), ("world", ["WORLD"])]),
    ("\ufeff“HELLO” (World)", [("HELLO", ["HELLO"]), ("World", ["WORLD"])]),
    ("don’t Don't", [("don’t", ["DON'T"]), ("Don't", ["DON'T"])]),
    ("‘em, dogs’. 'em", [("‘em", ["'EM"]), ("dogs’", ["DOGS'"]), ("'em", ["'EM"])]),
    ("'hello'", [("hello", ["HELLO"])]),
    ("Lower LOWER mccoy", [("Lower", ["lower"]), ("LOWER", ["lower"]), ("mccoy", ["McCoy"])]),
    ("well-known t-shirt", [("well-known", ["WELL", "KNOWN"]), ("t-shirt", ["T-SHIRT"])]),
    ("well-done", [("well-done", [UNKNOWN])]),
    ("hello—world… well--known",
     [("hello", ["HELLO"]), ("world", ["WORLD"]), ("well", ["WELL"]), ("known", ["KNOWN"])]),
    ("hello - , world ...", [("hello", ["HELLO"]), ("world", ["WORLD"])]),
    ("1999 $5, 50%", [("1999", [UNKNOWN]), ("5", [UNKNOWN]), ("50", [UNKNOWN])]),
    ("hello & world", [("hello", ["HELLO"]), ("&", [UNKNOWN]), ("world", ["WORLD"])]),
    ("[noise] [world] {world}", [("[noise]", ["[NOISE]"]), ("[world]", [UNKNOWN]), ("{world}", [UNKNOWN])]),
    ("e\u0301te\u0301 hel\u00adlo a.m.", [("été", ["ÉTÉ"]), ("hello", ["HELLO"]), ("a.m.", ["A.M."])]),
    ("“a.m.”, (a.m.), hello.", [("a.m.", ["A.M."]), ("a.m.", ["A.M."]), ("hello", ["HELLO"])]),
    ("می\u200cخ میخ بد\u200cون.", [("می\u200cخ", ["می\u200cخ"]), ("میخ", ["می\u200cخ"]), ("بد\u200cون", ["بدون"])]),
    (" \r\n\t. ", []),
])
def test_written_words_are_found_in_the_lexicon(text, expected):
    assert [(w.written, list(w.words)) for w in Speller(KNOWN).read(text)] == expected
