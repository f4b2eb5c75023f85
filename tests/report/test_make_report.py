"""The report of a small experiment."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers import ROOT

from lstmp.report.experiment import Experiment
from lstmp.report.make_report import main, names_of
from lstmp.report.page import begin_page
from lstmp.shards import read_shard


@pytest.fixture
def exp(experiment, tmp_path):
    """A copy of the experiment's folder, which a test may damage."""
    return Path(shutil.copytree(experiment / "exp", tmp_path / "exp", ignore=shutil.ignore_patterns("report")))


def data(report, name):
    return read_shard(Path(report), name)


@pytest.fixture(scope="module")
def report(experiment):
    main([str(experiment / "exp"), "--nj", "2"])
    return experiment / "exp" / "report"


def test_the_page_has_the_table_without_any_script(report):
    page = (report / "index.html").read_text(encoding="utf-8")
    wer = f"{data(report, 'results')['rows'][1]['wer']:.2f}"
    assert "small" in page and "mono" in page and wer.rstrip("0").rstrip(".") in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_it_knows_what_was_run(report, experiment):
    about = data(report, "experiment")
    assert about["title"] == "small" and about["systems"] == ["mono", "lstmp"] and about["sets"] == ["train"]
    assert about["commands"] == [f"steps/make_report.sh {experiment}/exp"] and not about["several"]
    changed = {(c["file"], c["key"]): (c["value"], c["default"]) for c in about["config"] if c["changed"]}
    assert changed[("lstmp.yaml", "cells")][0] == 8 and ("fbank.yaml", "num_mel_bins") not in changed
    assert about["notes"] == []
    assert [(d["path"], d["detailed"]) for d in about["decodings"]] == [
        ("mono/lm/train", True), ("lstmp/lm/train", True)]


def test_curves_are_those_of_the_training(report):
    (epoch,) = data(report, "curves")["systems"]["lstmp"]["epochs"]
    assert epoch["epoch"] == 1 and epoch["loss"] > 0 and 0 <= epoch["valid_accuracy"] <= 100
    assert 0 <= epoch["minutes"] < 5  # rounded to hundredths


def test_the_words_agree_with_the_score_and_have_times(report):
    rows = {row["system"]: row for row in data(report, "results")["rows"]}
    for system in ("mono", "lstmp"):
        items = {i["utt"]: i for i in data(report, f"utterances/{system}/lm/train")["items"]}
        words = data(report, f"words/{system}/lm/train/0")
        assert len(items) == 6 and set(words) == set(items)
        ops = [w["op"] for of_utt in words.values() for w in of_utt]
        assert [ops.count(op) for op in "SID"] == [rows[system][k] for k in ("sub", "ins", "del")]
        assert len(ops) - ops.count("I") == rows[system]["words"]
        worst = [sum(i[k] for k in ("ins", "del", "sub")) for i in items.values()]
        assert worst == sorted(worst, reverse=True)
        for utt, of_utt in words.items():
            hyp = [w for w in of_utt if w["hyp"]]
            assert all(0 <= w["start"] < w["end"] <= items[utt]["seconds"] + 0.03 for w in hyp)
            assert all(a["end"] <= b["start"] + 1e-9 for a, b in zip(hyp, hyp[1:], strict=False))
            assert all(0 <= w["confidence"] <= 1 for w in hyp)
            assert all(w["confidence"] is None and w["start"] <= w["end"] for w in of_utt if not w["hyp"])


@pytest.mark.parametrize("system", ["mono", "lstmp"])
def test_phones_and_states_cover_the_utterance_and_the_words(report, system):
    states, words = data(report, f"states/{system}/lm/train/0"), data(report, f"words/{system}/lm/train/0")
    assert set(states) == set(words)
    for utt, x in states.items():
        for rows in (x["phones"], x["states"]):
            assert rows[0][0] == 0 and all(a[1] == b[0] for a, b in zip(rows, rows[1:], strict=False))
        starts = {row[0] for row in x["phones"]}
        assert {w["start"] for w in words[utt] if w["hyp"]} <= starts <= {row[0] for row in x["states"]}
        for start, _, name, pdf in x["states"]:
            phone, _, state = name.rpartition(".")
            assert state.isdigit() and pdf >= 0
            assert any(p[0] <= start < p[1] and p[2] == phone for p in x["phones"])


def test_errors_have_groups_and_a_calibration(report):
    errors = data(report, "errors/lstmp/lm/train")
    assert errors["by_speaker"] and errors["by_length"] and errors["by_level"] and errors["by_frequency"]
    words = data(report, "words/lstmp/lm/train/0")
    hyp = sum(bool(w["hyp"]) for of_utt in words.values() for w in of_utt)
    assert sum(b["n"] for b in errors["calibration"]["bins"]) == hyp


def test_sound_is_linked(report):
    for item in data(report, "sound/train/0").values():
        assert os.path.isfile(report / unquote(item["audio"])) and os.path.isfile(report / unquote(item["spectrogram"]))


def test_systems_are_compared(report):
    (pair,) = data(report, "comparison")["items"]
    assert (pair["a"], pair["b"], pair["set"], pair["lm"]) == ("mono", "lstmp", "train", "lm")
    assert pair["difference"] == pytest.approx(pair["wer_b"] - pair["wer_a"], abs=0.011) and 0 <= pair["p"] <= 1


def test_it_is_made_once(report, experiment, capsys):
    before = {p: p.stat().st_mtime_ns for p in report.rglob("*") if p.is_file()}
    capsys.readouterr()
    main([str(experiment / "exp")])
    out = capsys.readouterr().out
    assert "report is done" in out and out.splitlines()[-1] == f"report: {report}/index.html"
    assert {p: p.stat().st_mtime_ns for p in report.rglob("*") if p.is_file()} == before


def test_what_is_missing_is_noted_and_costs_only_itself(exp, capsys):
    for path in exp.glob("lstmp/decode_lm_train/lat.*"):
        path.unlink()
    shutil.rmtree(exp / "mono/decode_lm_train")
    main([str(exp)])
    notes = data(exp / "report", "experiment")["notes"]
    assert len(notes) == 2
    assert any(n.startswith("mono, lm, train: ") and "decode.json: no such file" in n for n in notes)
    assert any("no times and confidences of words" in n and "no lattices in it" in n for n in notes)
    err = capsys.readouterr().err
    assert all(f"warning: {n}" in err for n in notes)
    assert data(exp / "report", "words/lstmp/lm/train/0")["ann-1"][0]["start"] is None
    assert len(data(exp / "report", "results")["rows"]) == 2


@pytest.mark.parametrize("detailed", ["all", "networks"])
def test_combined_systems_have_words_without_times(exp, tmp_path, detailed):
    decode_json = exp / "mono/decode_lm_train/decode.json"
    info = {k: v for k, v in json.loads(decode_json.read_text()).items() if k not in ("model", "graph")}
    decode_json.write_text(json.dumps(info | {"combined": ["tri1", "lstmp"]}))
    options = (ROOT / "conf/report.yaml").read_text()
    (tmp_path / "report.yaml").write_text(options.replace("detailed: all", f"detailed: {detailed}"))
    main([str(exp), "--config", str(tmp_path / "report.yaml"), "--nj", "1"])
    about = data(exp / "report", "experiment")
    assert about["notes"] == [] and {d["system"]: d["detailed"] for d in about["decodings"]} == {
        "mono": False, "lstmp": True}
    words = data(exp / "report", "words/mono/lm/train/0")["ann-1"]
    assert words and all(w["start"] is None for w in words)


def test_an_experiment_without_results_has_a_page(exp):
    (exp / "results.json").unlink()
    main([str(exp)])
    about = data(exp / "report", "experiment")
    assert any("results.json: no such file" in n for n in about["notes"]) and about["decodings"] == []
    assert data(exp / "report", "curves")["systems"]


def test_only_the_worst_utterances_are_shown_if_there_are_too_many(exp, tmp_path):
    text = (ROOT / "conf/report.yaml").read_text().replace("max_utterances: 3000", "max_utterances: 2") \
        .replace("detailed: all", "detailed: none").replace("utterances_per_file: 50", "utterances_per_file: 1")
    (tmp_path / "report.yaml").write_text(text)
    main([str(exp), "--config", str(tmp_path / "report.yaml")])
    items = data(exp / "report", "utterances/lstmp/lm/train")["items"]
    assert len(items) == 2
    for item in items:
        assert item["utt"] in data(exp / "report", f"words/lstmp/lm/train/{item['shard']}")
        assert item["utt"] in data(exp / "report", f"sound/train/{item['shard']}")
    assert not any(d["detailed"] for d in data(exp / "report", "experiment")["decodings"])
    assert not (exp / "report/data/states").exists()
    assert data(exp / "report", "errors/lstmp/lm/train")["calibration"] is None


def test_two_experiments_side_by_side(exp, tmp_path):
    other = shutil.copytree(exp, tmp_path / "wider")
    main([str(exp), str(other), "--nj", "2"])
    report = tmp_path / "report_exp_wider"
    about = data(report, "experiment")
    assert about["several"] and [p["name"] for p in about["parts"]] == ["exp", "wider"]
    assert about["systems"] == ["exp.mono", "exp.lstmp", "wider.mono", "wider.lstmp"] and about["sets"] == ["train"]
    assert {(r["experiment"], r["system"]) for r in data(report, "results")["rows"]} == {
        ("exp", "exp.mono"), ("exp", "exp.lstmp"), ("wider", "wider.mono"), ("wider", "wider.lstmp")}
    pairs = {(c["a"], c["b"]): (c["difference"], c["ci"], c["p"]) for c in data(report, "comparison")["items"]}
    assert len(pairs) == 6 and pairs["exp.lstmp", "wider.lstmp"] == (0, [0, 0], 1)
    assert data(report, "words/wider.lstmp/lm/train/0") == data(report, "words/exp.lstmp/lm/train/0")
    assert set(data(report, "curves")["systems"]) == {"exp.lstmp", "wider.lstmp"}


def test_sets_of_the_same_name_but_other_utterances_are_kept_apart(exp, experiment, tmp_path):
    other = Path(shutil.copytree(exp, tmp_path / "other"))
    shutil.copytree(experiment / "data/train", tmp_path / "data")
    text = (tmp_path / "data/text").read_text()
    (tmp_path / "data/text").write_text(text.replace("ann-1 A BAT", "ann-1 A TAB"))
    for system in ("mono", "lstmp"):
        path = other / system / "decode_lm_train/decode.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"data": str(tmp_path / "data")}))
    main([str(exp), str(other), "--out", str(tmp_path / "both")])
    sets = {(d["system"], d["set"]) for d in data(tmp_path / "both", "experiment")["decodings"]}
    assert sets == {("exp.mono", "train"), ("exp.lstmp", "train"), ("other.mono", "other.train"),
                    ("other.lstmp", "other.train")}
    assert {(c["a"], c["b"]) for c in data(tmp_path / "both", "comparison")["items"]} == {
        ("exp.mono", "exp.lstmp"), ("other.mono", "other.lstmp")}


def test_a_run_begins_with_a_page_and_keeps_an_existing_one(tmp_path):
    exp = tmp_path / "new"
    exp.mkdir()
    begin_page(exp, "./run.sh --seed 3")
    about = data(exp / "report", "experiment")
    assert about["commands"] == ["./run.sh --seed 3"] and data(exp / "report", "results") == {"rows": []}
    assert data(exp / "report", "curves") == {"systems": {}} and about["files"] == ["curves", "progress", "results"]
    (exp / "report/index.html").write_text("results")
    begin_page(exp, "./run.sh")
    assert (exp / "report/index.html").read_text() == "results"


@pytest.mark.parametrize("arguments, message", [
    (["{none}"], "no such folder; give the folder of an experiment"),
    (["{exp}", "{exp}/../exp"], "an experiment is given twice; give different ones")])
def test_wrong_arguments_give_one_line(exp, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        main([a.format(exp=exp, none=tmp_path / "none") for a in arguments])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and message in lines[0]


def test_experiments_of_the_same_name_are_called_by_their_paths(tmp_path):
    assert names_of([Path("exp/a"), Path("exp/b")]) == ["a", "b"]
    assert names_of([Path("x/a"), Path("y/a")]) == ["x-a", "y-a"]
    assert Experiment(Path("x"), "x", {"rows": ["damaged"]}).rows == []


def test_a_browser_shows_every_part_without_an_error(report, chromium):
    chromium.open(report / "index.html", "#utt=ann-1")
    assert chromium.console() == []
    for part in ("results", "comparison", "curves", "errors", "calibration", "utterances", "configuration", "commands"):
        assert chromium.find(f"#{part}").is_displayed(), part
    assert chromium.texts("#utterances .track.phones .cell")


def test_without_results_there_is_a_page_with_one_note(tmp_path):
    main([str(tmp_path)])
    (note,) = data(tmp_path / "report", "experiment")["notes"]
    assert note.endswith("results.json: no such file; run stage 11, scoring")


def test_words_without_times_are_noted_each_time(exp, monkeypatch, capsys):
    monkeypatch.setattr("lstmp.report.words.PathAligner.__call__", lambda *_: None)
    for _ in range(2):
        main([str(exp), "--nj", "1"])
        notes = data(exp / "report", "experiment")["notes"]
        assert len(notes) == 2 and all("no times of words of utterances: ann-1: no path" in n for n in notes)
        assert all(n.endswith("(and 5 more utterances)") for n in notes)
        (exp / "report/index.html").unlink()
    assert capsys.readouterr().out.count("words is done") == 2


def test_a_changed_option_makes_only_what_depends_on_it_again(exp, tmp_path, capsys):
    main([str(exp), "--nj", "1"])
    capsys.readouterr()
    text = (ROOT / "conf/report.yaml").read_text().replace("quality: 40", "quality: 30")
    (tmp_path / "report.yaml").write_text(text)
    main([str(exp), "--config", str(tmp_path / "report.yaml"), "--nj", "1"])
    out = capsys.readouterr().out
    assert "sound runs again, its configuration changed: `quality` 40 → 30" in out
    assert out.count("words is done") == 2 and "words runs again" not in out
