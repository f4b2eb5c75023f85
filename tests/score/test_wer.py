"""Counting word errors, and reading references and hypotheses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.score.wer import count_errors, read_hyps, read_refs, spelling_errors

words = st.lists(st.sampled_from("ABC"), max_size=7).map(tuple)


def levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, last = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(row[-1] + 1, last[j] + 1, last[j - 1] + (x != y)))
    return row[-1]


@given(words.filter(bool), words)
def test_the_number_of_errors_is_the_edit_distance_and_counts_are_consistent(ref, hyp):
    e = count_errors({"u": ref}, {"u": hyp})
    ins, dels, subs, n = e.counts[0].tolist()
    assert ins + dels + subs == levenshtein(ref, hyp) == e.errors[0]
    assert n == len(ref) and n - dels + ins == len(hyp) and 0 <= subs <= min(len(ref), len(hyp))


def test_the_rate_of_a_set_weights_utterances_by_words(decoded):
    refs = read_refs(decoded / "data" / "dev")
    e = count_errors(refs, read_hyps(decoded / "exp/mono/decode_tg_dev/scoring/9_0.0.txt"))
    assert e.utts == ("a-1", "a-2", "b-1")
    assert e.counts.tolist() == [[0, 0, 1, 4], [1, 0, 0, 2], [0, 0, 0, 1]]
    assert e.wer == pytest.approx(200 / 7) and e.words.dtype == np.int64


def test_missing_hypotheses_are_deletions():
    e = count_errors({"a": ("X", "Y"), "b": ("Z",)}, {"b": ("Z",)})
    assert e.missing == ("a",) and e.counts.tolist() == [[0, 2, 0, 2], [0, 0, 0, 1]]


def test_an_empty_hypothesis_is_not_missing(tmp_path):
    (tmp_path / "h.txt").write_text("a\nb Z\n")
    hyps = read_hyps(tmp_path / "h.txt")
    assert hyps == {"a": (), "b": ("Z",)}
    assert count_errors({"a": ("X",), "b": ("Z",)}, hyps).missing == ()


@pytest.mark.parametrize("text, message", [("a X\na Y\n", ":2: `a` is given twice"), ("a X\n\n", ":2: blank line")])
def test_malformed_hypotheses(tmp_path, text, message):
    (tmp_path / "h.txt").write_text(text)
    with pytest.raises(UserError, match=r"h\.txt" + message):
        read_hyps(tmp_path / "h.txt")


def test_hypotheses_in_other_forms(tmp_path, capsys):
    """Sclite's, and with the symbols around and between words."""
    (tmp_path / "h.trn").write_text("A B (u-1)\n(u-2)\nC (D) (u-3) \n")
    assert read_hyps(tmp_path / "h.trn") == {"u-1": ("A", "B"), "u-2": (), "u-3": ("C", "(D)")}
    assert capsys.readouterr().err == ""
    (tmp_path / "h.txt").write_text("a (LAUGHTER)\nb (NOISE)\n")
    assert read_hyps(tmp_path / "h.txt") == {"a": ("(LAUGHTER)",), "b": ("(NOISE)",)}
    (tmp_path / "h.txt").write_text("a <s> A <eps> (B) </s>\nb C 5 6\n")
    assert read_hyps(tmp_path / "h.txt") == {"a": ("A", "(B)"), "b": ("C", "5", "6")}
    assert "h.txt: 3 symbols that are no words are left out" in capsys.readouterr().err


@pytest.mark.parametrize("line, kind", [("u A spk 0.0 3.25 <o,f0> A B\n", "STM"), ("u 1 0.50 0.25 A 0.9\n", "CTM")])
def test_files_with_times_are_no_hypotheses(tmp_path, line, kind):
    (tmp_path / "h").write_text(";; comment\n" + line)
    with pytest.raises(UserError, match=f"h:1: there are times in each line, as in {kind} files; write"):
        read_hyps(tmp_path / "h")


def test_unknown_utterances_and_unreadable_files_are_errors(tmp_path):
    with pytest.raises(UserError, match="h.txt:1: `zz` is not in the reference"):
        count_errors({"a": ("X",)}, {"zz": ("X",)}, tmp_path / "h.txt")
    with pytest.raises(UserError, match="h.txt: no such file"):
        read_hyps(tmp_path / "h.txt")
    (tmp_path / "h.txt").write_bytes(b"a \xff\n")
    with pytest.raises(UserError, match="h.txt:1: not UTF-8"):
        read_hyps(tmp_path / "h.txt")
    with pytest.raises(UserError, match="no words"):
        count_errors({"a": ()}, {})


def test_letters_are_composed_and_joiners_kept(tmp_path):
    (tmp_path / "h.txt").write_bytes("\ufeffu1 CAFE\u0301\u00a0A\r\nu2\tمی\u200cخ\r\n".encode())
    assert read_hyps(tmp_path / "h.txt") == {"u1": ("CAFÉ", "A"), "u2": ("می\u200cخ",)}


def test_spelling_errors():
    refs = {"a": ("Hello", "it\u2019s", "ME"), "b": ("ME",), "c": ("ME",)}
    hyps = {"a": ("HELLO", "IT'S", "HE"), "b": ("me.",), "c": ()}
    assert spelling_errors(refs, hyps) == {("Hello", "HELLO"): 1, ("it\u2019s", "IT'S"): 1, ("ME", "me."): 1}
