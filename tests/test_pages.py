"""The committed pages match the committed records, so they have not been edited by hand."""

import json
import re

import pytest

from lstmp.experiment import page
from lstmp.experiment.grid_file import load
from lstmp.paths import ROOT
from lstmp.score import oov
from lstmp.score.report import markdown

RESULTS = sorted(ROOT.glob("recipes/**/RESULTS.md"))
GRIDS = sorted(ROOT.glob("recipes/**/grid.yaml"))


def record(path):
    return json.loads(path.with_name("results.json").read_text(encoding="utf-8"))


def test_every_record_has_its_page():
    assert {p.parent.name for p in RESULTS} >= {"mini_librispeech", "letters", "mp3", "open_vocabulary"}
    records = {p.parent for p in ROOT.glob("recipes/**/results.json")}
    assert {p.parent for p in RESULTS} | {(ROOT / load(g).page).parent for g in GRIDS} == records


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.parent.name)
def test_a_page_of_results_matches_its_record(path):
    made = oov.page if path.parent.name == "open_vocabulary" else markdown
    assert path.read_text(encoding="utf-8") == made(record(path))


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.parent.name)
def test_word_error_rates_match_their_counts(path):
    rows = record(path)["rows"]
    assert rows
    for row in rows:
        assert row["wer"] == pytest.approx(100 * (row["ins"] + row["del"] + row["sub"]) / row["words"], abs=1e-3)
        assert row["ci"][0] < row["wer"] < row["ci"][1]


@pytest.mark.parametrize("path", GRIDS, ids=lambda p: p.parent.name)
def test_the_page_of_a_grid_matches_its_record(path):
    made = ROOT / load(path).page
    assert made.read_text(encoding="utf-8") == page.render(record(made))


def test_the_readme_shows_the_table_of_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- results -->\n(.*?)<!-- /results -->", readme, re.S).group(1).strip()
    results = ROOT / "recipes/mini_librispeech/RESULTS.md"
    rows = record(results)["rows"]
    assert len(shown.splitlines()) == 2 + len({row["system"] for row in rows if row["lm"] == "tgmed"})  # with the head
    assert all(f"\n{line}\n" in results.read_text(encoding="utf-8") for line in shown.splitlines())
