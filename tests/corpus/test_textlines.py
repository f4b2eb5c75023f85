"""Reading text files: variants written by editors and tools are read; errors name the line."""

import gzip
import unicodedata

import pytest

from lstmp.corpus.textlines import alike, columns, composed, first_columns, number, numbered_lines, odd_characters
from lstmp.errors import UserError


def lines(tmp_path, content, **options):
    (tmp_path / "t").write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(numbered_lines(tmp_path / "t", **options))


@pytest.mark.parametrize("content", ["A\nB\n", "A\nB", "A\r\nB\r\n", "A\rB\r", "A\r\r\nB\n", "\ufeffA\nB\n",
                                     "A\n\ufeffB\n", gzip.compress(b"A\r\nB\r\n", mtime=0),
                                     gzip.compress("\ufeffA\nB".encode(), mtime=0)])
def test_line_ends_byte_order_marks_and_gzip(tmp_path, content):
    assert lines(tmp_path, content) == [(1, "A"), (2, "B")]


def test_other_separators_do_not_end_lines(tmp_path):
    """As in Kaldi; ``str.splitlines`` splits at more characters, so line numbers would differ from an editor's."""
    text = "A\x0bB\x0cC\x1cD\u0085E\u2028F\u2029G"
    assert lines(tmp_path, text + "\n\nX\n") == [(1, text), (2, ""), (3, "X")]


def test_text_is_normalized_to_nfc_unless_disabled(tmp_path):
    decomposed = unicodedata.normalize("NFD", "CAFÉ 각 ё Å")
    assert lines(tmp_path, decomposed) == [(1, "CAFÉ 각 ё Å")]
    assert lines(tmp_path, decomposed, compose=False) == [(1, decomposed)]
    assert composed("ﬁ ² Ｗ") == "ﬁ ² Ｗ"  # NFC, not NFKC, which would make them FI, 2 and W: different words


@pytest.mark.parametrize("content, message", [
    ("A\nÉ\n".encode("latin-1"), "t:2: not UTF-8 text; convert"),
    ("A\nB\n".encode("utf-16"), "t:1: not UTF-8 text but UTF-16"),
    ("AB\nC\n".encode("utf-16-le"), "t:1: not UTF-8 text but UTF-16LE; .*`iconv -f utf-16le -t utf-8`"),
    ("AB\nC\n".encode("utf-16-be"), "t:1: not UTF-8 text but UTF-16BE"),
    ("A\nB\n".encode("utf-32"), "t:1: not UTF-8 text but UTF-32"),
    (b"A\nB\0\n", "t:2: a NUL byte"),
    (b"BZh91AY", "t: compressed with bzip2"), (b"PK\x03\x04x", "t: compressed with zip"),
    (gzip.compress(b"A\n" * 9999, mtime=0)[:40], "t:.*the gzip file is cut off"),
])
def test_malformed_files_are_reported(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        lines(tmp_path, content)


def test_columns_are_separated_as_in_kaldi():
    assert columns(" A\tB  C\u00a0D\u3000E\x0cF\r") == ["A", "B", "C\u00a0D\u3000E", "F"]
    assert columns(" \t") == [] and columns("A B") == ["A", "B"]


def test_first_columns_of_all_lines_but_empty_ones(tmp_path):
    (tmp_path / "t").write_text("\ufeffE\u0301 1\r\n\r\nB\t2\n")
    assert first_columns(tmp_path / "t") == ["É", "B"]
    assert first_columns(tmp_path / "t", compose=False) == ["E\u0301", "B"]


@pytest.mark.parametrize("text, value", [("1", 1), ("-0.5", -0.5), (".5", 0.5), ("1.", 1), ("1.000000e+00", 1),
                                         ("2E-3", 0.002), ("", None), ("-", None), ("nan", None), ("inf", None),
                                         ("1_0", None), ("\u0661", None), ("0,5", None), ("1e", None), ("0x1", None)])
def test_only_decimal_numbers_in_ascii_are_numbers(text, value):
    assert number(text) == value


@pytest.mark.parametrize("word", ["HELLO", "DON'T", "می\u200cخواهم", "क्\u200dष", "❤\ufe0f", "👩\u200d🚀", "ᠮᠣᠩ\u180eᠭ",
                                  "\u06dd١", "É", "e\u0301"])
def test_format_characters_that_scripts_need_are_not_odd(word):
    assert odd_characters([word]) == []


@pytest.mark.parametrize("word, name", [("O\u200bN", "U+200B ZERO WIDTH SPACE"),
                                        ("\u200fא", "U+200F RIGHT-TO-LEFT MARK"),
                                        ("A\u00a0B", "U+00A0 NO-BREAK SPACE"), ("co\u00adop", "U+00AD SOFT HYPHEN"),
                                        ("A\x07", "U+0007 control character"), ("\ufffd", "U+FFFD"),
                                        ("A\ufeff", "U+FEFF"), ("\ue000", "U+E000")])
def test_odd_characters_are_named(word, name):
    assert odd_characters(["FINE", word])[0].startswith(name)


@pytest.mark.parametrize("one, other", [("Hello", "HELLO"), ("don\u2019t", "DON'T"), ("می\u200cخواهم", "میخواهم"),
                                        ("co\u00adop", "coop"), ("Ｗ", "w"), ("STRASSE", "straße"), ("ΣΟΦΟΣ", "σοφος"),
                                        ("İSTANBUL", "istanbul"), ("KAPI", "kapı")])
def test_spellings_of_a_word_are_alike(one, other):
    assert alike(one) == alike(other) and one != other


def test_different_words_are_not_alike():
    assert len({alike(w) for w in ("CAFE", "CAFÉ", "CAFES", "CAFE'S")}) == 4
