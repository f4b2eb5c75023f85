"""Tests that a reduced lang folder has the same ids and pronunciations as the full folder."""

import dataclasses

import numpy as np
import pytest

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.lang import Lang
from lstmp.corpus.part_of_lang import add_pronunciations, write_part
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms
from lstmp.errors import UserError


@pytest.mark.parametrize("probabilities", [False, True])
def test_same_ids_and_pronunciations(tmp_path, probabilities):
    (tmp_path / "lexicon.txt").write_text("RED 1.0 R E D\nREAD 0.7 R E D\nREAD 0.3 R I D\nA 1.0 A\nARID 1.0 A R I D\n")
    prepare_dict(tmp_path / "lexicon.txt", tmp_path / "dict")
    if probabilities:
        dictionary, rng = Dictionary.load(tmp_path / "dict"), np.random.default_rng(0)
        of = {(w, p): SilenceTerms(*map(float, rng.uniform(0.1, 0.9, 3))) for w, _, p in dictionary.entries}
        dataclasses.replace(dictionary, silence_model=SilenceModel(0.3, 1.0, 1.0, 0.4, of)).write(tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    whole = Lang.load(tmp_path / "lang")
    part = Lang.load(write_part(tmp_path / "lang", {"READ", "A", "NEVER"}, tmp_path / "part"))
    assert {w for w in part.words if w[0] not in "<#"} == {"READ", "A"} and part.oov == whole.oov
    assert all(whole.words[w] == i for w, i in part.words.items())
    assert set(part.lexicon) == {part.words["READ"], part.words["A"], part.oov}
    for word, spellings in part.lexicon.items():
        assert whole.lexicon[word] == spellings
        if probabilities:
            assert all(part.silence_model.of(word, p) == whole.silence_model.of(word, p) for _, p in spellings)
    assert (part.phones, part.roots, part.topology) == (whole.phones, whole.roots, whole.topology)


def test_folder_that_is_not_a_lang_folder_is_an_error(tmp_path):
    with pytest.raises(UserError, match="oov.txt: no such file"):
        write_part(tmp_path, {"A"}, tmp_path / "part")


@pytest.mark.parametrize("probabilities", [False, True])
def test_pronunciations_are_added(tmp_path, probabilities):
    (tmp_path / "lexicon.txt").write_text("RED R E D\nA A\nARID A R I D\n")
    prepare_dict(tmp_path / "lexicon.txt", tmp_path / "dict")
    if probabilities:
        dictionary = Dictionary.load(tmp_path / "dict")
        of = {(w, p): SilenceTerms(0.5, 0.6, 0.7) for w, _, p in dictionary.entries}
        dataclasses.replace(dictionary, silence_model=SilenceModel(0.3, 1.0, 1.0, 0.4, of)).write(tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    write_part(tmp_path / "lang", {"RED", "A"}, tmp_path / "part")
    before = Lang.load(tmp_path / "part")
    add_pronunciations(tmp_path / "part", [("RED", 0.5, ("R", "I", "D")), ("RED", 0.1, ("R", "E", "D")),
                                           ("I", 1.0, ("I",)), ("<noise>", 1.0, ("SPN",))])
    after = Lang.load(tmp_path / "part")
    prons = {word: {(p, " ".join(after.phone_names[i] for i in x)) for p, x in after.lexicon[after.words[word]]}
             for word in ("RED", "A", "I", "<noise>")}
    assert prons == {"RED": {(1.0, "R_B E_I D_E"), (0.5, "R_B I_I D_E")}, "A": {(1.0, "A_S")}, "I": {(1.0, "I_S")},
                     "<noise>": {(1.0, "SPN_S")}}
    assert before.words.items() < after.words.items()
    if probabilities:
        new = after.silence_model.of(after.words["I"], after.lexicon[after.words["I"]][0][1])
        assert new == SilenceTerms(0.4, 1.0, 1.0)
        old = after.silence_model.of(after.words["A"], after.lexicon[after.words["A"]][0][1])
        assert old == SilenceTerms(0.5, 0.6, 0.7)
    with pytest.raises(UserError, match="phone X of the word EX is not a phone of the model; use only .*: A D E"):
        add_pronunciations(tmp_path / "part", [("EX", 1.0, ("E", "X"))])
