"""Tests of learning pronunciations of pieces: EM against the enumeration of all divisions, and a known solution."""

import itertools
import math
import random
from collections import defaultdict

import pytest

from lstmp.corpus.dictionary import Dictionary
from lstmp.corpus.lang import Lang
from lstmp.corpus.piece_prons import complete, learn, main, prepare_piece_dict, prune_prons
from lstmp.corpus.pieces import MARK, Pieces, train_pieces
from lstmp.corpus.prepare_dict import prepare_dict
from lstmp.corpus.prepare_lang import prepare_lang
from lstmp.errors import UserError

SOUNDS = {"BA": "B AA", "DE": "D EY", "KI": "K IH", "LO": "L OW", "MU": "M UW", "NA": "N AE", "RE": "R EY",
          "SI": "S IH", "TO": "T OW", "VU": "V UW"}


def divisions(pieces, phones):
    for inner in itertools.combinations(range(1, len(phones)), len(pieces) - 1):
        ends = (0, *inner, len(phones))
        yield [(piece, tuple(phones[a:b])) for piece, a, b in zip(pieces, ends, ends[1:], strict=False)]


def by_enumeration(words, iterations):
    prob, likelihood = defaultdict(lambda: 1.0), []
    for _ in range(iterations):
        counts, total = defaultdict(float), 0.0
        for pieces, phones in words:
            ways = [(math.prod(prob[x] for x in way), way) for way in divisions(pieces, phones)]
            norm = sum(w for w, _ in ways)
            total += math.log(norm)
            for weight, way in ways:
                for x in way:
                    counts[x] += weight / norm
        likelihood.append(total / len(words))
        sums = defaultdict(float)
        for (piece, _), n in counts.items():
            sums[piece] += n
        prob = {x: n / sums[x[0]] for x, n in counts.items()}
    return prob, likelihood


@pytest.mark.parametrize("seed", range(3))
def test_em_equals_the_enumeration_of_all_divisions(seed):
    rng = random.Random(seed)
    words = [(tuple(rng.choices("abcd", k=rng.randint(1, 4))), tuple(rng.choices("xyz", k=rng.randint(4, 6))))
             for _ in range(30)]
    prons, likelihood = learn(words, iterations=4)
    expected, steps = by_enumeration(words, 4)
    probs = {(piece, phones): p for piece, d in prons.items() for phones, p in d.items()}
    assert set(probs) == set(expected)
    assert all(math.isclose(probs[x], expected[x], rel_tol=1e-9, abs_tol=1e-12) for x in expected)
    assert likelihood == pytest.approx(steps[1:])
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(likelihood))
    assert all(math.isclose(sum(d.values()), 1) for d in prons.values())


def test_true_pronunciations_of_pieces_are_learned():
    rng = random.Random(1)
    words = [tuple(rng.choices(list(SOUNDS), k=rng.randint(1, 4))) for _ in range(300)]
    prons, _ = learn((w, tuple(" ".join(SOUNDS[p] for p in w).split())) for w in words)
    assert {p: " ".join(max(d, key=d.get)) for p, d in prons.items()} == SOUNDS
    assert min(max(d.values()) for d in prons.values()) > 0.95


def test_words_with_fewer_phones_than_pieces_are_left_out():
    assert learn([(("a", "b"), ("x",))]) == ({}, [0.0] * 7)
    assert set(learn([(("a", "b"), ("x",)), (("c",), ("x", "y"))])[0]) == {"c"}


def test_unseen_symbols_get_pronunciations_from_their_letters():
    prons = {"▁A": {("AA",): 0.75, ("AE",): 0.25}, "A": {("AH",): 1.0}, "B▁": {("B",): 1.0}, "▁AB": {("AE", "B"): 1.0}}
    letters = [(c, left + c + right) for c in "ABQ" for left in ("", MARK) for right in ("", MARK)]
    out = complete(prons, ["AB▁", "BA", "BQ", "▁BAB"], letters)
    assert out["A▁"] == {("AA",): 0.375, ("AE",): 0.125, ("AH",): 0.5} and out["▁B"] == {("B",): 1.0}
    assert out["AB▁"] == {("AE", "B"): 1.0}  # from the same letters at another position
    assert out["BA"] == {("B", "AH"): 1.0} and out["▁BAB"] == {("B", "AH", "B"): 1.0}  # letter by letter
    assert "BQ" not in out and "Q" not in out
    assert out["▁A"] == prons["▁A"]
    assert prune_prons(out, 0.3, 2)["A▁"] == {("AH",): 0.5 / 0.875, ("AA",): 0.375 / 0.875}
    assert set(prune_prons(out, 0.9, 9)["A▁"]) == {("AH",)}


@pytest.fixture
def folder(tmp_path):
    rng = random.Random(2)
    words = sorted({tuple(rng.choices(list(SOUNDS), k=rng.randint(1, 3))) for _ in range(200)})
    (tmp_path / "lexicon").write_text("".join(f"{''.join(w)} {' '.join(SOUNDS[p] for p in w)}\n" for w in words))
    prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    (tmp_path / "text").write_text("".join(" ".join(map("".join, rng.choices(words, k=5))) + "\n" for _ in range(500)))
    train_pieces([tmp_path / "text"], tmp_path / "model", size=60)
    return tmp_path


def test_words_can_be_pronounced_by_their_pieces(folder):
    model = folder / "model/pieces.model"
    prepare_piece_dict(folder / "dict", model, folder / "out")
    words, pieces = Dictionary.load(folder / "dict"), Dictionary.load(folder / "out")
    assert (words.nonsilence, words.extra_questions) == (pieces.nonsilence, pieces.extra_questions)
    prons = defaultdict(set)
    for symbol, _, phones in pieces.entries:
        prons[symbol].add(phones)
    spoken = [e for e in words.entries if e[0] not in ("!SIL", "<UNK>")]
    right = 0
    for word, _, phones in spoken:
        ways = itertools.product(*(prons[s] for s in Pieces(model).cut(word)))
        right += phones in [sum(way, ()) for way in ways]
    assert right > 0.95 * len(spoken)
    assert {"!SIL", "<UNK>"} <= set(prons) and (folder / "out/pieces.model").read_bytes() == model.read_bytes()


def test_words_of_silence_phones_remain_words(folder):
    with open(folder / "lexicon", "a") as f:
        f.write("[NOISE] SPN\nMHM SPN\n")
    prepare_dict(folder / "lexicon", folder / "dict")
    prepare_piece_dict(folder / "dict", folder / "model/pieces.model", folder / "out")
    prepare_lang(folder / "out", folder / "lang")
    lang = Lang.load(folder / "lang")
    for symbol in ("[NOISE]", "▁MHM▁", "<UNK>"):
        assert lang.borders(lang.words[symbol]) == (True, True)
        assert lang.lexicon[lang.words[symbol]] == [(1.0, (lang.phones["SPN_S"],))]


def test_pieces_of_a_graphemic_dictionary_are_spelled(folder):
    prepare_dict(None, folder / "letters", spell=[folder / "text"])
    prepare_piece_dict(folder / "letters", folder / "model/pieces.model", folder / "out")
    for symbol, prob, phones in Dictionary.load(folder / "out").entries:
        if MARK in symbol:
            assert (prob, "".join(phones)) == (1.0, symbol.strip(MARK))


def test_phones_and_topology_equal_those_of_the_word_dictionary(folder):
    prepare_piece_dict(folder / "dict", folder / "model/pieces.model", folder / "out")
    for name in ("dict", "out"):
        prepare_lang(folder / name, folder / f"lang_{name}")
    words, pieces = Lang.load(folder / "lang_dict"), Lang.load(folder / "lang_out")
    real = {p: i for p, i in words.phones.items() if not p.startswith("#")}
    assert real == {p: i for p, i in pieces.phones.items() if not p.startswith("#")}
    assert words.topology == pieces.topology
    assert (folder / "lang_out/pieces.model").is_file() and not (folder / "lang_dict/pieces.model").exists()


def test_bad_pieces_and_options_are_errors(folder, capsys):
    (folder / "other").write_text("xyz zyx " * 50 + "\n")
    train_pieces([folder / "other"], folder / "small", size=12)
    with pytest.raises(UserError, match="no word of the dictionary can be cut"):
        prepare_piece_dict(folder / "dict", folder / "small/pieces.model", folder / "out")
    for wrong in ({"cutoff": 0}, {"max_prons": 0}):
        with pytest.raises(UserError, match="--least must"):
            prepare_piece_dict(folder / "dict", folder / "model/pieces.model", folder / "out", **wrong)
    with pytest.raises(SystemExit) as e:
        main(["--dict", str(folder / "nowhere"), "--pieces", str(folder / "model/pieces.model"),
              "--out", str(folder / "x")])
    assert e.value.code != 0 and "no such file" in capsys.readouterr().err
