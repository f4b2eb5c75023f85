"""RESULTS.md and results.json of a recipe."""

import json
import os
import shutil
from pathlib import Path

import pytest
from helpers import ROOT

from lstmp.score import score
from lstmp.score.results import main

CONF = str(ROOT / "conf/score.yaml")
KEYS = {"system", "set", "lm", "wer", "ci", "ins", "del", "sub", "words", "rtf", "params", "minutes", "seed", "config",
        "command"}


@pytest.fixture
def scored(decoded):
    """Two systems: mono, and lstmp with epochs and a picture."""
    exp = decoded / "exp"
    shutil.copytree(exp / "mono", exp / "lstmp")
    (exp / "lstmp/train.json").write_text(json.dumps({
        "system": "lstmp", "params": 2_345_678, "minutes": 30.25, "seed": 7, "config": {"cells": 512},
        "frame_accuracy_valid": 0.575, "epochs": [{"epoch": 1, "loss_train": 2.5, "accuracy_valid": 0.5},
                                                  {"epoch": 2, "loss_train": 2.25, "accuracy_valid": 0.575}]}))
    (exp / "lstmp/curve.png").write_bytes(b"png")
    for name in ("mono", "lstmp"):
        score.main(["--dev", str(exp / name / "decode_tg_dev"), "--test", str(exp / name / "decode_tg_test"),
                    "--config", CONF])
    return exp


def run(exp, *more, systems=("mono", "lstmp"), lms=("tg",)):
    main(["--recipe-dir", str(exp), "--systems", *systems, "--sets", "dev", "test", "--lms", *lms, *more])


def error(capsys, *args, **kwargs):
    with pytest.raises(SystemExit) as e:
        run(*args, **kwargs)
    lines = capsys.readouterr().err.strip().splitlines()
    assert e.value.code == 1 and len(lines) == 1
    return lines[0]


def test_rows_have_the_keys_and_the_figures(scored):
    run(scored, "--command", "./run.sh --stage 10 --recipe x --stop-stage=11")
    rows = json.loads((scored / "results.json").read_text())["rows"]
    assert [(r["system"], r["set"], r["lm"]) for r in rows] == [
        ("mono", "dev", "tg"), ("mono", "test", "tg"), ("lstmp", "dev", "tg"), ("lstmp", "test", "tg")]
    assert all(set(r) >= KEYS for r in rows)
    test = rows[3]
    assert test["wer"] == 50 and test["words"] == 4 and test["rtf"] == 0.2 and test["params"] == 2_345_678
    assert test["minutes"] == 30.25 and test["seed"] == 7 and test["config"] == {"cells": 512}
    assert test["command"] == "./run.sh --recipe x" and test["frame_accuracy_valid"] == 0.575
    assert (rows[0]["lmwt"], rows[0]["wip"]) == (9, 0)


def test_the_report_on_words_is_shown_if_there_is_one(scored, decoded, capsys):
    options, path = ("--train-data", str(decoded / "data/dev")), decoded / "data/text_tg.json"
    run(scored, *options)
    assert "missing from lexicon" not in (scored / "RESULTS.md").read_text()
    report = {"set": "dev", "words": 40, "different": 7, "unknown": 3, "most_unknown": [["FOO", 2], ["bar", 1]],
              "other_spelling": {"letter case": 1}, "most_other_spelling": [["bar", "BAR", 1]], "unknown_to_lm": 4,
              "most_unknown_to_lm": [["BAZ", 1]], "perplexity": 12.5, "impossible": 0}
    path.write_text(json.dumps({"sets": [report]}))
    run(scored, *options)
    page = (scored / "RESULTS.md").read_text()
    assert "## Words missing from lexicon and language model" in page
    assert "| dev | 40 | 7 | 3 (7.50 %) | 4 (10.00 %) | 12.5 | letter case: 1 |" in page
    assert "dev, not in the lexicon: FOO (2), bar (1)." in page and "in another spelling: bar as BAR (1)." in page
    assert json.loads((scored / "results.json").read_text())["text"] == [report]
    path.write_text('{"sets": [{"set": "dev"}]}')
    assert "not a report on words" in error(capsys, scored, *options)


def test_bandwidth_and_level_are_shown_if_they_were_measured(scored, decoded, capsys):
    options, data = ("--train-data", str(decoded / "data/dev")), decoded / "data"
    run(scored, *options)
    assert "Bandwidth" not in (scored / "RESULTS.md").read_text()
    (data / "test").mkdir(exist_ok=True)
    (data / "test/sound.json").write_text('{"bandwidth_hz": 5800, "level_db": -21.25}')
    run(scored, *options)
    page = (scored / "RESULTS.md").read_text()
    assert "kHz | level, dB of full scale |\n| --- | ---: | ---: |\n| test | 5.8 | -21.2 |\n\n" in page
    (data / "dev/sound.json").write_text('{"bandwidth_hz": 8000, "level_db": -25}')
    run(scored, *options)
    assert "| dev | 8.0 | -25.0 |\n| test | 5.8 | -21.2 |\n\n" in (scored / "RESULTS.md").read_text()
    assert [s["set"] for s in json.loads((scored / "results.json").read_text())["sound"]] == ["dev", "test"]
    for damaged in ('{"bandwidth_hz": 8000}', '{"bandwidth_hz": "8", "level_db": 1}', '{"bandwidth_hz": NaN}'):
        (data / "dev/sound.json").write_text(damaged)
        assert "dev/sound.json" in error(capsys, scored, *options)


def test_the_page_has_all_tables(scored, decoded, monkeypatch):
    monkeypatch.setenv("LSTMP_COMMAND", "./run.sh --nj 2")
    agreement = {"frame_agreement": 0.875, "boundary_median_ms": 10.0, "boundary_within_20ms": 0.9, "utterances": 3,
                 "frames": 1000}
    (scored / "agreement.json").write_text(json.dumps(agreement))
    run(scored, "--title", "trial", "--train-data", str(decoded / "data/dev"), "--note", "Synthetic speech.",
        "--agreement", f"mono={scored / 'agreement.json'}")
    text = (scored / "RESULTS.md").read_text()
    for part in ("# Results: trial", "Generated by `./run.sh --nj 2`", "Training data, dev: 3 utterances of 2 speakers",
                 "Synthetic speech.", "95 % bootstrap", "chosen on dev and", "Decoded with the native engine.",
                 "| mono | tg | **28.57** [", "| 0.250 | 12,345 | 1.5 | 1 |",  # (0.4·10 + 0.2·30) / 40
                 "| lstmp | tg | **28.57** [", "| 2,345,678 | 30.2 | 7 |",
                 "| mono | test | tg | 50.00 | 1 | 0 | 1 | 4 | 0 | 9 | 0 | 0.00 (8, 0) | 0.200 |",
                 "| mono | 87.50 | 10 | 90.00 | 3 | 1,000 |", "## Training of lstmp",
                 "| epoch | loss train | accuracy valid, % |", "| 2 | 2.25 | 57.50 |", "(lstmp-curve.png)"):
        assert part in text, part
    assert (scored / "lstmp-curve.png").read_bytes() == b"png"
    lines = text[text.index("| system"):].splitlines()
    assert len({line.count("|") for line in lines[:4]}) == 1  # all rows have as many columns as the header


def test_a_combination_has_the_sums_of_its_systems(scored):
    for name in ("dev", "test"):
        out = scored / f"both/decode_tg_{name}"
        shutil.copytree(scored / f"mono/decode_tg_{name}", out)
        record = json.loads((out / "decode.json").read_text())
        parts = [str(scored / system / f"decode_tg_{name}") for system in ("mono", "lstmp")]
        (out / "decode.json").write_text(json.dumps(record | {"combined": parts}))
    run(scored, systems=("mono", "lstmp", "both"))
    rows = {(r["system"], r["set"]): r for r in json.loads((scored / "results.json").read_text())["rows"]}
    mono, lstmp, both = (rows[system, "test"] for system in ("mono", "lstmp", "both"))
    assert both["params"] == mono["params"] + lstmp["params"] and both["minutes"] == mono["minutes"] + lstmp["minutes"]
    assert both["wer"] == mono["wer"] and both["config"] == {}


def test_a_second_run_writes_the_same_files(scored):
    run(scored)
    first = (scored / "RESULTS.md").read_bytes(), (scored / "results.json").read_bytes()
    run(scored)
    assert first == ((scored / "RESULTS.md").read_bytes(), (scored / "results.json").read_bytes())


def test_several_lms_and_patterns(scored):
    for s in ("dev", "test"):
        shutil.copytree(scored / "lstmp" / f"decode_tg_{s}", scored / "lstmp" / f"decode_med_{s}")
    run(scored, "--out", str(scored / "other/R.md"), lms=("tg", "med"),
        systems=("mono", f"wide={scored}/lstmp/decode_{{lm}}_{{set}}"))
    rows = json.loads((scored / "other/results.json").read_text())["rows"]
    assert [(r["system"], r["lm"]) for r in rows] == [("mono", "tg")] * 2 + [("wide", "tg")] * 2 + [("wide", "med")] * 2
    assert (scored / "other/wide-curve.png").is_file()


def test_rows_of_language_models_that_earlier_runs_have_scored(scored, capsys):
    """A run with another LM keeps their rows, except for decodings that are older than their network."""
    for s in ("dev", "test"):
        shutil.copytree(scored / "lstmp" / f"decode_tg_{s}", scored / "lstmp" / f"decode_med_{s}")
    shutil.copytree(scored / "lstmp/decode_tg_dev", scored / "lstmp/decode_half_dev")  # not all sets are scored
    run(scored)
    rows = json.loads((scored / "results.json").read_text())["rows"]
    expected = [("mono", "tg"), ("lstmp", "tg"), ("lstmp", "med")]
    assert [(r["system"], r["lm"]) for r in rows] == [pair for pair in expected for _ in range(2)]
    for s in ("dev", "test"):
        os.utime(scored / f"lstmp/decode_med_{s}/score.json", (1, 1))
    (scored / "lstmp/final.safetensors").write_text("")
    run(scored)
    assert "decoded before lstmp was trained again; it has no row" in capsys.readouterr().err
    assert {r["lm"] for r in json.loads((scored / "results.json").read_text())["rows"]} == {"tg"}


def test_the_page_names_the_commit_and_changed_settings(scored, monkeypatch):
    monkeypatch.setenv("LSTMP_COMMIT", "abc123 with changes")
    conf = scored / "conf"
    shutil.copytree(Path(CONF).parent, conf)
    (conf / "score.yaml").write_text((conf / "score.yaml").read_text().replace("replicates: 10000", "replicates: 500"))
    shutil.copy(conf / "lstmp.yaml", conf / "old_network.yaml")  # not a system of this table
    run(scored, "--command", "./run.sh")
    page = (scored / "RESULTS.md").read_text()
    assert "Generated by `./run.sh`, commit abc123 with changes." in page
    assert "| key | value | conf/ |\n| --- | ---: | ---: |\n| score.replicates | 500 | 10000 |\n\n" in page


def test_errors_are_one_line(scored, capsys):
    assert "decode_other_dev/score.json: no such file; run stage 11" in error(capsys, scored, lms=("other",))
    assert "was not decoded with any of a, b" in error(capsys, scored, lms=("a", "b"))
    assert "is not a pattern" in error(capsys, scored, systems=("x={model}",))
    assert "--agreement x is not NAME=FILE" in error(capsys, scored, "--agreement", "x")
    assert "no such file; run lstmp.score.compare_ctm" in error(capsys, scored, "--agreement", "x=none.json")
    assert "utt2spk: no such file" in error(capsys, scored, "--train-data", str(scored))
    (scored / "mono/train.json").write_text('{"params": 1}')
    assert "train.json: it has no `minutes`" in error(capsys, scored)
    (scored / "mono/decode_tg_dev/decode.json").write_text("[]")
    assert "decode.json: expected a JSON object" in error(capsys, scored)
    (scored / "mono/decode_tg_dev/score.json").write_text("{")
    assert "score.json:1: not valid JSON" in error(capsys, scored)


def test_the_table_of_computing_times(scored, capsys):
    spent = {"minutes": 0.5, "seconds": {"alignment": 12.5, "tree": 3.0}, "peak_memory_gib": 1.25}
    (scored / "mono_ali").mkdir()
    (scored / "mono_ali/align.json").write_text(json.dumps({**spent, "seconds": {"graphs": 1.5}}))
    train = json.loads((scored / "mono/train.json").read_text())
    (scored / "mono/train.json").write_text(json.dumps({**train, **spent}))
    files = [str(scored / "mono/train.json"), str(scored / "mono_ali/align.json")]
    run(scored, "--spent", *files)
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in (scored / "RESULTS.md").read_text().splitlines()
            if line.startswith(("| step", "| mono | 0.50", "| mono_ali", "| all"))]
    assert rows == [["step", "minutes", "alignment, s", "tree, s", "graphs, s", "memory, GiB"],
                    ["mono", "0.50", "12.5", "3.0", "0.0", "1.25"], ["mono_ali", "0.50", "0.0", "0.0", "1.5", "1.25"],
                    ["all", "1.00", "12.5", "3.0", "1.5", "1.25"]]
    assert [s["step"] for s in json.loads((scored / "results.json").read_text())["spent"]] == ["mono", "mono_ali"]
    (scored / "mono_ali/align.json").write_text("{}")
    assert "align.json: it has no `minutes`" in error(capsys, scored, "--spent", *files)
