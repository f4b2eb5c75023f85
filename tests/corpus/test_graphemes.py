"""Tests of graphemic lexicons."""

import gzip

import pytest

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.graphemes import is_graphemic, spell_words, spelled
from lstmp.corpus.prepare_dict import main, prepare_dict
from lstmp.errors import UserError


def test_phones_are_upper_case_letters_digits_and_combining_marks():
    assert spelled("don't") == tuple("DONT") and spelled("X-2") == tuple("X2") and spelled("…") == ()
    assert spelled("e\u0301te\u0301") == ("É", "T", "É") and spelled("straße") == tuple("STRASSE")
    assert spelled("कि") == ("क", "ि")  # a combining vowel sign is a phone


def test_the_dotless_i_is_another_letter_than_i():
    assert spelled("altı") == ("A", "L", "T", "ı") and spelled("bin") == ("B", "I", "N")  # Turkish, lower case
    assert spelled("ALTI") == ("A", "L", "T", "I") and spelled("BİN") == ("B", "İ", "N")  # upper case


def test_joiners_and_variation_selectors_are_dropped():
    assert spelled("می\u200cخ") == ("م", "ی", "خ") and spelled("❤\ufe0f") == ()
    assert spelled("e\u0301") == ("É",) and spelled("क्ष") == ("क", "्", "ष")


def test_words_come_from_data_dirs_texts_and_language_models(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text").write_text("utt-1 GOOD DAY\nutt-2 GOOD --\n")
    with gzip.open(tmp_path / "text.gz", "wt") as f:
        f.write("a day\n\nof rest\n")
    (tmp_path / "arpa").write_text("\\data\\\nngram 1=4\nngram 2=1\n\n\\1-grams:\n-1 <s> -0.3\n-1 </s>\n-1 night -0.1\n"
                                   "-1 <unk>\n\n\\2-grams:\n-0.1 night </s>\n\n\\end\\\n")
    entries = spell_words([tmp_path / "data", tmp_path / "text.gz", tmp_path / "arpa"])
    assert entries == [(w, 1.0, tuple(w.upper())) for w in ("DAY", "GOOD", "a", "day", "night", "of", "rest")]
    assert "2 words without letters, in brackets or with a space are left out: -- <unk>" in capsys.readouterr().err
    (tmp_path / "marks").write_text("WE #1 [NOISE] <noise> <s> !SIL <UNK>\n")
    assert [w for w, _, _ in spell_words([tmp_path / "marks"])] == ["WE"]


def test_comments_before_a_model_and_words_with_spaces_are_skipped(tmp_path, capsys):
    """QuickLM and IRSTLM write comments before the model. A word that contains a space cannot match anything."""
    arpa = ("iARPA\n\nThis is in ARPA format\n\n\\data\\\nngram 1=\t5\n\n \\1-grams:\n-1\t<s>\n-1\t</s>\n-1\tÄ\n"
            "-1\tA\u0308\u00a0B\n-1\tO\u0308\n\n\\end\\\n")
    (tmp_path / "lm").write_text(arpa)
    assert spell_words([tmp_path / "lm"]) == [("Ä", 1.0, ("Ä",)), ("Ö", 1.0, ("Ö",))]
    assert "1 words without letters, in brackets or with a space are left out" in capsys.readouterr().err


def test_graphemic_dictionary_is_written_and_recognized(tmp_path):
    (tmp_path / "text").write_text("don't stop\n")
    main(["--spell", str(tmp_path / "text"), "--out", str(tmp_path / "dict")])
    d = Dictionary.load(tmp_path / "dict")
    assert d.nonsilence == [(c,) for c in sorted("DONTSP")] and is_graphemic(d)
    assert ("don't", 1.0, tuple("DONT")) in d.entries and d.extra_questions[0] == ("SIL", "SPN")
    (tmp_path / "lexicon").write_text("STOP S T AO P\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "phones")
    assert not is_graphemic(Dictionary.load(tmp_path / "phones"))


def test_same_file_as_lexicon_and_as_word_list_gives_different_dictionaries(tmp_path):
    (tmp_path / "list").write_text("STOP S T AO P\n")
    prepare_dict(tmp_path / "list", tmp_path / "dict")
    prepare_dict(None, tmp_path / "dict", spell=[tmp_path / "list"])
    assert is_graphemic(Dictionary.load(tmp_path / "dict"))


def test_sources_without_words_are_errors(tmp_path):
    (tmp_path / "text").write_text("-- ...\n")
    with pytest.raises(UserError, match="no words"):
        prepare_dict(None, tmp_path / "dict", spell=[tmp_path / "text"])
    with pytest.raises(UserError, match="either a lexicon or words to spell"):
        prepare_dict(None, tmp_path / "dict")
    with pytest.raises(UserError, match="no such file"):
        prepare_dict(None, tmp_path / "dict", spell=[tmp_path / "nowhere"])
