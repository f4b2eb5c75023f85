"""Tests of pronunciation and silence probabilities against values computed by hand, and of their use in lang."""

from collections import Counter

import pytest
from helpers.spoil import edit

from lstmp.corpus.dict_probs import add_pron_probs, main, pron_probs, silence_model
from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.lang import Lang
from lstmp.corpus.lexicon import read_lexicon
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.pron_counts import PronCounts
from lstmp.corpus.silence_model import SilenceTerms
from lstmp.errors import UserError

LEXICON = "A 1.0 AH0\nA 1.0 EY1\nBAT 1.0 B AE1 T\nREAD 0.7 R EH1 D\nREAD 0.3 R IY1 D\n"
SIL, A1, A2, BAT = ("<eps>", "SIL"), ("A", "AH0"), ("A", "EY1"), ("BAT", "B", "AE1", "T")
UTTERANCES = [[SIL, A1, BAT, SIL], [SIL, A1, SIL, BAT], [A2, BAT, SIL]]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    counts = PronCounts()
    for utterance in UTTERANCES:
        counts.add(utterance)
    (tmp_path / "counts").mkdir()
    counts.write(tmp_path / "counts")
    return tmp_path


def test_count_files_have_kaldi_columns(folder):
    """The first four columns of the silence counts: silence before, none before, silence after, none after."""
    assert (folder / "counts" / "pron_counts_nowb.txt").read_text() == (
        "5 <eps> SIL\n3 BAT B AE1 T\n2 A AH0\n1 A EY1\n")
    assert (folder / "counts" / "sil_counts_nowb.txt").read_text() == (
        "2 1 0 0 </s>\n0 0 2 1 <s>\n2 0 1 1 A AH0\n0 1 0 1 A EY1\n1 2 2 1 BAT B AE1 T\n")
    assert (folder / "counts" / "pron_bigram_counts_nowb.txt").read_text() == (
        "2\t<s>\tA AH0\n1\t<s>\tA EY1\n2\tA AH0\tBAT B AE1 T\n1\tA EY1\tBAT B AE1 T\n3\tBAT B AE1 T\t</s>\n")
    counts = PronCounts()
    for utterance in UTTERANCES:
        counts.add(utterance)
    assert PronCounts.read(folder / "counts") == counts


def test_pronunciation_probabilities_of_both_normalizations(folder):
    entries, counts = Dictionary.load(folder / "dict").entries, PronCounts.read(folder / "counts").prons
    probs = {(word, *phones): prob for word, prob, phones in pron_probs(entries, counts)}
    assert probs[A1] == 1.0 and probs[A2] == 0.666667  # (2 + 1) / 5 and (1 + 1) / 5, divided by the larger
    assert probs["READ", "R", "EH1", "D"] == 0.7 and probs["READ", "R", "IY1", "D"] == 0.3  # never occurred
    probs = {(word, *phones): prob for word, prob, phones in pron_probs(entries, counts, max_normalize=False)}
    assert probs[A1] == 0.6 and probs[A2] == 0.4 and probs[BAT] == 1.0


def test_unseen_words_keep_their_probabilities():
    entries = [("X", 0.2, ("P",)), ("X", 0.6, ("Q",))]
    assert pron_probs(entries, Counter()) == entries
    assert pron_probs(entries, Counter(), max_normalize=False) == [("X", 0.25, ("P",)), ("X", 0.75, ("Q",))]


def test_small_probability_without_decimal_point_is_recognized(tmp_path):
    """Python writes 1e-05 without a point, possibly in the first line, from which the columns are inferred."""
    entries = pron_probs([("A", 1.0, ("AH0",)), ("A", 1.0, ("EY1",))], Counter({A1: 99_999}))
    assert entries == [("A", 1e-05, ("EY1",)), ("A", 1.0, ("AH0",))]
    (tmp_path / "lexiconp.txt").write_text("".join(f"{w} {p!r} {' '.join(phones)}\n" for w, p, phones in entries))
    assert read_lexicon(tmp_path / "lexiconp.txt") == entries


def test_silence_terms_equal_hand_computed_values(folder):
    """Silence occurs at 5 of the 9 positions before a word or the end: 0.56. λ₂ = λ₃ = 2."""
    model = silence_model(Dictionary.load(folder / "dict").entries, PronCounts.read(folder / "counts"))
    assert model.overall == 0.56
    assert model.start == 0.62  # (2 + 1.12) / (3 + 2) = 0.624
    a1, a2, bat = (model.of(p[0], p[1:]) for p in (A1, A2, BAT))
    assert (a1.after, a2.after, bat.after) == (0.53, 0.37, 0.62)  # 2.12 / 4, 1.12 / 3, 3.12 / 5
    # expected silence: before A AH0 2 · 0.62, before A EY1 0.62, before BAT 2 · 0.53 + 0.37, before </s> 3 · 0.62
    assert a1[1:] == (1.23, 0.72)  # (2 + 2) / (1.24 + 2), (0 + 2) / (0.76 + 2)
    assert a2[1:] == (0.76, 1.26)  # 2 / 2.62, (1 + 2) / (0.38 + 2)
    assert bat[1:] == (0.87, 1.12)  # (1 + 2) / (1.43 + 2), (2 + 2) / (1.57 + 2)
    assert (model.end_silence, model.end_none) == (1.04, 0.96)  # (2 + 2) / (1.86 + 2), (1 + 2) / (1.14 + 2)
    assert model.of("READ", ("R", "EH1", "D")) == SilenceTerms(0.56, 1.0, 1.0)


def test_no_probability_is_zero_or_one():
    counts = PronCounts()
    for _ in range(1000):
        counts.add([SIL, A1, SIL])
    model = silence_model([("A", 1.0, ("AH0",))], counts)
    assert (model.overall, model.start, model.of("A", ("AH0",)).after) == (0.99, 0.99, 0.99)
    assert model.end_none == 0.17  # 2 / (1000 · 0.01 + 2)


def test_written_folder_is_read_back_and_used_by_lang(folder, capsys):
    main(["--dict", str(folder / "dict"), "--counts", str(folder / "counts"), "--out", str(folder / "probs")])
    lines = (folder / "probs" / "lexiconp_silprob.txt").read_text().splitlines()
    assert "A 0.666667 0.37 0.76 1.26 EY1" in lines and "READ 0.3 0.56 1.0 1.0 R IY1 D" in lines
    assert (folder / "probs" / "silprob.txt").read_text() == "<s> 0.62\n</s>_s 1.04\n</s>_n 0.96\noverall 0.56\n"
    assert "1 of 2 words with several pronunciations" in capsys.readouterr().out
    dictionary, old = Dictionary.load(folder / "probs"), Dictionary.load(folder / "dict")
    assert dictionary.nonsilence == old.nonsilence and dictionary.extra_questions == old.extra_questions
    prepare_lang(folder / "probs", folder / "lang")
    lang = Lang.load(folder / "lang")
    assert lang.sil_prob == 0.56 and lang.silence_model.start == 0.62 and lang.silence_model.end_none == 0.96
    ey = (lang.phones["EY1_S"],)
    assert (0.666667, ey) in lang.lexicon[lang.words["A"]]
    assert lang.silence_model.of(lang.words["A"], ey) == SilenceTerms(0.37, 0.76, 1.26)
    assert len(lang.silence_model.terms) == len(dictionary.entries)


def test_old_silence_files_are_removed_without_silence_probabilities(folder):
    add_pron_probs(folder / "dict", folder / "counts", folder / "probs")
    prepare_lang(folder / "probs", folder / "lang")
    add_pron_probs(folder / "dict", folder / "counts", folder / "probs", sil_probs=False)
    prepare_lang(folder / "probs", folder / "lang", sil_prob=0.3)
    assert not list(folder.glob("*/lexiconp_silprob.txt")) and not (folder / "probs" / "silprob.txt").exists()
    lang = Lang.load(folder / "lang")
    assert lang.silence_model is None and lang.sil_prob == 0.3


@pytest.mark.parametrize("spoil, message", [
    (edit("counts/pron_counts_nowb.txt", "3 BAT B", "3 BAT P"),
     "pron_counts_nowb.txt: the dictionary has no pronunciation `BAT P AE1 T`; give the dictionary from"),
    (edit("counts/pron_counts_nowb.txt", "3 BAT", "three BAT"), "nowb.txt:2: expected a count, found three"),
    (edit("counts/pron_counts_nowb.txt", "2 A AH0", "2 A"), "nowb.txt:3: expected `count word phones`"),
    (edit("counts/sil_counts_nowb.txt", "2 1 0 0 </s>", "2 1 </s>"), "nowb.txt:1: expected four counts"),
    (edit("counts/sil_counts_nowb.txt", "A EY1", "A B"), "sil_counts_nowb.txt: the dictionary has no"),
    (edit("counts/pron_bigram_counts_nowb.txt", "\tA", " A"), "nowb.txt:1: expected a count and two"),
    (lambda f: (f / "counts/sil_counts_nowb.txt").unlink(), "sil_counts_nowb.txt: no such file"),
    (lambda f: (f / "counts/sil_counts_nowb.txt").write_text(""), "sil_counts_nowb.txt: the counts are empty"),
])
def test_bad_counts_are_errors(folder, spoil, message):
    spoil(folder)
    with pytest.raises(UserError) as e:
        add_pron_probs(folder / "dict", folder / "counts", folder / "probs")
    assert message in str(e.value)


def test_dictionary_is_not_overwritten(folder):
    with pytest.raises(UserError, match="--out must not be the dictionary"):
        add_pron_probs(folder / "dict", folder / "counts", folder / "counts" / ".." / "dict")


@pytest.mark.parametrize("spoil, message", [
    (edit("probs/lexiconp_silprob.txt", "BAT 1.0 0.62", "BAT 0.9 0.62"),
     "silprob.txt:5: this pronunciation of BAT is not in lexiconp.txt, or has another probability"),
    (edit("probs/lexiconp_silprob.txt", "BAT 1.0 0.62 0.87 1.12 B AE1 T\n", ""), "1 of the 7 pronunciations of"),
    (edit("probs/lexiconp_silprob.txt", "0.62", "1.0"), "silprob.txt:5: expected a probability of silence"),
    (edit("probs/lexiconp_silprob.txt", "0.87", "-1"), "silprob.txt:5: expected a number above 0, found -1"),
    (edit("probs/lexiconp_silprob.txt", "0.87 1.12 B AE1 T", ""), "silprob.txt:5: expected `word probability"),
    (edit("probs/silprob.txt", "overall 0.56\n", ""), "silprob.txt: there is no line for overall"),
    (edit("probs/silprob.txt", "overall", "<s>"), "silprob.txt:4: expected the lines <s>, </s>_s"),
    (lambda f: (f / "probs/silprob.txt").unlink(), "silprob.txt: no such file"),
    (lambda f: (f / "probs/lexiconp_silprob.txt").unlink(), "lexiconp_silprob.txt: no such file"),
])
def test_damaged_silence_model_is_an_error(folder, spoil, message):
    add_pron_probs(folder / "dict", folder / "counts", folder / "probs")
    spoil(folder)
    with pytest.raises(UserError) as e:
        Dictionary.load(folder / "probs")
    assert message in str(e.value)


def test_damaged_silence_model_in_lang_is_an_error(folder):
    add_pron_probs(folder / "dict", folder / "counts", folder / "probs")
    prepare_lang(folder / "probs", folder / "lang")
    edit("lang/lexiconp_silprob.txt", "B_B", "P_B")(folder)
    with pytest.raises(UserError, match="lexiconp_silprob.txt:5: this pronunciation of BAT is not in lexiconp.txt"):
        Lang.load(folder / "lang")
