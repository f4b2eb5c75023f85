"""Comparison of two systems on a set that is small enough to check by hand."""

import shutil

import pytest
from helpers import ROOT

from lstmp.errors import UserError
from lstmp.score import score
from lstmp.score.compare import compare, main

CONF = str(ROOT / "conf/score.yaml")


@pytest.fixture
def two(decoded):
    """Decode dirs of test: mono has 2 errors of 4 words (cell 9_0.0), better has 1."""
    exp = decoded / "exp"
    shutil.copytree(exp / "mono", exp / "better")
    for name in ("mono", "better"):
        score.main(["--dev", str(exp / name / "decode_tg_dev"), "--test", str(exp / name / "decode_tg_test"),
                    "--config", CONF])
    (exp / "better/decode_tg_test/best.txt").write_text("c-1 ONE ONE TWO\nd-1 THREE OH\n")
    return exp / "mono/decode_tg_test", exp / "better/decode_tg_test"


def test_rates_speakers_confusions_and_utterances(two):
    text = compare(*two)
    lines = text.splitlines()
    assert lines[0] == "# mono and better on test"
    assert "| mono | 50.00 | 1 | 0 | 1 |" in lines and "| better | 25.00 | 1 | 0 | 0 |" in lines
    assert "better minus mono: **-25.00**" in text
    assert "| c | 1 | 3 | 33.33 | 0.00 | -33.33 |" in lines and "| d | 1 | 1 | 100.00 | 100.00 | +0.00 |" in lines
    assert "| – | OH | 1 | 1 |" in lines and "| ONE | TWO | 1 | 0 |" in lines
    assert lines.index("| c | 1 | 3 | 33.33 | 0.00 | -33.33 |") < lines.index("| d | 1 | 1 | 100.00 | 100.00 | +0.00 |")
    assert "    c-1" in lines and "    mono, 1: ONE TWO TWO" in lines and "    d-1" not in lines


def test_reversing_the_order_changes_the_signs(two):
    text = compare(*reversed(two))
    assert "mono minus better: **+25.00**" in text and "| c | 1 | 3 | 0.00 | 33.33 | +33.33 |" in text


def test_a_system_is_no_better_than_itself(two):
    text = compare(two[0], two[0])
    assert "**+0.00** [+0.00, +0.00]" in text and "p 1." in text


def test_the_best_hypotheses_of_n_best_lists_can_be_compared(two):
    (two[1] / "score.json").unlink()
    text = compare(*two)
    assert "better minus mono: **-25.00**" in text and "LM weight and penalty: mono: 9, 0." in text


def test_the_page_can_be_written(two, tmp_path, capsys):
    main([*map(str, two), "--out", str(tmp_path / "page.md"), "--most", "1"])
    main([*map(str, two), "--most", "1"])
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text()


def test_decodings_of_other_sets_or_without_scores_are_errors(two):
    mono, better = two
    with pytest.raises(UserError, match="of another set"):
        compare(mono, mono.with_name("decode_tg_dev"))
    (better / "best.txt").unlink()
    with pytest.raises(UserError, match="score this set first"):
        compare(mono, better)
    with pytest.raises(UserError, match="decode this set first"):
        compare(mono, mono.with_name("nothing"))
