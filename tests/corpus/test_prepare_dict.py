"""The dictionary folder: what it holds, and one line for every fault of a lexicon file."""

import gzip

import pytest

from lstmp.corpus.dictionary import Dictionary, split_stress
from lstmp.corpus.lexicon import read_lexicon
from lstmp.corpus.prepare_dict import main, prepare_dict
from lstmp.errors import UserError

LEXICON = "READ R EH1 D\nREAD R IY1 D\nA AH0\nREAD R EH1 D\nRADAR\tR EY1 D AA2 R\n"


def test_files(tmp_path):
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    files = {p.name: p.read_text() for p in (tmp_path / "dict").glob("[!.]*")}
    assert files == {
        "lexiconp.txt": "!SIL 1.0 SIL\n<UNK> 1.0 SPN\nA 1.0 AH0\nRADAR 1.0 R EY1 D AA2 R\nREAD 1.0 R EH1 D\n"
                        "READ 1.0 R IY1 D\n",
        "silence_phones.txt": "SIL\nSPN\n",
        "nonsilence_phones.txt": "AA2\nAH0\nD\nEH1\nEY1\nIY1\nR\n",
        "optional_silence.txt": "SIL\n",
        "extra_questions.txt": "SIL SPN\nD R\nAH0\nEH1 EY1 IY1\nAA2\n"}


def test_stress_variants_are_one_group(tmp_path):
    (tmp_path / "lexicon").write_text("A AH0\nB AH1 B\nC AH2\n")
    assert Dictionary.from_lexicon(tmp_path / "lexicon").nonsilence == [("AH0", "AH1", "AH2"), ("B",)]


@pytest.mark.parametrize("phone, parts", [("AA0", ("AA", "0")), ("B", ("B", "")), ("9", ("9", "")),
                                          ("a12", ("a", "12"))])
def test_split_stress(phone, parts):
    assert split_stress(phone) == parts


def test_probabilities(tmp_path):
    """The higher of two probabilities of the same pronunciation counts; the special words may be there already."""
    (tmp_path / "lexicon").write_text("B .5 X Y\nB 1.0 X\nB 0.25 X Y\nB 1.0e-1 Y\n<UNK> 1.0 SPN\n")
    entries = Dictionary.from_lexicon(tmp_path / "lexicon").entries
    assert entries == [("!SIL", 1.0, ("SIL",)), ("<UNK>", 1.0, ("SPN",)), ("B", 0.1, ("Y",)), ("B", 0.5, ("X", "Y")),
                       ("B", 1.0, ("X",))]


def test_gzip_and_utf8(tmp_path):
    with gzip.open(tmp_path / "lexicon.gz", "wt", encoding="utf-8") as f:
        f.write("ÄRGER ɛ ʁ g ɐ\n")
    assert read_lexicon(tmp_path / "lexicon.gz") == [("ÄRGER", 1.0, ("ɛ", "ʁ", "g", "ɐ"))]


def test_folder_there_and_back(tmp_path):
    (tmp_path / "lexicon").write_text(LEXICON)
    dictionary = Dictionary.from_lexicon(tmp_path / "lexicon")
    dictionary.write(tmp_path / "dict")
    assert Dictionary.load(tmp_path / "dict") == dictionary


@pytest.mark.parametrize("content, message", [
    (b"A AH0\nCAT\n", "lexicon:2: word CAT has no phones"),
    (b"A AH0\nCAF\xc9 K\n", "lexicon:2: not UTF-8 text"),
    (b"A,AH0\n", "lexicon:1: word A,AH0 has no phones"),
    (b"A;AH0\nB;B\n", "lexicon:1: word A;AH0 has no phones"),
    ("A\u00a0AH0\n".encode(), "lexicon:1: a space that is neither a blank nor a tab"),
    (b"#0 AH0\n", "lexicon:1: #0 is a reserved symbol"),
    (b"A AH0\n<eps> B\n", "lexicon:2: <eps> is a reserved symbol"),
    (b"<s> AH0\n", "lexicon:1: <s> is a reserved symbol"),
    (b"A AH0 #1\n", "lexicon:1: #1 is a reserved symbol, it cannot be a phone"),
    (b"A AH0_B\n", "lexicon:1: phone AH0_B ends in a position mark"),
    (b"A AH0\nB 0.5 B\n", "lexicon:2: 0.5 is a number where a phone should be"),
    (b"A 1.0 AH0\nB B\n", "lexicon:2: expected a pronunciation probability in (0, 1], found B"),
    (b"A 1.5 AH0\n", "lexicon:1: expected a pronunciation probability in (0, 1], found 1.5"),
    (b"A 0.0 AH0\n", "lexicon:1: expected a pronunciation probability"),
    (b"A 1.0 AH0\nB 1.0\n", "lexicon:2: word B has no phones"),
    (b"<UNK> AH0\n", "lexicon: <UNK> must be pronounced SPN"),
    (b"", "lexicon: the lexicon is empty"),
    (b"!SIL SIL\n", "lexicon: the lexicon has no words"),
    (gzip.compress(b"A AH0\n" * 9999, mtime=0)[:60], "the gzip file is cut off or damaged"),
])
def test_refused(tmp_path, capsys, content, message):
    """One line with file, line and hint, status 1, no folder made from it."""
    (tmp_path / "lexicon").write_bytes(content)
    with pytest.raises(SystemExit) as e:
        main(["--lexicon", str(tmp_path / "lexicon"), "--out", str(tmp_path / "dict")])
    error = capsys.readouterr().err
    assert e.value.code == 1
    assert message in error and error.count("\n") == 1 and "; " in error
    assert not (tmp_path / "dict" / "lexiconp.txt").exists()


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="lexicon: no such file"):
        prepare_dict(tmp_path / "lexicon", tmp_path / "dict")


@pytest.mark.parametrize("name, content, message", [
    ("nonsilence_phones.txt", "AH0\nAH0\n", "nonsilence_phones.txt:2: phone AH0 is listed twice"),
    ("nonsilence_phones.txt", "AH0\nSIL\n", "nonsilence_phones.txt:2: phone SIL is listed twice"),
    ("nonsilence_phones.txt", "AH0\n", "extra_questions.txt:2: phone D is in no phone list"),
    ("lexiconp.txt", "<UNK> 1.0 SPN\nA 1.0 XX\n", "lexiconp.txt:2: phone XX is in no phone list"),
    ("optional_silence.txt", "AH0\n", "optional_silence.txt: expected one phone of silence_phones.txt"),
    ("extra_questions.txt", "AH0\nXX\n", "extra_questions.txt:2: phone XX is in no phone list"),
])
def test_folder_refused(tmp_path, name, content, message):
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    (tmp_path / "dict" / name).write_text(content)
    with pytest.raises(UserError) as e:
        Dictionary.load(tmp_path / "dict")
    assert message in str(e.value)
