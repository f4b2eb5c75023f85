"""The report on unknown words."""

import json

import pytest

from lstmp.corpus import piece_prons, pieces, prepare_dict, prepare_lang, prepare_lm
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.lang import read_symbols
from lstmp.score.report import text_part
from lstmp.score.text_report import main


@pytest.fixture
def folder(tmp_path):
    """A lang folder whose language model does not have one word of the lexicon, and two data dirs."""
    (tmp_path / "lexicon").write_text("HELLO HH\nWORLD W\nDON'T D\nRARE R\n")
    (tmp_path / "lm.txt").write_text("HELLO WORLD\nDON'T HELLO\nWORLD HELLO\n")
    prepare_dict.prepare_dict(tmp_path / "lexicon", tmp_path / "dict")
    prepare_lang.prepare_lang(tmp_path / "dict", tmp_path / "lang")
    prepare_lm.prepare_lm(tmp_path / "lang", tmp_path / "lang_tg", texts=[tmp_path / "lm.txt"], order=2)
    for name in ("train", "dev"):
        (tmp_path / name).mkdir()
    (tmp_path / "train/text").write_text("a HELLO WORLD\nb HELLO RARE\n")
    (tmp_path / "dev/text").write_text("a DON\u2019T HELLO\nb hello XYZ XYZ RARE\n")
    return tmp_path


def run(folder, *more, lang="lang_tg"):
    main(["--lang", str(folder / lang), "--train", str(folder / "train"), "--data", str(folder / "dev"),
          "--out", str(folder / "text.json"), *more])
    return {f["set"]: f for f in json.loads((folder / "text.json").read_text())["sets"]}


def error(folder, capsys, *more):
    with pytest.raises(SystemExit) as e:
        run(folder, *more)
    assert e.value.code == 1 and not (folder / "text.json").exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_all_figures_of_the_report(folder, capsys):
    reports = run(folder)
    out, err = capsys.readouterr()
    dev, train = reports["dev"], reports["train"]
    assert (train["words"], train["unknown"], train["unknown_to_lm"], train["other_spelling"]) == (4, 0, 1, {})
    assert train["most_unknown_to_lm"] == [["RARE", 1]]
    assert (dev["words"], dev["different"], dev["unknown"], dev["unknown_to_lm"]) == (6, 5, 4, 5)
    assert dev["most_unknown"] == [["XYZ", 2], ["DON\u2019T", 1], ["hello", 1]]
    assert dev["other_spelling"] == {"apostrophes": 1, "letter case": 1} and dev["perplexity"] > 1
    assert "dev: of 6 words 4 (66.67 %) are not in the lexicon, 5 (83.33 %) not in the language model" in out
    assert "dev: 2 (33.33 %) words are in the lexicon in another spelling (apostrophes: 1, letter case: 1)" in err
    page = (folder / "text.md").read_text()
    assert "dev, not in the lexicon: XYZ (2), DON\u2019T (1), hello (1)." in page and text_part([train, dev]) in page
    run(folder)
    assert "is done" in capsys.readouterr().out
    main(["--lang", str(folder / "lang_tg"), "--train", str(folder / "train"), "--data", str(folder / "dev")])
    assert (folder / "text_tg.json").read_text() == (folder / "text.json").read_text()


def test_without_a_language_model(folder):
    found = run(folder, lang="lang")
    assert "perplexity" not in found["dev"] and found["dev"]["unknown"] == 4
    assert "| 4 (66.67 %) | – | – |" in (folder / "text.md").read_text()


def test_kaldis_lang_folder(folder):
    expected = run(folder)
    (folder / "lang_tg/lexiconp.txt").unlink()
    assert run(folder) == expected


def test_transcripts_in_another_letter_case_are_an_error(folder, capsys):
    (folder / "train/text").write_text("a hello world\nb hello HELLO\n")
    last = error(folder, capsys)
    assert "train/text: 3 of 4 words (75.0 %) are not in" in last and "hello as HELLO (different letter case)" in last
    run(folder, "--max-unknown", "0.75")


def test_a_set_with_only_unknown_words_is_an_error(folder, capsys):
    (folder / "dev/text").write_text("a X Y\n")
    assert "dev/text: 2 of 2 words (100.0 %) are not in" in error(folder, capsys)
    (folder / "dev/text").write_text("a RARE RARE\n")
    assert "dev/text: the language model has none of its words" in error(folder, capsys)


def test_back_offs_around(folder, capsys):
    path = folder / "lang_tg" / "G.fst"
    g = FstArrays.read(path)
    g.ilabel[:], g.dst[:] = read_symbols(folder / "lang_tg" / "words.txt")["#0"], g.src
    path.unlink()
    g.write(path)
    assert "G.fst: state 0 is on a cycle of arcs without a word" in error(folder, capsys)


def test_a_words_txt_without_the_symbol_of_back_offs(folder, capsys):
    table = (folder / "lang_tg" / "words.txt").read_text().splitlines(True)
    (folder / "lang_tg" / "words.txt").unlink()
    (folder / "lang_tg" / "words.txt").write_text("".join(line for line in table if not line.startswith("#0 ")))
    assert "G.fst: word " in (said := error(folder, capsys)) and "words.txt; use files that were made" in said


def test_files_that_were_not_made_together(folder, capsys):
    path = folder / "lang_tg" / "lexiconp.txt"
    text = path.read_text()
    path.unlink()
    path.write_text(text.lower())
    assert "lexiconp.txt: none of its words is in" in error(folder, capsys)


def test_bad_options(folder, capsys):
    assert "--max-unknown must be a share" in error(folder, capsys, "--max-unknown", "50")
    with pytest.raises(SystemExit):
        main(["--lang", str(folder / "lang"), "--out", str(folder / "text.json")])
    assert "no data to check" in capsys.readouterr().err


def test_pieces_of_words(folder, capsys):
    """A word is known if its pieces are known. The perplexity is per word."""
    (folder / "text").write_text("".join(f"{w} {w}{v}\n" for w in ("BA", "DE", "KI") for v in ("BA", "DE", "KI")) * 9)
    prepare_dict.prepare_dict(None, folder / "words", spell=[folder / "text"])
    pieces.train_pieces([folder / "text"], folder, size=14)
    piece_prons.prepare_piece_dict(folder / "words", folder / "pieces.model", folder / "dict2")
    prepare_lang.prepare_lang(folder / "dict2", folder / "lang2")
    prepare_lm.prepare_lm(folder / "lang2", folder / "lang2_tg", texts=[folder / "text"])
    (folder / "train/text").write_text("a BA BADE\nb KIDE\n")
    (folder / "dev/text").write_text("a BA XYZ\n")
    found = run(folder, lang="lang2_tg")
    assert (found["train"]["unknown"], found["train"]["unknown_to_lm"]) == (0, 0) and found["train"]["perplexity"] < 14
    assert found["dev"]["most_unknown"] == [["XYZ", 1]]
