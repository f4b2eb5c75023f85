"""Utterances that are left out: the first few are named, the others counted."""

import pytest

from lstmp.corpus.bad import LeftOut


@pytest.mark.parametrize("count, more", [(0, None), (5, None), (6, "1 more utterances of data/x are left out"),
                                         (300, "295 more utterances of data/x are left out")])
def test_the_first_are_named_and_the_others_counted(count, more, capsys):
    left_out = LeftOut("data/x")
    for n in range(count):
        left_out.add(f"utt{n}", f"error {n}")
    left_out.done()
    lines = capsys.readouterr().err.splitlines()
    assert len(left_out) == count and left_out.first == ("utt0: error 0" if count else "")
    named = [line for line in lines if " is left out: error " in line]
    assert len(named) == min(count, 5) and all(f"utt{n} is left out: error {n}" in named[n] for n in range(len(named)))
    assert [more in line for line in lines[len(named):]] == [True] if more else len(lines) == len(named)
