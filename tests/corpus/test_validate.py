"""Validation: sound directories pass and are summed up; what later stages cannot use is found."""

import numpy as np
import pytest
import soundfile
from corpora import data_dir, tone

from lstmp.corpus.validate import main


def check(*args):
    main([*map(str, args)])


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_sound_directory(tmp_path, capsys, options):
    path = data_dir(tmp_path / "d", audio=True)
    check(path, *options)
    out = capsys.readouterr().out
    assert out.strip().split("\n")[-1].split() == "d 4 0.001 2 10 10 0.50 0.80 0".split()
    check(path, *options)
    assert "is done" in capsys.readouterr().out


def silent(path):
    soundfile.write(str(path), np.zeros(9600), 16000)


UTT = "19-198-0001"
BAD = {
    "no such audio file": lambda d: (d / f"{UTT}.wav").unlink(),
    "0.900 s long, but utt2dur says 0.600": lambda d: tone(d / f"{UTT}.wav", seconds=0.9),
    "silent": lambda d: silent(d / f"{UTT}.wav"),
    "9 words in 0.60 s": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON A", "A A A A A A A A")),
    "U+200B ZERO WIDTH SPACE": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON", "O\u200bN")),
    "U+0007 control character": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON", "O\x07N")),
    "U+FFFD": lambda d: (d / "text").write_text((d / "text").read_text().replace("ON", "O\ufffdN")),
}


@pytest.mark.parametrize("word", ["می\u200cخواهم", "क्\u200dष", "❤\ufe0f", "e\u0301", "A\u3000B"])
def test_spelling_that_is_not_seen(tmp_path, capsys, word):
    path = data_dir(tmp_path / "d", audio=True)
    (path / "text").write_text((path / "text").read_text().replace("ON", word))
    check(path, "--max-bad", 0)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("what", BAD)
def test_bad_utterance(tmp_path, capsys, what):
    path = data_dir(tmp_path / "d", audio=True)
    check(path)
    BAD[what](path)
    check(path, "--max-bad", 1)
    assert what in capsys.readouterr().err
    with pytest.raises(SystemExit) as e:
        check(path, "--max-bad", 0)
    last = capsys.readouterr().err.replace("\r", "\n").strip().split("\n")[-1]
    assert e.value.code == 1 and what in last and "--max-bad" in last


def test_malformed_table_is_one_line(tmp_path, capsys):
    path = data_dir(tmp_path / "d", audio=True)
    (path / "text").write_text("b X\na Y\n")
    with pytest.raises(SystemExit):
        check(path)
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}/text:2: not sorted") and error.count("\n") == 1


def test_sets_must_be_apart(tmp_path, capsys):
    with pytest.raises(SystemExit):
        check(data_dir(tmp_path / "a", audio=True), data_dir(tmp_path / "b", audio=True))
    assert "b/utt2spk: `19-198-0000` is in" in capsys.readouterr().err


def test_order_of_speakers_is_said(tmp_path, capsys):
    path = data_dir(tmp_path / "d", audio=True)
    (path / "utt2spk").write_text((path / "utt2spk").read_text().replace(" 26-495", " 01"))
    check(path)
    assert "begin with the speaker" in capsys.readouterr().err
