"""A part of a lang folder says the same as the whole, of its words."""

import dataclasses

import numpy as np
import pytest

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.lang import Lang
from lstmp.corpus.part_of_lang import write_part
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


def test_not_a_lang_folder(tmp_path):
    with pytest.raises(UserError, match="oov.txt: no such file"):
        write_part(tmp_path, {"A"}, tmp_path / "part")
