"""The suspicious utterances of the alignment check."""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from lstmp.alignment import check
from lstmp.report.make_report import main
from lstmp.report.notes import Notes
from lstmp.report.suspicious import read_checks
from lstmp.shards import read_shard


@pytest.fixture(scope="module")
def checked(experiment, tmp_path_factory):
    """A copy of the experiment with a check of which three utterances were found suspicious."""
    exp = tmp_path_factory.mktemp("checked") / "exp"
    shutil.copytree(experiment / "exp", exp, ignore=shutil.ignore_patterns("report"))
    data = experiment / "data"
    check.main(["--data", f"{data}/train", "--lang", f"{data}/lang", "--model", f"{exp}/mono", "--out", f"{exp}/check",
                "--config", str(experiment / "conf/check_alignment.yaml")])
    (exp / "check/suspicious.txt").write_text(
        "bob-1 inf cannot be aligned: 3 frames\nann-2 2.50 TAB not heard at 0.5 s\ngone-1 2.00 was removed since\n")
    return exp


def test_they_are_shown_with_words_and_sound(checked):
    main([str(checked)])
    report = checked / "report"
    first, second = read_shard(report, "suspicious")["items"]
    assert (first["utt"], first["score"], first["reason"], first["speaker"]) == (
        "bob-1", None, "cannot be aligned: 3 frames", "bob")
    assert (second["utt"], second["score"], second["reason"], second["set"]) == (
        "ann-2", 2.5, "TAB not heard at 0.5 s", "check")
    assert [w["ref"] for w in second["words"]] == ["TAB", "AT", "A"]
    assert all(w["op"] == "C" and 0 <= w["start"] < w["end"] for w in second["words"])
    sound = read_shard(report, f"sound/check/{second['shard']}")["ann-2"]
    assert os.path.isfile(report / unquote(sound["audio"])) and sound["level"] < 0
    assert read_shard(report, "experiment")["notes"] == []


@pytest.mark.parametrize("damage, message", [
    (lambda d: (d / ".done.check_alignment.json").unlink(), "no such file; run steps/check_alignment.sh again"),
    (lambda d: (d / ".done.check_alignment.json").write_text('{"inputs": {"x/text": ""}}'), "no longer there"),
    (lambda d: (d / "suspicious.txt").write_text("ann-2 high x\n"), "could not convert"),
    (lambda d: (d / "suspicious.txt").write_bytes(b"\xff\xfe\xff"), "suspicious.txt")])
def test_a_damaged_check_is_noted(checked, tmp_path, damage, message):
    exp = Path(shutil.copytree(checked, tmp_path / "exp"))
    damage(exp / "check")
    notes = Notes()
    assert read_checks(exp, notes) == [] and len(notes.texts) == 1 and message in notes.texts[0]


def test_a_damaged_alignment_is_noted(checked, tmp_path):
    exp = Path(shutil.copytree(checked, tmp_path / "exp", ignore=shutil.ignore_patterns("report")))
    for ali in exp.glob("*_ali/ali.ark"):
        ali.write_bytes(b"no alignment")
    main([str(exp)])
    (note,) = read_shard(exp / "report", "experiment")["notes"]
    assert note.startswith("check: no times of the words: ") and "ali.ark" in note
    assert [w["start"] for w in read_shard(exp / "report", "suspicious")["items"][1]["words"]] == [None] * 3


def test_without_suspicious_utterances_there_is_nothing_to_show(checked, tmp_path):
    exp = Path(shutil.copytree(checked, tmp_path / "exp"))
    (exp / "check/suspicious.txt").write_text("")
    notes = Notes()
    assert read_checks(exp, notes) == [] and notes.texts == []
