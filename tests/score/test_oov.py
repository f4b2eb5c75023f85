"""Recognition of words that are not in the vocabulary."""

import json

import pytest

from lstmp.errors import UserError
from lstmp.score.oov import count_unknown, main, read_vocabulary

VOCABULARY = {"the", "cat", "sat"}


def test_counts_match_a_manual_count():
    refs = {"a": ("the", "xerus", "sat"), "b": ("the", "yak"), "c": ("cat",), "d": ("zebu",)}
    hyps = {"a": ("the", "xerus", "cat"), "b": ("the", "gnu", "sat"), "c": ("cat",)}
    n = count_unknown(refs, hyps, VOCABULARY)
    assert (n.words, n.unknown, n.recognized, n.made_up, n.right) == (7, 3, 1, 2, 1)
    assert n.known_errors == 2 and n.known_wer == 50.0  # cat instead of sat; one of gnu and sat is an insertion
    share, low, high = n.recall
    assert share == 1 / 3 and (low, high) == pytest.approx((0.0615, 0.7923), abs=1e-4)  # from Wilson's formula


def test_without_unknown_words():
    n = count_unknown({"a": ("the", "cat")}, {}, VOCABULARY)
    assert n.recall == (0.0, 0.0, 1.0) and n.known_errors == 2 and n.made_up == 0


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text").write_text("a the xerus sat\nb the cat\n")
    d = tmp_path / "decode"
    d.mkdir()
    (d / "best.txt").write_text("a the xerus sat\nb the\n")
    (d / "decode.json").write_text(json.dumps({"data": str(tmp_path / "data")}))
    (d / "score.json").write_text(json.dumps({"wer": 20.0, "ci": [0.0, 50.0], "ins": 0, "del": 1, "sub": 0,
                                                   "lmwt": 11, "wip": 0.0}))
    (tmp_path / "words").write_text("cat 1\nsat 2\nthe 3\n")
    return tmp_path


def test_page(folder, capsys):
    assert read_vocabulary(folder / "words") == VOCABULARY
    row = ["--row", "pieces", str(folder / "words"), str(folder / "decode")]
    main(row)
    assert "| pieces | data | 1 (20.00 %) | **20.00** [0.00, 50.00] | 25.00 | 1: **100.0 %**" in capsys.readouterr().out
    main([*row, "--out", str(folder), "--note", "Made so."])
    text = (folder / "RESULTS.md").read_text()
    assert text.startswith("# Words that are not in the dictionary\n\nMade so.\n\n| system")
    assert json.loads((folder / "results.json").read_text())["rows"][0]["recognized"] == 1


def test_a_set_that_is_not_scored(folder):
    (folder / "decode/best.txt").unlink()
    with pytest.raises(SystemExit):
        main(["--row", "x", str(folder / "words"), str(folder / "decode")])
    from lstmp.score.oov import row_of
    from lstmp.score.score import DecodedSet
    with pytest.raises(UserError, match="no such file"):
        row_of("x", folder / "words", DecodedSet.parse(str(folder / "decode")))
