"""Tests of reading lexicons in the formats of several tools."""

import pytest

from lstmp.corpus.lexicon import read_lexicon
from lstmp.errors import UserError


def read(tmp_path, text, **options):
    (tmp_path / "lexicon").write_text(text)
    return [(word, prob, " ".join(phones)) for word, prob, phones in read_lexicon(tmp_path / "lexicon", **options)]


def test_variants_of_cmudict(tmp_path, capsys):
    """The variants may have any order, be numbered from 1 or 2, and occur in a part of the dictionary only."""
    text = "the(2) DH IY0\nthe DH AH0\nA(1) EY1\nA AH0\nA(10) AA1\nF(2) F\nM(X) M\nM M\n"
    assert read(tmp_path, text) == [("A", 1.0, "AA1"), ("A", 1.0, "AH0"), ("A", 1.0, "EY1"), ("F", 1.0, "F"),
                                    ("M", 1.0, "M"), ("M(X)", 1.0, "M"), ("the", 1.0, "DH AH0"),
                                    ("the", 1.0, "DH IY0")]
    assert "words WORD(2) read as pronunciations of WORD: 4" in capsys.readouterr().out
    assert read(tmp_path, "the(1) DH\nthe(2) D\n") == [("the", 1.0, "D"), ("the", 1.0, "DH")]


def test_numbers_in_brackets_without_variants_belong_to_the_word(tmp_path):
    assert read(tmp_path, "F(2) F\nG(3) G\nF F\n") == [("F", 1.0, "F"), ("G", 1.0, "G")]
    assert read(tmp_path, "F(2) F\nG(3) G\n") == [("F(2)", 1.0, "F"), ("G(3)", 1.0, "G")]
    assert read(tmp_path, "B(737) B\nB B\n") == [("B", 1.0, "B"), ("B(737)", 1.0, "B")]


def test_lexicon_of_a_kaldi_folder_has_no_comments_and_variants(tmp_path):
    assert read(tmp_path, "A AH\nA(2) EY\n##X EY\n", phones={"AH", "EY"}) == [
        ("##X", 1.0, "EY"), ("A", 1.0, "AH"), ("A(2)", 1.0, "EY")]
    with pytest.raises(UserError, match="lexicon:1: phone comment is in no phone list"):
        read(tmp_path, ";;; comment\nA AH\n", phones={"AH"})


def test_comments_are_ignored(tmp_path, capsys):
    text = (";;; comment\n;; one\n## two\n# three\n\n \t\nCAT K AE1 T # pet\nGDP G IY1 D #abbrev\nTEA T IY1\t;; drink"
            "\n#HASH G AE1 T\n#made by hand\n;SEMI S EH1\n")
    assert read(tmp_path, text) == [("#HASH", 1.0, "G AE1 T"), (";SEMI", 1.0, "S EH1"), ("CAT", 1.0, "K AE1 T"),
                                    ("GDP", 1.0, "G IY1 D"), ("TEA", 1.0, "T IY1")]
    assert "ignored comments: 8" in capsys.readouterr().out


@pytest.mark.parametrize("number, prob", [("1.000000e+00", 1.0), ("5.0E-01", 0.5), ("1e-05", 1e-5), (".5", 0.5),
                                          ("1.", 1.0), ("0.25", 0.25), ("1.0", 1.0)])
def test_probabilities_are_read_in_all_notations(tmp_path, number, prob):
    assert read(tmp_path, f"A {number}\tAH\nB\t{number} B\n") == [("A", prob, "AH"), ("B", prob, "B")]


def test_integers_are_probabilities_or_phones(tmp_path):
    """The probability 1 may be written without a point. The phones of a spelled number may be digits."""
    assert read(tmp_path, "A 1 AH\nB 0.5 B\n") == [("A", 1.0, "AH"), ("B", 0.5, "B")]
    assert read(tmp_path, "A 1 AH\nB 1 B\n") == [("A", 1.0, "AH"), ("B", 1.0, "B")]
    assert read(tmp_path, "1 1\n12 1 2\n") == [("1", 1.0, "1"), ("12", 1.0, "1 2")]
    assert read(tmp_path, "1 1\nA A\n") == [("1", 1.0, "1"), ("A", 1.0, "A")]
    assert read(tmp_path, "12 1.0 1 2\n1234 1.0 1 2 3 4\n") == [("12", 1.0, "1 2"), ("1234", 1.0, "1 2 3 4")]


def test_four_numbers_of_the_montreal_forced_aligner(tmp_path, capsys):
    """Each line may have a different count of numbers."""
    text = "cat\t0.99\t0.06\t0.89\t1.02\tK AE1 T\ndog\t1\t0.06\t0.89\t1.02\tD\nas AE1\nno\t0.5\tN\n"
    assert read(tmp_path, text) == [("as", 1.0, "AE1"), ("cat", 0.99, "K AE1 T"), ("dog", 1.0, "D"), ("no", 0.5, "N")]
    assert "warning: " in capsys.readouterr().err
    with pytest.raises(UserError, match="lexicon:2: the word dog is followed by 2 numbers"):
        read(tmp_path, "cat 0.99 0.06 0.89 1.02 K\ndog 1.0 0.06 D\n")


def test_four_numbers_may_be_integers(tmp_path):
    """Digits that are phones remain phones."""
    text = "cat\t0.99\t0.06\t1.0\t1.0\tK AE1 T\nspn\t1\t1\t1\t1\tspn\ndog\t1\t0.5\t1\t1\tD\n"
    assert read(tmp_path, text) == [("cat", 0.99, "K AE1 T"), ("dog", 1.0, "D"), ("spn", 1.0, "spn")]
    assert read(tmp_path, "ma 0.5 1 2 3 a\n") == [("ma", 0.5, "1 2 3 a")]


def test_n_best_lists_of_sequitur(tmp_path):
    """Lines have a rank and a probability."""
    text = "cat\t0\t0.9\tK AE1 T\ncat\t1\t0.1\tK AE1\ndog\t0\t1.0\tD AO1 G\n"
    assert read(tmp_path, text) == [("cat", 0.1, "K AE1"), ("cat", 0.9, "K AE1 T"), ("dog", 1.0, "D AO1 G")]


def test_dictionaries_of_htk(tmp_path, capsys):
    """Output symbols, probabilities after them, words after a backslash, and the pause at the end of each word."""
    text = ("HELLO [HELLO] 0.7 hh ah l sp\nHELLO [HELLO] 0.3 hh eh l sp\nSENT-END [] sil\n"
            "\\'EM ['EM] 1.0 ah m sil\nCAT 1.0 k ae t sp\n")
    assert read(tmp_path, text) == [("'EM", 1.0, "ah m"), ("CAT", 1.0, "k ae t"), ("HELLO", 0.3, "hh eh l"),
                                    ("HELLO", 0.7, "hh ah l"), ("SENT-END", 1.0, "sil")]
    log = capsys.readouterr()
    assert "ignored [output symbols] of HTK: 4" in log.out and "4 pronunciations end in sp or sil" in log.err
    assert read(tmp_path, "UM [uh] m\nHM [uh] m\n") == [("HM", 1.0, "[uh] m"), ("UM", 1.0, "[uh] m")]  # a phone


@pytest.mark.parametrize("text, message", [
    ("A,AH B\nC,D E\n", ":1: the first field of each line contains `,`, such as A,AH"),
    ("A|AH B\nC|D E\n", ":1: the first field of each line contains `|`"),
    ("A [A] a\n\"B C\" [B_C] b k\n", ':2: the word "B C" contains a blank'),
    ("A /a b/\nC /d/\n", ":1: each pronunciation is enclosed in / and /"),
    ("A 1.0 AH\nB B\n", ":2: expected a pronunciation probability in (0, 1], found B"),
    ("A AH\nB 0.5 B\n", ":2: 0.5 is a number where a phone should be"),
    ("A 0.5 0.5 AH\n", ":1: 0.5 is a number where a phone should be"),
    ("A 0,5 AH\n", ":1: 0,5 is a number where a phone should be"),
    ("A \u0661.\u0660 AH\n", ":1: \u0661.\u0660 is a number where a phone should be"),
    ("NEW YORK\tN UW\n", ":1: `NEW YORK` before the tab contains a blank"),
    ("A\u3000AH\n", ":1: the line has a space that is neither a blank nor a tab, U+3000 IDEOGRAPHIC SPACE"),
    ("A AH #1\n", ":1: #1 is a reserved symbol"),
    ("# A\n;; B\n", ": the lexicon is empty"),
    ("A # B\n", ":1: word A has no phones"),
])
def test_bad_lexicon_is_an_error(tmp_path, text, message):
    with pytest.raises(UserError) as e:
        read(tmp_path, text)
    assert f"lexicon{message}" in str(e.value)


def test_byte_order_mark_and_unicode_forms_are_normalized(tmp_path):
    assert read(tmp_path, "\ufeffCAFE\u0301 K A\u0303\r\nCAFÉ K Ã\r\n") == [("CAFÉ", 1.0, "K Ã")]


def test_invisible_characters_and_rare_phones_are_warned_of(tmp_path, capsys):
    read(tmp_path, "A AH\nB\u200b B\nC\u200b B\nمی\u200cخ M\n")
    assert "lexicon:2: U+200B ZERO WIDTH SPACE in the word B\\u200b (2 such words)" in capsys.readouterr().err
    read(tmp_path, "A AH\u200b T\nB AH T\n")
    assert "lexicon:1: U+200B ZERO WIDTH SPACE in the phone AH\\u200b (1 such phones)" in capsys.readouterr().err
    read(tmp_path, "".join(f"W{i} A B\n" for i in range(1000)) + "THE (the) A\n")
    assert "1 phones occur in only one pronunciation: (the)" in capsys.readouterr().err
