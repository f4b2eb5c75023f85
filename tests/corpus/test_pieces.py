"""Pieces of words: cutting, joining, and what is refused."""

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
    train_pieces([text], text.parent / request.param, size=60, kind=request.param)
    return Pieces(text.parent / request.param / "pieces.model")


def test_words_are_cut_and_joined_again(text, pieces):
    for word in set(text.read_text().split()):
        symbols = pieces.cut(word)
        assert "".join(s.strip(MARK) for s in symbols) == word and all(s.strip(MARK) for s in symbols)
        assert [borders(s) for s in symbols] == [(i == 0, i == len(symbols) - 1) for i in range(len(symbols))]
    assert any(len(pieces.cut(word)) > 1 for word in text.read_text().split())
    assert any(len(pieces.cut(word)) == 1 for word in text.read_text().split())


def test_words_are_cut_into_what_is_known(pieces):
    rng = random.Random(5)
    few = {"▁BA", "▁B", "A", "DE", "KI▁", "▁LO▁"}
    assert pieces.cut_into("BADEKI", few) == ("▁BA", "DE", "KI▁") and pieces.cut_into("LO", few) == ("▁LO▁",)
    known = {symbol for _, symbol in pieces.single_letters()} | few
    assert pieces.cut_into("BAX", known) == ("BAX",) and pieces.cut_into("<UNK>", known) == ("<UNK>",)
    for _ in range(100):
        word = "".join(rng.choices(SYLLABLES, k=rng.randint(1, 4)))
        usual = pieces.cut(word)
        assert pieces.cut_into(word, set(usual)) == usual
        assert pieces.cut_into(word, set(usual[1:])) == usual  # it cannot be done
        spelled = pieces.cut_into(word, known)
        assert set(spelled) <= known and "".join(spelled).strip(MARK) == word


def test_every_word_of_known_letters_can_be_spelled(pieces):
    rng = random.Random(3)
    for _ in range(300):
        word = "".join(rng.choices(sorted(pieces.letters), k=rng.randint(1, 12)))
        assert "".join(s.strip(MARK) for s in pieces.cut(word)) == word


def test_a_word_with_an_unknown_letter_stays_whole(pieces):
    assert pieces.cut("BAX") == ("BAX",)
    assert {letter for letter, _ in pieces.single_letters()} == set("".join(SYLLABLES) + "'")
    assert len(pieces.single_letters()) == 4 * len(pieces.letters)


def test_ids_to_words():
    names = Names(enumerate(["<eps>", "▁THE▁", "▁CA", "T▁", "N", "<UNK>", "!SIL"]))
    assert names.pieces and made_of_pieces(names.values())
    assert names.words([1, 2, 3, 2, 4, 3, 5, 1]) == ["THE", "CAT", "CANT", "<UNK>", "THE"]
    assert names.spans([2, 4, 3, 1]) == [("CANT", range(3)), ("THE", range(3, 4))]
    assert names.words([3, 2, 1, 6, 2]) == ["T", "CA", "THE", "!SIL", "CA"]  # what L would not let through
    assert names.words([]) == []
    words = Names(enumerate(["<eps>", "THE", "CAT"]))
    assert not words.pieces and words.spans([2, 1]) == [("CAT", range(1)), ("THE", range(1, 2))]


def test_what_is_a_vocabulary_of_pieces():
    assert not made_of_pieces(["THE", "CAT", "▁"]) and not made_of_pieces(["THE", "CAT", "▁THE"])
    assert not made_of_pieces(["▁THE", "▁CA", "T"])  # marked on the left alone: words, as far as we know
    assert made_of_pieces(["▁CA", "T▁"]) and made_of_pieces(["▁THE▁", "<UNK>"])
    assert Names(enumerate(["<eps>", "THE", "▁"])).words([1, 2, 1]) == ["THE", "▁", "THE"]


def test_words_in_brackets_are_whole_and_brackets_are_letters(tmp_path):
    (tmp_path / "text").write_text("BA(KI) [NOISE] BA! <UNK> BAKI !SIL (BA)\n" * 200)
    train_pieces([tmp_path / "text"], tmp_path, size=20)
    pieces = Pieces(tmp_path / "pieces.model")
    assert pieces.letters == set("BAKI()!")  # what stands in brackets is not learned
    for word in ("[NOISE]", "<UNK>", "!SIL", "(BA)"):
        assert pieces.cut(word) == (word,)
    for word in ("BA(KI)", "BA!", "!", "(", "BA()", "K(A)I"):
        symbols = pieces.cut(word)
        assert Names(enumerate(["▁X", "X▁", *symbols])).words(range(2, 2 + len(symbols))) == [word]


def test_long_lines_count(tmp_path):
    (tmp_path / "text").write_text(("BADE KIZE " * 3000 + "\n") * 3 + "BADE KI\n")
    train_pieces([tmp_path / "text"], tmp_path, size=12)
    assert "Z" in Pieces(tmp_path / "pieces.model").letters


def test_training_is_repeatable_and_skipped_when_done(text, tmp_path, capsys):
    for out in ("a", "b"):
        train_pieces([text], tmp_path / out, size=50)
    assert (tmp_path / "a/pieces.model").read_bytes() == (tmp_path / "b/pieces.model").read_bytes()
    train_pieces([text], tmp_path / "a", size=50)
    assert "is done" in capsys.readouterr().out


def test_utterance_ids_are_no_words(text, tmp_path):
    with_ids = tmp_path / "text"
    with_ids.write_text("".join(f"utt-{n} {line}\n" for n, line in enumerate(text.read_text().splitlines())))
    train_pieces([text], tmp_path / "a", size=50)
    train_pieces([with_ids], tmp_path / "b", size=50, skip_id=True)
    assert (tmp_path / "a/pieces.model").read_bytes() == (tmp_path / "b/pieces.model").read_bytes()


def test_faults(text, tmp_path, capsys):
    (tmp_path / "empty").write_text("")
    for wrong in ({"size": 3}, {"kind": "trigram"}):
        with pytest.raises(UserError, match="must be"):
            train_pieces([text], tmp_path / "out", **wrong)
    with pytest.raises(UserError, match="sentencepiece refuses it"):
        train_pieces([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(UserError, match="sentencepiece refuses it"):
        train_pieces([text], tmp_path / "out", size=12)  # fewer than letters
    (tmp_path / "pieces.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="not a sentencepiece model"):
        Pieces(tmp_path / "pieces.model")
    with pytest.raises(UserError, match="no such file"):
        Pieces(tmp_path / "nowhere")
    with pytest.raises(SystemExit) as e:
        main(["--text", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert e.value.code != 0 and "no such file" in capsys.readouterr().err
