"""Counts of errors in groups."""

from collections import Counter

import numpy as np
import pytest
from helpers import CONF

from lstmp import config
from lstmp.corpus.datadir import DataDir, Utterance
from lstmp.report.experiment import Decoding, ScoredSet
from lstmp.report.options import ReportConfig
from lstmp.report.tallies import LENGTHS, aligned, group_of, label, tallies
from lstmp.score.wer import count_errors

REFS = {"a-1": "ONE TWO THREE", "a-2": "ONE", "b-1": "TWO TWO"}
HYPS = {"a-1": "ONE THREE THREE", "a-2": "ONE OH", "b-1": "TWO"}
CFG = config.load(CONF / "report.yaml", ReportConfig)


@pytest.fixture
def decoding(tmp_path):
    refs, hyps = ({u: tuple(t.split()) for u, t in x.items()} for x in (REFS, HYPS))
    data = DataDir(tmp_path, {u: Utterance(u, u[0], "", w) for u, w in refs.items()}, {})
    return Decoding("mono", "tg", tmp_path, {}, {}, ScoredSet("test", data, refs), hyps, count_errors(refs, hyps))


def test_confusions_and_groups(decoding):
    levels = {"a-1": -21.0, "a-2": -20.0}
    t = tallies(decoding, aligned(decoding), Counter({"ONE": 5, "TWO": 1}), levels, CFG)
    assert t["substitutions"] == [["TWO", "THREE", 1]]
    assert t["insertions"] == [["OH", 1]] and t["deletions"] == [["TWO", 1]]
    speakers = {row["label"]: row for row in t["by_speaker"]}
    assert (speakers["a"]["utterances"], speakers["a"]["words"], speakers["a"]["wer"]) == (2, 4, 50)
    assert (speakers["b"]["del"], speakers["b"]["wer"], speakers["b"]["ci"]) == (1, 50, [50, 50])
    assert [list(row.values()) for row in t["by_frequency"]] == [
        ["0", 1, 0, 0], ["1 to 2", 3, 2, 66.67], ["3 to 9", 2, 0, 0]]
    assert list(t["by_frequency"][0]) == ["label", "words", "errors", "wer"]
    assert [(row["label"], row["words"]) for row in t["by_length"]] == [("1 to 2", 3), ("3 to 5", 3)]
    assert [(row["label"], row["words"], row["wer"]) for row in t["by_level"]] == [
        ("−25 to −20", 3, 33.33), ("−20 to −15", 1, 100)]  # b-1 has no level


def test_each_error_is_in_one_group_and_the_sums_are_those_of_the_score(decoding):
    t = tallies(decoding, aligned(decoding), Counter(), {u: -20.0 for u in REFS}, CFG)
    for name in ("by_speaker", "by_length", "by_level"):
        totals = np.sum([[row[k] for k in ("ins", "del", "sub", "words")] for row in t[name]], axis=0)
        assert totals.tolist() == decoding.errors.counts.sum(0).tolist(), name


def test_without_a_training_text_there_are_no_frequencies(decoding):
    assert tallies(decoding, aligned(decoding), None, {}, CFG)["by_frequency"] == []


def test_labels_say_which_values_a_group_has():
    assert [label(i, (1, 2, 4, 1000)) for i in range(4)] == ["1", "2 to 3", "4 to 999", "1,000 or more"]
    for value in range(60):
        group = group_of(value, LENGTHS)
        assert group == 0 or value >= LENGTHS[group]
        assert group == len(LENGTHS) - 1 or value < LENGTHS[group + 1]
