"""Tests of L with silence probabilities of each pronunciation, against the formula for every path."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from helpers.fst_paths import paths, sort

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.fst import read_fst
from lstmp.corpus.lang import Lang
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms

LEXICON = "RED 1.0 R EH1 D\nREAD 0.7 R EH1 D\nREAD 0.3 R IY1 D\nA 1.0 AH0\n[NOISE] 1.0 SPN\n"


def random_model(entries, rng) -> SilenceModel:
    def terms():
        return SilenceTerms(*map(float, (rng.uniform(0.05, 0.95), *rng.uniform(0.2, 3.0, 2))))
    (start, *ends), (overall, *_) = terms(), terms()
    return SilenceModel(start, *ends, overall, {(word, phones): terms() for word, _, phones in entries})


@pytest.fixture(params=range(2))
def lang(tmp_path, request):
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    dictionary = Dictionary.load(tmp_path / "dict")
    model = random_model(dictionary.entries, np.random.default_rng(request.param))
    dataclasses.replace(dictionary, silence_model=model).write(tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    return Lang.load(tmp_path / "lang")


def expected_paths(lang: Lang, longest: int):
    """Enumerate all word sequences, pronunciations and pauses; a pause has the weight P(s | v) · F(s | w)."""
    out, model = [], lang.silence_model
    for n in range(longest + 1):
        for words in itertools.product(lang.lexicon, repeat=n):
            for spelling in itertools.product(*(lang.lexicon[w] for w in words)):
                terms = [model.terms[w, phones] for w, (_, phones) in zip(words, spelling, strict=True)]
                after = [model.start, *(t.after for t in terms)]
                silence = [*(t.left_silence for t in terms), model.end_silence]
                none = [*(t.left_none for t in terms), model.end_none]
                for pauses in itertools.product((True, False), repeat=n + 1):
                    weight = math.prod(p for p, _ in spelling)
                    for pause, p, fs, fn in zip(pauses, after, silence, none, strict=True):
                        weight *= p * fs if pause else (1 - p) * fn
                    pieces = [(lang.optional_silence,) if pauses[0] else ()]
                    for (_, phones), pause in zip(spelling, pauses[1:], strict=True):
                        pieces += [phones, (lang.optional_silence,) if pause else ()]
                    given = tuple(itertools.chain(*pieces))
                    if len(given) <= longest:
                        out.append((given, words, -math.log(weight)))
    return out


def test_l_equals_the_formula(lang):
    l_fst = read_fst(lang.dir / "L.fst")
    assert l_fst.is_olabel_sorted
    found = sort(paths(l_fst, 4))
    assert len(found) > 100 and found == sort(expected_paths(lang, 4))


def test_l_disambig_has_the_same_paths_with_unique_inputs(lang):
    backoff = lang.phones["#0"], lang.words["#0"]
    found = paths(read_fst(lang.dir / "L_disambig.fst"), 8)
    assert any(backoff[0] in given for given, _, _ in found), "#0 must pass through L"
    assert all(given.count(backoff[0]) == words.count(backoff[1]) for given, words, _ in found)
    found = [p for p in found if backoff[0] not in p[0]]
    assert len({given for given, _, _ in found}) == len(found), "one input, two meanings"
    plain = [(tuple(x for x in given if x not in lang.disambig), words, cost) for given, words, cost in found]
    # two phones are two words at most: with a symbol at the start and two after each, no more than 7 labels
    assert sort(p for p in plain if len(p[0]) <= 2) == sort(expected_paths(lang, 2))


def test_constant_terms_are_equivalent_to_one_probability(tmp_path):
    """With equal terms everywhere, both transducers give every path the same weight."""
    (tmp_path / "lexicon").write_text(LEXICON)
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang", sil_prob=0.4)
    single = paths(read_fst(tmp_path / "lang" / "L.fst"), 4)
    dictionary = dataclasses.replace(Dictionary.load(tmp_path / "dict"), silence_model=SilenceModel.constant(0.4))
    dictionary.write(tmp_path / "dict")
    prepare_lang(tmp_path / "dict", tmp_path / "lang")
    assert sort(paths(read_fst(tmp_path / "lang" / "L.fst"), 4)) == sort(single)
