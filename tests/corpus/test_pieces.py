"""Tests of cutting words into pieces, of joining pieces to words, and of bad input."""

import random

import pytest

from lstmp.corpus.pieces import MARK, Names, Pieces, borders, made_of_pieces, main, train_pieces
from lstmp.errors import UserError

SYLLABLES = "BA DE KI LO MU NA RE SI TO VU".split()


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    rng, path = random.Random(0), tmp_path_factory.mktemp("pieces") / "text"
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(60)] + ["O'BA"]
    path.write_text("".join(" ".join(rng.choices(words, k=6)) + "\n" for _ in range(400)) + "O'BA\n")
    return path


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pieces(text, request):
    train_pieces([text], text.parent / request.param, size=60, model_type=request.param)
    return Pieces(text.parent / request.param / "pieces.model")


def test_words_are_cut_and_joined_again(text, pieces):
    for word in set(text.read_text().split()):
        symbols = pieces.cut(word)
        assert "".join(s.strip(MARK) for s in symbols) == word and all(s.strip(MARK) for s in symbols)
        assert [borders(s) for s in symbols] == [(i == 0, i == len(symbols) - 1) for i in range(len(symbols))]
    assert any(len(pieces.cut(word)) > 1 for word in text.read_text().split())
    assert any(len(pieces.cut(word)) == 1 for word in text.read_text().split())


def test_words_are_cut_into_known_pieces(pieces):
    rng = random.Random(5)
    few = {"▁BA", "▁B", "A", "DE", "KI▁", "▁LO▁"}
    assert pieces.cut_into("BADEKI", few) == ("▁BA", "DE", "KI▁") and pieces.cut_into("LO", few) == ("▁LO▁",)
    known = {symbol for _, symbol in pieces.single_letters()} | few
    assert pieces.cut_into("BAX", known) == ("BAX",) and pieces.cut_into("<UNK>", known) == ("<UNK>",)
    for _ in range(100):
        word = "".join(rng.choices(SYLLABLES, k=rng.randint(1, 4)))
        usual = pieces.cut(word)
        assert pieces.cut_into(word, set(usual)) == usual
        assert pieces.cut_into(word, set(usual[1:])) == usual  # no division into known pieces exists
        spelled = pieces.cut_into(word, known)
        assert set(spelled) <= known and "".join(spelled).strip(MARK) == word


def test_every_word_of_known_letters_can_be_spelled(pieces):
    rng = random.Random(3)
    for _ in range(300):
        word = "".join(rng.choices(sorted(pieces.letters), k=rng.randint(1, 12)))
        assert "".join(s.strip(MARK) for s in pieces.cut(word)) == word


def test_word_with_an_unknown_letter_is_not_cut(pieces):
    assert pieces.cut("BAX") == ("BAX",)
    assert {letter for letter, _ in pieces.single_letters()} == set("".join(SYLLABLES) + "'")
    assert len(pieces.single_letters()) == 4 * len(pieces.letters)


def test_ids_are_joined_to_words():
    names = Names(enumerate(["<eps>", "▁THE▁", "▁CA", "T▁", "N", "<UNK>", "!SIL"]))
    assert names.pieces and made_of_pieces(names.values())
    assert names.words([1, 2, 3, 2, 4, 3, 5, 1]) == ["THE", "CAT", "CANT", "<UNK>", "THE"]
    assert names.spans([2, 4, 3, 1]) == [("CANT", range(3)), ("THE", range(3, 4))]
    assert names.words([3, 2, 1, 6, 2]) == ["T", "CA", "THE", "!SIL", "CA"]  # a sequence that L does not allow
    assert names.words([]) == []
    words = Names(enumerate(["<eps>", "THE", "CAT"]))
    assert not words.pieces and words.spans([2, 1]) == [("CAT", range(1)), ("THE", range(1, 2))]


def test_vocabulary_of_pieces_is_recognized():
    assert not made_of_pieces(["THE", "CAT", "▁"]) and not made_of_pieces(["THE", "CAT", "▁THE"])
    assert not made_of_pieces(["▁THE", "▁CA", "T"])  # marked only at the beginning: could be words
    assert made_of_pieces(["▁CA", "T▁"]) and made_of_pieces(["▁THE▁", "<UNK>"])
    assert Names(enumerate(["<eps>", "THE", "▁"])).words([1, 2, 1]) == ["THE", "▁", "THE"]


def test_words_in_brackets_are_not_cut_but_brackets_can_be_letters(tmp_path):
    (tmp_path / "text").write_text("BA(KI) [NOISE] BA! <UNK> BAKI !SIL (BA)\n" * 200)
    train_pieces([tmp_path / "text"], tmp_path, size=20)
    pieces = Pieces(tmp_path / "pieces.model")
    assert pieces.letters == set("BAKI()!")  # words in brackets are not training text
    for word in ("[NOISE]", "<UNK>", "!SIL", "(BA)"):
        assert pieces.cut(word) == (word,)
    for word in ("BA(KI)", "BA!", "!", "(", "BA()", "K(A)I"):
        symbols = pieces.cut(word)
        assert Names(enumerate(["▁X", "X▁", *symbols])).words(range(2, 2 + len(symbols))) == [word]


def test_long_lines_are_used_for_training(tmp_path):
    (tmp_path / "text").write_text(("BADE KIZE " * 3000 + "\n") * 3 + "BADE KI\n")
    train_pieces([tmp_path / "text"], tmp_path, size=12)
    assert "Z" in Pieces(tmp_path / "pieces.model").letters


def test_training_is_reproducible_and_not_repeated(text, tmp_path, capsys):
    for out in ("a", "b"):
        train_pieces([text], tmp_path / out, size=50)
    assert (tmp_path / "a/pieces.model").read_bytes() == (tmp_path / "b/pieces.model").read_bytes()
    train_pieces([text], tmp_path / "a", size=50)
    assert "is done" in capsys.readouterr().out


def test_utterance_ids_are_skipped(text, tmp_path):
    with_ids = tmp_path / "text"
    with_ids.write_text("".join(f"utt-{n} {line}\n" for n, line in enumerate(text.read_text().splitlines())))
    train_pieces([text], tmp_path / "a", size=50)
    train_pieces([with_ids], tmp_path / "b", size=50, skip_id=True)
    assert (tmp_path / "a/pieces.model").read_bytes() == (tmp_path / "b/pieces.model").read_bytes()


def test_bad_text_and_options_are_errors(text, tmp_path, capsys):
    (tmp_path / "empty").write_text("")
    for wrong in ({"size": 3}, {"model_type": "trigram"}):
        with pytest.raises(UserError, match="must be"):
            train_pieces([text], tmp_path / "out", **wrong)
    with pytest.raises(UserError, match="sentencepiece cannot train"):
        train_pieces([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(UserError, match="sentencepiece cannot train"):
        train_pieces([text], tmp_path / "out", size=12)  # fewer pieces than letters
    (tmp_path / "pieces.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="not a sentencepiece model"):
        Pieces(tmp_path / "pieces.model")
    with pytest.raises(UserError, match="no such file"):
        Pieces(tmp_path / "nowhere")
    with pytest.raises(SystemExit) as e:
        main(["--text", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert e.value.code != 0 and "no such file" in capsys.readouterr().err
