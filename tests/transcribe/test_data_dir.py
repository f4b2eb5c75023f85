"""A data dir from a folder of recordings: ids, speakers, words, and what is left out."""

import pytest

from lstmp.corpus.datadir import read_data_dir
from lstmp.errors import UserError
from lstmp.transcribe.data_dir import main, make_data_dir


@pytest.fixture
def folder(tmp_path):
    texts = {"anna/1": "Good morning, Anna!", "anna/2": "Well-known: don't.", "ben/1": "“Good” – morning"}
    for name, text in texts.items():
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".flac").write_bytes(b"")
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return tmp_path / "recordings"


def words(data):
    return {u.id: " ".join(u.words) for u in read_data_dir(data).utts.values()}


def test_punctuation_is_removed_and_speakers_are_the_subfolders(folder, tmp_path):
    make_data_dir(folder, tmp_path / "data")
    data = read_data_dir(tmp_path / "data")
    expected = {"anna-1": "Good morning Anna", "anna-2": "Well-known don't", "ben-1": "Good morning"}
    assert words(tmp_path / "data") == expected
    assert data.speakers == {"anna": ["anna-1", "anna-2"], "ben": ["ben-1"]}
    assert data.utts["ben-1"].wav == str(folder / "ben/1.flac")


def test_words_are_spelled_as_in_the_lexicon_and_others_by_case(folder, tmp_path):
    (tmp_path / "lexicon.txt").write_text("GOOD G\nWELL W\nKNOWN N\nDON'T D\n", encoding="utf-8")
    make_data_dir(folder, tmp_path / "data", case="lower", lexicon=tmp_path / "lexicon.txt")
    expected = {"anna-1": "GOOD morning anna", "anna-2": "WELL KNOWN DON'T", "ben-1": "GOOD morning"}
    assert words(tmp_path / "data") == expected


def test_a_recording_without_a_transcript_is_left_out(folder, tmp_path, capfd):
    (folder / "ben/1.txt").unlink()
    (folder / "anna/2.txt").write_text("…!", encoding="utf-8")
    assert not main([str(folder), str(tmp_path / "data"), "--case", "upper"])
    assert words(tmp_path / "data") == {"anna-1": "GOOD MORNING ANNA"}
    shown = capfd.readouterr()
    assert "ben/1.flac is left out: it has no transcript" in shown.err and "2 files left out" in shown.out + shown.err


def test_no_recording_with_a_transcript_is_an_error(folder, tmp_path):
    for text in folder.rglob("*.txt"):
        text.unlink()
    with pytest.raises(UserError, match="no recording with a transcript"):
        make_data_dir(folder, tmp_path / "data")
    assert not (tmp_path / "data").exists()
