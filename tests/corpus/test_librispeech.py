"""Preparing LibriSpeech: bad utterances are reported and left out; too many of them are an error."""

import pytest
from helpers.corpora import librispeech, tone

from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.librispeech import main

CHAPTER = "LibriSpeech/dev/10/7"


def prepare(root, out, *options, splits=("dev",)):
    main(["--corpus", str(root), "--out", str(out), "--nj", "2", *map(str, options), "--splits", *splits])


@pytest.mark.parametrize("ext", ["flac", "wav", "mp3"])
@pytest.mark.parametrize("inner", ["", "LibriSpeech"])
def test_good_corpus_is_prepared(tmp_path, ext, inner):
    root = librispeech(tmp_path / "c", ext=ext)
    prepare(root / inner, tmp_path / "data")
    data = read_data_dir(tmp_path / "data" / "dev")
    assert len(data.utts) == 12 and list(data.speakers) == ["10-7", "11-7", "12-7"]
    utt = data.utts["11-7-0003"]
    assert utt.words == ("SOME", "WORDS", "B") and utt.wav == f"{root}/LibriSpeech/dev/11/7/11-7-0003.{ext}"
    assert abs(data.durations["11-7-0003"] - 0.6) < 0.1


def test_a_finished_split_is_skipped_until_a_file_changes(tmp_path, capsys):
    root = librispeech(tmp_path / "c")
    prepare(root, tmp_path / "data")
    prepare(root, tmp_path / "data")
    assert "is done" in capsys.readouterr().out
    tone(root / CHAPTER / "10-7-0000.wav", seconds=0.9)
    prepare(root, tmp_path / "data")
    assert read_data_dir(tmp_path / "data" / "dev").durations["10-7-0000"] == 0.9


def test_max_utts_is_spread_over_speakers_and_reproducible(tmp_path):
    root = librispeech(tmp_path / "c")
    prepare(root, tmp_path / "a", "--max-utts", 4)
    prepare(root, tmp_path / "b", "--max-utts", 4)
    chosen = read_data_dir(tmp_path / "a" / "dev")
    assert len(chosen.utts) == 4 and len(chosen.speakers) == 3
    assert chosen.utts == read_data_dir(tmp_path / "b" / "dev").utts


def test_splits_joined_by_plus_become_one_directory(tmp_path):
    root = librispeech(tmp_path / "c")
    (root / "LibriSpeech/more/50").mkdir(parents=True)
    (root / "LibriSpeech/dev/12").rename(root / "LibriSpeech/more/12")
    prepare(root, tmp_path / "data", splits=("dev+more",))
    assert len(read_data_dir(tmp_path / "data" / "dev+more").utts) == 12


def line(number, new):
    def edit(chapter):
        path = chapter / "10-7.trans.txt"
        lines = path.read_bytes().split(b"\n")
        lines[number - 1] = new
        path.write_bytes(b"\n".join(lines))
    return edit


def cut(chapter):
    path = chapter / "10-7-0001.wav"
    path.write_bytes(path.read_bytes()[:5000])


ONE_BAD = {  # what is done to the chapter: part of the warning
    "missing wav": (lambda c: (c / "10-7-0001.wav").unlink(), "10-7.trans.txt:2: `10-7-0001` has no audio"),
    "truncated wav": (cut, "10-7-0001.wav: cut off"),
    "stereo": (lambda c: tone(c / "10-7-0001.wav", channels=2), "10-7-0001.wav: 2 channels"),
    "empty wav": (lambda c: (c / "10-7-0001.wav").write_bytes(b""), "10-7-0001.wav: the audio file is empty"),
    "no transcript": (line(2, b""), "10-7-0001.wav: no transcript"),
    "empty transcript": (line(2, b"10-7-0001"), "10-7.trans.txt:2: `10-7-0001` has an empty transcript"),
    "not UTF-8": (line(2, b"10-7-0001 CAF\xe9"), "10-7.trans.txt:2: not UTF-8"),
    "wrong speaker": (line(2, b"99-7-0001 WORDS"), "10-7.trans.txt:2: `99-7-0001` does not begin with `10-7-`"),
}


@pytest.mark.parametrize("case", ONE_BAD)
def test_one_bad_utterance_is_left_out(tmp_path, capsys, case):
    root = librispeech(tmp_path / "c")
    edit, what = ONE_BAD[case]
    edit(root / CHAPTER)
    prepare(root, tmp_path / "data", "--max-bad", 2)
    output = capsys.readouterr()
    assert what in output.err and "left out" in output.out
    assert set(read_data_dir(tmp_path / "data" / "dev").utts) == {
        f"{s}-7-{n:04d}" for s in (10, 11, 12) for n in range(4)} - {"10-7-0001"}


@pytest.mark.parametrize("case", ONE_BAD)
def test_too_many_bad_utterances_are_an_error(tmp_path, capsys, case):
    root = librispeech(tmp_path / "c")
    ONE_BAD[case][0](root / CHAPTER)
    with pytest.raises(SystemExit) as e:
        prepare(root, tmp_path / "data", "--max-bad", 0)
    last = capsys.readouterr().err.replace("\r", "\n").strip().split("\n")[-1]
    assert e.value.code == 1 and last.startswith("error: ") and "--max-bad" in last and ONE_BAD[case][1] in last
    assert not (tmp_path / "data" / "dev" / "utt2spk").exists()


def test_duplicate_id_keeps_the_first(tmp_path, capsys):
    root = librispeech(tmp_path / "c")
    line(2, b"10-7-0001 FIRST\n10-7-0001 SECOND")(root / CHAPTER)
    prepare(root, tmp_path / "data")
    assert "10-7.trans.txt:3: `10-7-0001` is given twice" in capsys.readouterr().err
    assert read_data_dir(tmp_path / "data" / "dev").utts["10-7-0001"].words == ("FIRST",)


def test_default_limit_allows_one_of_few(tmp_path):
    root = librispeech(tmp_path / "c")
    cut(root / CHAPTER)
    prepare(root, tmp_path / "data")
    (root / CHAPTER / "10-7-0000.wav").unlink()
    with pytest.raises(SystemExit):
        prepare(root, tmp_path / "data")


@pytest.mark.parametrize(("corpus", "splits", "what"), [
    ("nowhere", ["dev"], "no such corpus folder"), ("c", ["dev-clean"], "there are: dev"),
    ("c/LibriSpeech/dev", ["dev"], "no LibriSpeech split")])
def test_missing_folder_is_reported(tmp_path, capsys, corpus, splits, what):
    librispeech(tmp_path / "c")
    with pytest.raises(SystemExit) as e:
        prepare(tmp_path / corpus, tmp_path / "data", splits=splits)
    error = capsys.readouterr().err
    assert e.value.code == 1 and what in error and error.count("\n") == 1


@pytest.mark.parametrize("text", ["-1", "1.5", "abc", "120%", "nan", "inf"])
def test_invalid_limit_is_rejected(tmp_path, capsys, text):
    with pytest.raises(SystemExit):
        prepare(tmp_path, tmp_path, f"--max-bad={text}")
    assert "neither a count" in capsys.readouterr().err
