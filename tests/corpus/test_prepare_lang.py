"""Tests of the lang folder: Kaldi's symbol tables and phone classes, and L against an enumeration of its paths."""

import itertools
import math

import pytest
from helpers.fst_paths import paths, sort

from lstmp.corpus.lang import Lang
from lstmp.corpus.lexicon_fst import disambiguate
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import main, mark_positions, prepare_lang
from lstmp.errors import UserError

LEXICON = "RED 1.0 R EH1 D\nREAD 0.7 R EH1 D\nREAD 0.3 R IY1 D\nA 1.0 AH0\n[NOISE] 1.0 SPN\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang", sil_prob=0.4)
    return tmp_path


def test_symbol_tables_have_kaldi_order(folder):
    words = (folder / "lang" / "words.txt").read_text().split("\n")[:-1]
    assert words == [f"{w} {i}" for i, w in enumerate(["<eps>", "!SIL", "<UNK>", "A", "READ", "RED", "[NOISE]", "#0",
                                                       "<s>", "</s>"])]
    phones = [line.split()[0] for line in (folder / "lang" / "phones.txt").read_text().splitlines()]
    assert phones[:13] == ["<eps>", "SIL", "SIL_B", "SIL_E", "SIL_I", "SIL_S",
                           "SPN", "SPN_B", "SPN_E", "SPN_I", "SPN_S", "AH0_B", "AH0_E"]
    assert phones[-4:] == ["#0", "#1", "#2", "#3"]  # #1 #2: RED and READ, <UNK> and [NOISE]; #3 follows silence


def test_phone_classes_equal_kaldis(folder):
    lang = Lang.load(folder / "lang")
    names = lang.phone_names
    assert [names[i] for i in lang.sets[0]] == ["SIL", "SIL_B", "SIL_E", "SIL_I", "SIL_S"]
    assert [names[i] for i in lang.sets[2]] == ["AH0_B", "AH0_E", "AH0_I", "AH0_S"]
    assert sorted(i for group in lang.sets for i in group) == sorted(lang.silence + lang.nonsilence)
    assert [(shared, split) for shared, split, _ in lang.roots] == [(False, False)] * 2 + [(True, True)] * 5
    assert [group for _, _, group in lang.roots] == lang.sets
    questions = [{names[i] for i in q} for q in lang.extra_questions]
    assert {"EH1_B", "EH1_E", "EH1_I", "EH1_S", "IY1_B", "IY1_E", "IY1_I", "IY1_S"} in questions  # stress
    assert {"AH0_E", "D_E", "EH1_E", "IY1_E", "R_E"} in questions and {"SIL", "SPN"} in questions  # position
    assert names[lang.optional_silence] == "SIL" and [names[i] for i in lang.disambig] == ["#0", "#1", "#2", "#3"]
    assert lang.word_names[lang.oov] == "<UNK>" and lang.sil_prob == 0.4
    assert {p: len(s) for p, s in lang.topology.entries.items()} == dict.fromkeys(lang.silence, 5) | dict.fromkeys(
        lang.nonsilence, 3)
    boundary = dict(line.split() for line in (folder / "lang/phones/word_boundary.txt").read_text().splitlines())
    expected = {"SIL": "nonword", "D_E": "end", "SPN_S": "singleton", "R_B": "begin", "EH1_I": "internal"}
    assert {phone: boundary[phone] for phone in expected} == expected


def test_lexicon_and_word_ids(folder):
    lang = Lang.load(folder / "lang")
    ph = lang.phones
    assert sorted(lang.lexicon[lang.words["READ"]]) == [(0.3, (ph["R_B"], ph["IY1_I"], ph["D_E"])),
                                                        (0.7, (ph["R_B"], ph["EH1_I"], ph["D_E"]))]
    assert lang.lexicon[lang.oov] == [(1.0, (ph["SPN_S"],))]
    words = lang.words
    assert lang.word_ids(["A", "XYLOPHONE", "RED", "<s>"]) == ([words["A"], lang.oov, words["RED"], lang.oov], 2)


def test_mark_positions():
    assert mark_positions(("A",)) == ("A_S",)
    assert mark_positions(("K", "T")) == ("K_B", "T_E")
    assert mark_positions(("K", "AE1", "A", "T")) == ("K_B", "AE1_I", "A_I", "T_E")


def test_disambiguate():
    assert disambiguate([(1, 2), (1, 2), (1, 2, 3), (1,), (4,)]) == [1, 2, 0, 1, 0]


def expected_paths(lang: Lang, longest: int):
    """Enumerate the paths from the lexicon: words, their pronunciations, and an optional pause around each word."""
    out = []
    for n in range(longest + 1):
        for words in itertools.product(lang.lexicon, repeat=n):
            for spelling in itertools.product(*(lang.lexicon[w] for w in words)):
                for pauses in itertools.product((True, False), repeat=n + 1):
                    pieces = [(lang.optional_silence,) if pauses[0] else ()]
                    for (_, phones), pause in zip(spelling, pauses[1:], strict=True):
                        pieces += [phones, (lang.optional_silence,) if pause else ()]
                    given = tuple(itertools.chain(*pieces))
                    cost = -sum(math.log(p) for p, _ in spelling)
                    cost -= sum(math.log(lang.sil_prob if pause else 1 - lang.sil_prob) for pause in pauses)
                    if len(given) <= longest:
                        out.append((given, words, cost))
    return out


def test_l_equals_the_enumeration_of_paths(folder):
    from lstmp.corpus.fst import read_fst

    lang = Lang.load(folder / "lang")
    l_fst = read_fst(folder / "lang" / "L.fst")
    assert l_fst.is_olabel_sorted
    assert sort(paths(l_fst, 4)) == sort(expected_paths(lang, 4))


def test_l_disambig_has_the_same_paths_with_unique_inputs(folder):
    from lstmp.corpus.fst import read_fst

    lang = Lang.load(folder / "lang")
    backoff = lang.phones["#0"], lang.words["#0"]
    found = [p for p in paths(read_fst(folder / "lang" / "L_disambig.fst"), 6) if backoff[0] not in p[0]]
    assert len({given for given, _, _ in found}) == len(found), "one input, two meanings"
    plain = [(tuple(x for x in given if x not in lang.disambig), words, cost) for given, words, cost in found]
    short = [p for p in plain if len(p[0]) <= 3]
    assert sort(short) == sort(expected_paths(lang, 3))
    loops = [p for p in paths(read_fst(folder / "lang" / "L_disambig.fst"), 1) if p[0] == (backoff[0],)]
    assert loops and all(p[1] == (backoff[1],) for p in loops), "#0 must pass through L"


def test_output_is_reproducible_and_finished_stage_is_skipped(folder, capsys):
    before = {p: p.read_bytes() for p in (folder / "lang").rglob("*") if p.is_file()}
    prepare_lang(folder / "dict", folder / "lang", sil_prob=0.4)
    assert "lang is done" in capsys.readouterr().out
    prepare_lang(folder / "dict", folder / "again", sil_prob=0.4)
    for path, content in before.items():
        if not path.name.startswith((".done", ".lock")):
            assert (folder / "again" / path.relative_to(folder / "lang")).read_bytes() == content, path


@pytest.mark.parametrize("options, message", [
    (["--sil-prob", "1"], "--sil-prob must be between 0 and 1"),
    (["--oov", "<NONE>"], "the word for unknown words, <NONE>, has no entry"),
    (["--silence-states", "0"], "at least one state"),
])
def test_bad_options_are_errors(folder, capsys, options, message):
    with pytest.raises(SystemExit):
        main(["--dict", str(folder / "dict"), "--out", str(folder / "x"), *options])
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_missing_dictionary_is_an_error(tmp_path):
    with pytest.raises(UserError, match="silence_phones.txt: no such file"):
        prepare_lang(tmp_path / "dict", tmp_path / "lang")
