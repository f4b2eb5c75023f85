"""steps/score.sh: weights are chosen on dev and applied to the test sets."""

import json
from pathlib import Path

import pytest
from helpers import ROOT

from lstmp.score.score import main

CONF = str(ROOT / "conf/score.yaml")


def dirs(decoded):
    return [str(decoded / "exp" / "mono" / f"decode_tg_{s}") for s in ("dev", "test")]


def run(decoded, *more):
    dev, test = dirs(decoded)
    main(["--dev", dev, "--test", test, "--config", CONF, *more])


def error(decoded, capsys, *more):
    with pytest.raises(SystemExit) as e:
        run(decoded, *more)
    lines = capsys.readouterr().err.strip().splitlines()
    assert e.value.code == 1 and sum(line.startswith("error: ") for line in lines) == 1
    return lines[-1]


def test_weights_are_chosen_on_dev_and_applied_unchanged_to_test(decoded):
    run(decoded)
    dev, test = (json.loads((Path(d) / "score.json").read_text()) for d in dirs(decoded))
    assert (dev["lmwt"], dev["wip"]) == (test["lmwt"], test["wip"]) == (9, 0)
    assert (dev["ins"], dev["del"], dev["sub"], dev["words"]) == (1, 0, 1, 7)
    assert dev["wer"] == pytest.approx(200 / 7, abs=1e-3) and dev["chosen_here"] and not test["chosen_here"]
    assert (test["ins"], test["del"], test["sub"], test["words"]) == (1, 0, 1, 4) and test["wer"] == 50
    assert test["best_of_this_set"] == {"wer": 0.0, "lmwt": 8, "wip": 0}  # reported, but not used
    assert test["grid"] == {"8_0": 0.0, "9_0": 50.0, "9_0.5": 75.0}
    assert dev["ci"][0] <= dev["wer"] <= dev["ci"][1]
    folder = Path(dirs(decoded)[1])
    assert (folder / "best.txt").read_text() == (folder / "scoring/9_0.0.txt").read_text()
    assert "Eval:" in (folder / "align.txt").read_text()


def test_spelling_errors_are_reported(decoded, capsys):
    """They are counted separately from other errors; without spelling errors there is no warning."""
    run(decoded)
    assert "spelling" not in capsys.readouterr().err
    hyps = Path(dirs(decoded)[0]) / "scoring"
    for path in hyps.iterdir():
        path.write_text("a-1 one TREE THREE four\na-2 FIVE SIX\nb-1 SEVEN\n")
    run(decoded)
    err = capsys.readouterr().err
    assert "2 of 3 substitutions differ only in spelling (letter case), such as one for ONE" in err
    align = (Path(dirs(decoded)[0]) / "align.txt").read_text()
    assert "REF:  ONE TWO  three FOUR\nHYP:  one TREE three four\n" in align


def test_scoring_is_skipped_until_a_hypothesis_changes(decoded, capsys):
    run(decoded)
    stamp = (Path(dirs(decoded)[0]) / "score.json").stat().st_mtime_ns
    run(decoded)
    assert (Path(dirs(decoded)[0]) / "score.json").stat().st_mtime_ns == stamp
    (Path(dirs(decoded)[1]) / "scoring" / "9_0.0.txt").write_text("c-1 ONE\nd-1 THREE\n")
    run(decoded)
    assert "runs again" in capsys.readouterr().out
    assert json.loads((Path(dirs(decoded)[1]) / "score.json").read_text())["del"] == 2


def test_data_dir_by_argument(decoded):
    for d in dirs(decoded):
        (Path(d) / "decode.json").unlink()
    main(["--dev", f"{dirs(decoded)[0]}={decoded / 'data' / 'dev'}", "--config", CONF])
    assert (Path(dirs(decoded)[0]) / "score.json").is_file()


def test_missing_hypotheses(decoded, capsys):
    path = Path(dirs(decoded)[1]) / "scoring" / "9_0.0.txt"
    path.write_text("c-1 ONE ONE TWO\n")
    assert "1 of 2 utterances have no hypothesis" in error(decoded, capsys)
    config = path.parent / "lenient.yaml"
    config.write_text(Path(CONF).read_text().replace("max_missing: 0.01", "max_missing: 0.5"))
    run(decoded, "--config", str(config))
    result = json.loads((Path(dirs(decoded)[1]) / "score.json").read_text())
    assert (result["missing"], result["del"], result["words"]) == (1, 1, 4)
    assert "no hypothesis" in capsys.readouterr().err


def test_errors_are_one_line(decoded, capsys):
    dev, test = map(Path, dirs(decoded))
    (test / "scoring" / "9_0.0.txt").rename(test / "scoring" / "10_0.0.txt")
    assert "no hypotheses for LMWT 9, WIP 0, which was chosen on" in error(decoded, capsys)
    (dev / "scoring" / "9_0.0.txt").write_text("zz ONE\n")
    assert "9_0.0.txt:1: `zz` is not in the reference" in error(decoded, capsys)
    (decoded / "data/dev/text").unlink()
    assert "text: no such file" in error(decoded, capsys)
    (dev / "decode.json").write_text('{"rtf": 1}')
    assert "decode.json: it does not name its data dir" in error(decoded, capsys)
    (dev / "decode.json").write_text('{\n"rtf": ')
    assert "decode.json:2: not valid JSON" in error(decoded, capsys)
    (dev / "decode.json").unlink()
    assert "decode.json: no such file; decode this set first" in error(decoded, capsys)


@pytest.mark.parametrize("line, name", [("replicates: 5", "replicates"), ("confidence: 1.5", "confidence"),
                                        ("seed: -1", "seed"), ("max_missing: 2", "max_missing"), ("x: 1", "x")])
def test_bad_configuration(decoded, capsys, tmp_path, line, name):
    lines = [x for x in Path(CONF).read_text().splitlines() if not x.startswith(name)]
    (tmp_path / "score.yaml").write_text("\n".join([*lines, line]))
    message = error(decoded, capsys, "--config", str(tmp_path / "score.yaml"))
    assert f"score.yaml:{len(lines) + 1}: " in message and f"`{name}`" in message
