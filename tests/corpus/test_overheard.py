"""Messages of the MP3 decoder are counted; other output is passed on."""

import os
import sys

from lstmp.corpus.overheard import CapturedStderr


def test_lines_are_counted_or_passed_on(capfd):
    with CapturedStderr() as captured:
        os.write(2, b"[src/libmpg123/layer3.c:1] error: dequantization failed!\nof somebody else\n")
        print("and of Python", file=sys.stderr)
        os.write(2, b"[src/libmpg123/parse.c:2] warning: what\n")
    assert captured.complaints == 2 and {*capfd.readouterr().err.splitlines()} == {"of somebody else", "and of Python"}
    with captured:
        os.write(2, b"libmpg123: again\n")
    assert captured.complaints == 3 and capfd.readouterr().err == ""


def test_program_without_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with CapturedStderr() as captured:
        pass
    assert captured.complaints == 0
