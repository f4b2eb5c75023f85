"""Word alignments of references and hypotheses, as written for readers."""

import re

from hypothesis import given
from hypothesis import strategies as st

from lstmp.score.align_text import align_words, speaker_table, write_alignment
from lstmp.score.wer import count_errors

words = st.lists(st.sampled_from(["A", "LONGER", "CC"]), max_size=6).map(tuple)


def test_an_example():
    ref, hyp, marks = align_words(("MISTER", "QUILTER", "IS"), ("MISTER", "QUITE", "KILTER", "IS", "IT"))
    assert ref == "mister QUILTER ***    is ***"
    assert hyp == "mister QUITE   KILTER is IT"
    assert marks == "       S       I         I"


def test_marks_are_below_their_words():
    ref, hyp, marks = align_words(("A", "BEE", "C"), ("A", "C"))
    assert (ref, hyp) == ("a BEE c", "a *** c") and marks.index("D") == ref.index("BEE")


@given(words.filter(bool), words)
def test_marks_agree_with_the_counts(ref, hyp):
    counts = count_errors({"u": ref}, {"u": hyp}).counts[0].tolist()
    rows = align_words(ref, hyp)
    assert [rows[2].count(m) for m in "IDS"] == counts[:3]
    assert tuple(w.upper() for w in rows[0].split() if w != "***") == ref
    assert tuple(w.upper() for w in rows[1].split() if w != "***") == hyp


def test_the_file_has_alignments_and_a_table_of_speakers(tmp_path):
    refs = {"s1-a": ("X", "Y"), "s1-b": ("Z",), "s2-a": ("X",)}
    hyps = {"s1-a": ("X",), "s2-a": ("Q", "X")}
    errors = count_errors(refs, hyps)
    speakers = {"s1-a": "s1", "s1-b": "s1", "s2-a": "s2"}
    write_alignment(tmp_path / "align.txt", refs, hyps, errors, speakers)
    text = (tmp_path / "align.txt").read_text()
    assert "id: (s1-b) (no hypothesis)\nScores: (#C #S #D #I) 0 0 1 0\nREF:  Z\nHYP:  ***\nEval: D\n" in text
    assert "Scores: (#C #S #D #I) 1 0 1 0" in text and "Scores: (#C #S #D #I) 1 0 0 1" in text
    rows = [re.split(r"\s+", line.strip()) for line in speaker_table(errors, speakers)]
    assert rows[1:] == [["s1", "2", "3", "0", "2", "0", "66.67"], ["s2", "1", "1", "1", "0", "0", "100.00"],
                        ["all", "3", "4", "1", "2", "0", "75.00"]]
    assert text.endswith("75.00\n")
