"""Alignment of folders of recordings in all formats, and with all kinds of errors in them."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
import soxr
from helpers.five_words import ROOT, babble

from lstmp.corpus.audio import write_wav
from lstmp.corpus.ids import file_name
from lstmp.errors import UserError
from lstmp.transcribe import align_folder
from lstmp.transcribe.align_folder import align
from lstmp.transcribe.media import ffmpeg_program
from lstmp.transcribe.transcribed_folder import _Ids, find_recordings


def put(folder, name, text, seconds=3.0, seed=0, ending="txt"):
    folder.mkdir(parents=True, exist_ok=True)
    write_wav(folder / f"{name}.wav", babble(seconds, seed))
    (folder / f"{name}.{ending}").write_text(text, encoding="utf-8")


def ctm(path):
    """Utterance → [(begin, end, label)]."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        utt, channel, begin, length, label = line.split()
        assert channel == "1"
        found.setdefault(utt, []).append((float(begin), float(begin) + float(length), label))
    return found


def labels(textgrid):
    """Tier → labels that are not empty."""
    tiers, found = {}, None
    for line in textgrid.read_text(encoding="utf-8").splitlines():
        key, _, value = line.strip().partition(" = ")
        if key == "name":
            found = tiers.setdefault(value.strip('"'), [])
        elif key == "text" and value != '""':
            found.append(value.strip('"'))
    return tiers


def test_recordings_in_subfolders(model, tmp_path, capsys):
    put(tmp_path / "in/Ann B", "first take", "Red, a “arid” read.")
    put(tmp_path / "in/Ann B", "second", "READ RED\r\n", seed=1, ending="lab")
    put(tmp_path / "in", "alone", "a red", seed=2)
    shutil.copytree(model, tmp_path / "moved")
    align_folder.main([str(tmp_path / "moved"), str(tmp_path / "in"), str(tmp_path / "out"), "--nj", "1"])
    output = capsys.readouterr()
    assert "3 recordings aligned, 0 files left out" in output.out and output.err == ""
    made = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert made == {"Ann B/first take.TextGrid", "Ann B/second.TextGrid", "alone.TextGrid", "words.ctm", "phones.ctm",
                    "recordings.txt"}
    words, phones = ctm(tmp_path / "out/words.ctm"), ctm(tmp_path / "out/phones.ctm")
    assert {u: [w for *_, w in x] for u, x in words.items()} == {
        "Ann_B-first_take": ["Red", "a", "arid", "read"], "Ann_B-second": ["READ", "RED"], "alone": ["a", "red"]}
    for utt, rows in phones.items():
        assert rows[0][0] == 0 and 2.9 < rows[-1][1] <= 3.02
        assert all(a[1] == pytest.approx(b[0]) for a, b in zip(rows, rows[1:], strict=False))
        assert {label for *_, label in rows} <= {"SIL", "R", "E", "D", "I", "A"}
        assert {b for b, _, _ in words[utt]} <= {b for b, _, _ in rows}
    tiers = labels(tmp_path / "out/Ann B/first take.TextGrid")
    assert tiers == {"words": ["Red", "a", "arid", "read"], "phones": [x for *_, x in phones["Ann_B-first_take"]]}
    assert (tmp_path / "out/recordings.txt").read_text().splitlines()[0] == "Ann_B-first_take Ann B/first take.wav"


def test_all_formats_give_the_same_times(model, tmp_path):
    """Sampling rate, channels, coding and the file's ending do not matter."""
    samples = babble(3.0)
    for name in "abcd":
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / f"in/{name}/x.txt").write_bytes("\ufeffarid\r\nred".encode("utf-16" if name == "c" else "utf-8"))
    write_wav(tmp_path / "in/a/x.wav", samples)
    twice = soxr.resample(samples / 32768, 16000, 44100)
    soundfile.write(tmp_path / "in/b/x.FLAC", np.stack([twice, twice], axis=1), 44100, format="FLAC")
    soundfile.write(tmp_path / "in/c/x.mp3", samples / 32768, 16000)
    soundfile.write(tmp_path / "whole.wav", samples / 32768, 16000)
    count = 3
    if program := ffmpeg_program():
        subprocess.run([program, "-v", "error", "-i", str(tmp_path / "whole.wav"), str(tmp_path / "in/d/x.m4a")],
                       check=True)
        count = 4
    found = align(model, tmp_path / "in", tmp_path / "out")
    assert len(found.textgrids) == count and found.words == 2 * count and not found.unknown
    words = ctm(tmp_path / "out/words.ctm")
    assert set(words) == {f"{name}-x" for name in "abcd"[:count]}
    exact = [b for b, *_ in words["a-x"]]
    assert [b for b, *_ in words["b-x"]] == pytest.approx(exact, abs=0.02)


def test_files_that_cannot_be_used_do_not_affect_the_others(model, tmp_path, capsys):
    folder = tmp_path / "in"
    put(folder, "good", "red")
    put(folder, "none", "red"), (folder / "none.txt").unlink()
    put(folder, "empty", " \n")
    put(folder, "latin", "red"), (folder / "latin.txt").write_bytes("red\nété".encode("latin-1"))
    put(folder, "broken", "red"), (folder / "broken.wav").write_bytes(b"RIFF, but no more")
    put(folder, "short", "red", seconds=0.05)
    put(folder, "little", "arid " * 50, seconds=1.0)
    (folder / "README.txt").write_text("about this folder")
    shutil.copyfile(folder / "good.wav", folder / "good.flac")
    (folder / "good.lab").write_text("arid")
    put(folder, ".hidden", "red")
    align_folder.main([str(model), str(folder), str(tmp_path / "out"), "--nj", "1"])
    output = capsys.readouterr()
    for line in ("none.wav is left out: it has no transcript (none.txt or none.lab)",
                 "empty.wav is left out: its transcript cannot be read: it contains no words",
                 "latin.wav is left out: its transcript cannot be read: line 2 is not UTF-8 text",
                 "broken.wav is left out: cannot be read as audio", "short.wav is left out: 0.05 s is too short",
                 "little.wav is left out: 98 frames, but its transcript needs at least",
                 "README.txt is left out: there is no audio file with this name",
                 "good.flac is left out: good.wav, which has the same name, is used instead",
                 "good.lab is left out: good.txt is used instead"):
        assert output.err.count(f"warning: {line}") == 1, line
    assert output.err.count("\n") == 9 and "1 recording aligned, 9 files left out" in output.out
    assert list(ctm(tmp_path / "out/words.ctm")) == ["good"]


def test_if_nothing_can_be_aligned_the_error_is_one_line(model, tmp_path, capsys):
    put(tmp_path / "in", "a", "red", seconds=0.05)
    (tmp_path / "empty").mkdir()
    for options, message in (([model, tmp_path / "in"], "no recording could be aligned; a.wav: 0.05 s is too"),
                             ([model, tmp_path / "empty"], "it contains no audio files"),
                             ([model, tmp_path / "none"], "no such folder"),
                             ([tmp_path / "in", tmp_path / "in"], "steps/export_model.sh")):
        with pytest.raises(SystemExit) as stopped:
            align_folder.main([*map(str, options), str(tmp_path / "out")])
        assert stopped.value.code == 1
        errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
        assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]
    assert not [p for p in tmp_path.rglob(".align-*")]


def test_words_that_the_lexicon_lacks_are_aligned_as_unknown(model, tmp_path, capsys):
    put(tmp_path / "in", "a", "red Dira red dira 7 red-arid")
    found = align(model, tmp_path / "in", tmp_path / "out")
    assert dict(found.unknown) == {"Dira": 1, "dira": 1, "7": 1} and found.words == 6
    warned = capsys.readouterr().err
    assert "3 of 6 words, 3 different ones, are not in the lexicon" in warned
    assert "numbers must be written out" in warned
    written = ["red", "Dira", "red", "dira", "7", "red-arid"]
    assert labels(tmp_path / "out/a.TextGrid")["words"] == written
    assert labels(tmp_path / "out/a.TextGrid")["phones"].count("SPN") == 3

    (tmp_path / "more.txt").write_text("DIRA D I R A\nseven R E\n")
    (tmp_path / "in/a.txt").write_text("red Dira red dira SEVEN")
    found = align(model, tmp_path / "in", tmp_path / "in", lexicon=tmp_path / "more.txt")  # into the same folder
    assert not found.unknown and labels(tmp_path / "in/a.TextGrid")["words"] == ["red", "Dira", "red", "dira", "SEVEN"]
    phones = [p for p in labels(tmp_path / "in/a.TextGrid")["phones"] if p != "SIL"]
    assert "".join(phones) == "REDDIRAREDDIRARE"

    (tmp_path / "more.txt").write_text("DIRA D I R AH\n")
    with pytest.raises(UserError, match="more.txt: phone AH of the word DIRA is not a phone of the model; use only"):
        align(model, tmp_path / "in", tmp_path / "out", lexicon=tmp_path / "more.txt")


def test_ids_are_valid_and_unique(tmp_path):
    for folder, name in (("a b", "x"), ("a_b", "x"), ("a", "b-x"), (".", "a-b-x"), (".", "a")):
        put(tmp_path / folder, name, "red", seconds=0.1)
    (tmp_path / "a/again").symlink_to(tmp_path)  # a loop
    found, left_out = find_recordings(tmp_path)
    assert not left_out and len({r.utt for r in found}) == len(found) == 5
    assert len({r.speaker for r in found}) == 5  # the folder `a` and the recording `a` are two
    assert all(len(r.utt.split()) == len(r.speaker.split()) == 1 for r in found)


def test_long_ids_can_be_used_as_file_names():
    ids = _Ids()
    found = [ids("名" * 90 + str(n), n) for n in range(3)]
    assert len(set(found)) == 3 and all(file_name(i) == i for i in found)


def test_the_script_runs_the_same_code(model, tmp_path):
    put(tmp_path / "in", "a", "red")
    done = subprocess.run([ROOT / "steps/align_folder.sh", model, tmp_path / "in", tmp_path / "out", "--nj", "1"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and (tmp_path / "out/a.TextGrid").is_file(), done.stderr
