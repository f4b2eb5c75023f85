"""Tests of reducing a vocabulary until a given fraction of a set's words is unknown."""

import gzip
from collections import Counter

import pytest

from lstmp.corpus.cut_vocabulary import cut_vocabulary, main, smallest_vocabulary
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.errors import UserError


def test_smallest_vocabulary_for_a_given_rate_of_unknown_words():
    spoken = Counter(THE=6, CAT=2, DOG=1, EMU=1)
    ranked = ["THE", "OF", "CAT", "DOG", "EMU"]
    assert [smallest_vocabulary(ranked, spoken, r) for r in (0.05, 0.1, 0.2, 0.39, 0.4, 0.99)] == [5, 4, 3, 3, 1, 1]
    with pytest.raises(UserError, match="with all 2 words 40.00 % are unknown"):
        smallest_vocabulary(["THE", "OF"], spoken, 0.1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text("THE DH AH\nCAT K AE T\nDOG D AO G\nEMU IY M Y UW\n[NOISE] SPN\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text").write_text("a THE CAT THE DOG\nb THE THE CAT THE THE EMU\n")
    (tmp_path / "lm").write_text("THE CAT [NOISE] THE DOG\nTHE DOG XERUS\nCAT CAT THE\n\nEMU\n")
    return tmp_path


def test_dictionary_and_text_are_reduced_and_repeated_runs_skipped(folder, capsys):
    arguments = ["--rate", "0.1", "--of", str(folder / "data"), "--text", str(folder / "lm"), "--dict",
                 str(folder / "dict"), "--out", str(folder / "out")]
    main(arguments)
    assert (folder / "out/words.txt").read_text().split() == ["CAT", "DOG", "THE"]
    assert "1 of 10 words of" in capsys.readouterr().out
    with gzip.open(folder / "out/text.gz", "rt") as f:
        assert f.read() == "THE CAT <unk> THE DOG\nTHE DOG <unk>\nCAT CAT THE\n\n<unk>\n"
    whole, cut = Dictionary.load(folder / "dict"), Dictionary.load(folder / "out/dict")
    assert {e[0] for e in whole.entries} - {e[0] for e in cut.entries} == {"EMU"}
    assert (whole.nonsilence, whole.extra_questions) == (cut.nonsilence, cut.extra_questions)
    main(arguments)
    assert "cut is done" in capsys.readouterr().out
    (folder / "out/dict/lexiconp.txt").unlink()
    main(arguments)
    assert (folder / "out/dict/lexiconp.txt").is_file()


def test_bad_rate_and_reserved_word_are_errors(folder):
    for rate in (0.0, 1.0):
        with pytest.raises(UserError, match="--rate must be between"):
            cut_vocabulary(rate, folder / "data", [folder / "lm"], folder / "dict", folder / "out")
    (folder / "lexicon").write_text("THE DH AH\n<unk> SPN\n")
    prepare_dict(folder / "lexicon", folder / "dict2")
    with pytest.raises(UserError, match="it contains the word <unk>"):
        cut_vocabulary(0.5, folder / "data", [folder / "lm"], folder / "dict2", folder / "out")
