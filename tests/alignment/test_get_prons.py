"""Counts of a hand-made alignment with and without position marks, and alignments that do not fit their transcripts."""

import re

import numpy as np
import pytest
from helpers.random_hmms import random_path, random_transitions, reordered
from helpers.spoil import edit, remove

from lstmp.alignment.get_prons import get_prons, main
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.errors import UserError
from lstmp.features.ark import write_int_vectors
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.tree import monophone_tree

LEXICON = "RED 1.0 R E D\nREAD 0.7 R E D\nREAD 0.3 R I D\nA 1.0 A\nA 0.5 E\nAIR 1.0 A E\n"
TEXT = {"u1": "A RED", "u2": "READ XYZ A", "u3": "A A"}
SPOKEN = {"u1": "SIL A_S SIL R_B E_I D_E SIL", "u2": "R_B I_I D_E SPN_S SIL E_S", "u3": "SIL E_S A_S"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text").write_text("".join(f"{u} {w}\n" for u, w in TEXT.items()) + "u4 A\n")  # u4 failed
    write_alignment(tmp_path, SPOKEN)
    return tmp_path


def write_alignment(folder, spoken):
    """Write an alignment with random durations; ``spoken``: utterance → names of phones."""
    lang, rng = Lang.load(folder / "lang"), np.random.default_rng(0)
    tree = monophone_tree(lang.sets, lang.topology)
    transitions = random_transitions(lang, tree, rng)
    AcousticModel(transitions, tree, None, None).save(folder / "ali")
    write_int_vectors(folder / "ali" / "ali.ark", [(utt, np.array([
        t for walk in random_path([lang.phones[p] for p in phones.split()], transitions, tree, rng)
        for t in reordered(walk, transitions)], dtype=np.int32)) for utt, phones in spoken.items()])


def unmark(folder):
    """Remove the position marks from the lang folder: only the phones with mark _I are used, and lose the mark."""
    lang = folder / "lang"
    phones = (lang / "phones.txt").read_text()
    (lang / "phones.txt").write_text(re.sub(r"(?m)^([A-Z])_I ", r"\1 ", phones))
    lexicon = (lang / "lexiconp.txt").read_text()
    (lang / "lexiconp.txt").write_text(re.sub(r"_[BIES]\b", "", lexicon))
    for extension in ("txt", "int"):
        (lang / "phones" / f"word_boundary.{extension}").unlink()


def files(out):
    return {p.name: p.read_text() for p in out.iterdir() if not p.name.startswith(".")}


EXPECTED = {
    "pron_counts_nowb.txt": "5 <eps> SIL\n2 A A\n2 A E\n1 <UNK> SPN\n1 READ R I D\n1 RED R E D\n",
    "sil_counts_nowb.txt": "1 2 0 0 </s>\n0 1 1 0 <UNK> SPN\n0 0 2 1 <s>\n1 1 1 1 A A\n2 0 0 2 A E\n"
                           "0 1 0 1 READ R I D\n1 0 1 0 RED R E D\n",
    "pron_bigram_counts_nowb.txt": "1\t<UNK> SPN\tA E\n1\t<s>\tA A\n1\t<s>\tA E\n1\t<s>\tREAD R I D\n1\tA A\t</s>\n"
                                   "1\tA A\tRED R E D\n1\tA E\t</s>\n1\tA E\tA A\n1\tREAD R I D\t<UNK> SPN\n"
                                   "1\tRED R E D\t</s>\n",
}


def test_counts_of_a_hand_made_alignment(folder, capsys):
    main(["--data", str(folder / "data"), "--lang", str(folder / "lang"), "--ali", str(folder / "ali"),
          "--out", str(folder / "out")])
    assert files(folder / "out") == EXPECTED | {
        "pron_counts.txt": "5 <eps> SIL\n2 A A_S\n2 A E_S\n1 <UNK> SPN_S\n1 READ R_B I_I D_E\n1 RED R_B E_I D_E\n"}
    said = capsys.readouterr().out
    assert "3 utterances, 7 words, 5 pronunciations, silence at 50.0 %" in said and "; not aligned: 1\n" in said
    get_prons(folder / "data", folder / "lang", folder / "ali", folder / "out")
    assert "prons is done" in capsys.readouterr().out


def test_counts_are_the_same_without_position_marks(folder):
    unmark(folder)
    write_alignment(folder, {u: re.sub(r"_[BIES]\b", "", s) for u, s in SPOKEN.items()})
    get_prons(folder / "data", folder / "lang", folder / "ali", folder / "out")
    found = files(folder / "out")
    assert found.pop("pron_counts.txt") == EXPECTED["pron_counts_nowb.txt"]
    assert found == EXPECTED


def test_the_most_probable_segmentation_is_counted(folder):
    """Without marks, A E R may be A with phones A and RED with E R, or A with A E and RED with R."""
    unmark(folder)
    (folder / "lang" / "lexiconp.txt").write_text(
        "!SIL 1.0 SIL\n<UNK> 1.0 SPN\nA 0.2 A\nA 0.9 A E\nRED 0.5 E R\nRED 0.3 R\nREAD 1.0 D\nAIR 1.0 I\n")
    (folder / "data" / "text").write_text("u1 A RED\n")
    write_alignment(folder, {"u1": "A E R"})  # 0.2 · 0.5 against 0.9 · 0.3
    get_prons(folder / "data", folder / "lang", folder / "ali", folder / "out")
    assert files(folder / "out")["pron_counts_nowb.txt"] == "1 A A E\n1 RED R\n"


@pytest.mark.parametrize("spoken, message", [
    ("SIL A_S R_B I_I D_E", "the phones `R_B I_I D_E` are no pronunciation of the word RED"),
    ("A_S", "there are no phones for the word RED"),
    ("A_S R_B E_I D_E A_S", "the phones `A_S` follow the transcript's last word"),
    ("A_S SPN R_B E_I D_E", "the phones `SPN` are no pronunciation of the word RED"),
    ("A_S R_B E_I SIL D_E", "phone 4 is marked nonword, within a word that has not ended"),
    ("A_S E_I D_E", "phone 2 is marked internal, but no word has begun"),
    ("A_S R_B E_I", "the last word has no end"),
])
def test_an_alignment_that_does_not_fit_its_transcript_is_an_error(folder, capsys, spoken, message):
    write_alignment(folder, SPOKEN | {"u1": spoken})
    with pytest.raises(SystemExit):
        main(["--data", str(folder / "data"), "--lang", str(folder / "lang"), "--ali", str(folder / "ali"),
              "--out", str(folder / "out")])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (f"error: {folder}/ali/ali.ark: utterance u1 is not aligned to its transcript: {message}; "
                     "align again, with this lang folder and these transcripts")
    assert not files(folder / "out")


@pytest.mark.parametrize("spoken, message", [
    ("A R I D", "no pronunciation of the word RED fits in its place"),
    ("A R E D A", "phones are left over after the transcript's last word"),
    ("SIL SIL A R E D", "no pronunciation of the word A fits in its place"),
])
def test_an_alignment_without_marks_that_does_not_fit_its_transcript_is_an_error(folder, spoken, message):
    unmark(folder)
    write_alignment(folder, {"u1": spoken})
    with pytest.raises(UserError, match=f"utterance u1 is not aligned to its transcript: {message}"):
        get_prons(folder / "data", folder / "lang", folder / "ali", folder / "out")


@pytest.mark.parametrize("spoil, message", [
    (edit("data/text", "u2 READ XYZ A\n", ""), "data/text: the aligned utterance u2 is not in it"),
    (remove("ali/ali.ark"), "ali.ark: no such alignment; run steps/align.sh first"),
    (remove("data/text"), "data/text: no such file"),
    (edit("lang/phones/word_boundary.int", "1 nonword", "1 noword"), "word_boundary.int:1: expected a phone id and"),
    (edit("lang/phones/word_boundary.int", "1 nonword\n", ""), "word_boundary.int: phone SIL is missing"),
    (edit("lang/topo", "0.75", "0.5"), "topo"),
])
def test_bad_input_is_an_error(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError) as e:
        get_prons(folder / "data", folder / "lang", folder / "ali", folder / "out")
    assert message in str(e.value)
