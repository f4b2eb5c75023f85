"""A vocabulary cut so that a share of a set's words is unknown."""

import gzip
from collections import Counter

import pytest

from lstmp.corpus.cut_vocabulary import cut_vocabulary, main, smallest_vocabulary
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.errors import UserError


def test_the_fewest_words_that_leave_so_many_unknown():
    said = Counter(THE=6, CAT=2, DOG=1, EMU=1)
    ranked = ["THE", "OF", "CAT", "DOG", "EMU"]
    assert [smallest_vocabulary(ranked, said, r) for r in (0.05, 0.1, 0.2, 0.39, 0.4, 0.99)] == [5, 4, 3, 3, 1, 1]
    with pytest.raises(UserError, match="with all 2 words 40.00 % are unknown"):
        smallest_vocabulary(["THE", "OF"], said, 0.1)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text("THE DH AH\nCAT K AE T\nDOG D AO G\nEMU IY M Y UW\n[NOISE] SPN\n")
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text").write_text("a THE CAT THE DOG\nb THE THE CAT THE THE EMU\n")
    (tmp_path / "lm").write_text("THE CAT [NOISE] THE DOG\nTHE DOG XERUS\nCAT CAT THE\n\nEMU\n")
    return tmp_path


def test_folder(folder, capsys):
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


def test_faults(folder):
    for rate in (0.0, 1.0):
        with pytest.raises(UserError, match="--rate must lie"):
            cut_vocabulary(rate, folder / "data", [folder / "lm"], folder / "dict", folder / "out")
    (folder / "lexicon").write_text("THE DH AH\n<unk> SPN\n")
    prepare_dict(folder / "lexicon", folder / "dict2")
    with pytest.raises(UserError, match="it has the word <unk>"):
        cut_vocabulary(0.5, folder / "data", [folder / "lm"], folder / "dict2", folder / "out")
