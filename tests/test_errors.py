import errno
import os
import pickle
import subprocess
import sys

import pytest

from lstmp.errors import UserError, command, fail
from lstmp.log import progress


def run(body, capsys):
    """Run ``body`` as a command's main: (exit status, stderr)."""
    with pytest.raises(SystemExit) as e:
        command(body)(None)
    return e.value.code, capsys.readouterr().err


def raising(exception):
    def main(argv):
        raise exception
    return main


@pytest.mark.parametrize("kwargs, text", [
    ({}, "bad thing"), ({"mend": "do so"}, "bad thing; do so"), ({"file": "a/b.txt"}, "a/b.txt: bad thing"),
    ({"file": "b.txt", "line": 3}, "b.txt:3: bad thing"),
    ({"file": "b.txt", "line": 3, "mend": "do so"}, "b.txt:3: bad thing; do so")])
def test_one_line(kwargs, text, capsys):
    assert str(UserError("bad thing", **kwargs)) == text
    assert run(raising(UserError("bad thing", **kwargs)), capsys) == (1, f"error: {text}\n")


def test_line_breaks_are_removed():
    assert str(UserError("a\n  b", file="f", mend="c\nd")) == "f: a b; c d"


def test_travels_between_processes():
    e = pickle.loads(pickle.dumps(UserError("what", file="f", line=2, mend="m")))
    assert (str(e), e.what, e.file, e.line, e.mend) == ("f:2: what; m", "what", "f", 2, "m")


@pytest.mark.parametrize("number, part", [
    (errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied"),
    (errno.ENOENT, "no such file"), (errno.EISDIR, "folder, not a file"), (errno.EIO, "Input/output error"),
    (errno.ENAMETOOLONG, "File name too long")])
def test_faults_of_the_system(number, part, capsys):
    code, err = run(raising(OSError(number, os.strerror(number), "some/file")), capsys)
    assert code == 1 and err.startswith("error: some/file: ") and part in err and err.count("\n") == 1


def test_memory(capsys):
    for e in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
              RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")):
        code, err = run(raising(e), capsys)
        assert code == 1 and "out of memory" in err and err.count("\n") == 1


def test_interrupt(capsys):
    code, err = run(raising(KeyboardInterrupt()), capsys)
    assert code == 130 and "run the same command again" in err


@pytest.mark.parametrize("e", [ValueError("ours"), RuntimeError("ours"), OSError("without a number"), KeyError("x")])
def test_our_own_mistakes_are_not_hidden(e):
    with pytest.raises(type(e)):
        command(raising(e))(None)


def test_error_begins_at_the_margin_below_a_bar(capsys):
    def main(argv):
        for i in progress(range(3), "work"):
            if i == 1:
                raise UserError("bad thing")
    code, err = run(main, capsys)
    assert code == 1 and err.splitlines()[-1] == "error: bad thing"


def test_success_and_argparse_pass():
    assert command(lambda argv: None)(None) is None
    with pytest.raises(SystemExit) as e:
        command(raising(SystemExit(2)))(None)
    assert e.value.code == 2


def test_a_reader_that_goes_away():
    code = "from lstmp.errors import command\n@command\ndef main(argv=None):\n for i in range(10**6): print(i)\nmain()"
    done = subprocess.run(f"{sys.executable} -c '{code}' | head -1", shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_fail(capsys):
    with pytest.raises(SystemExit) as e:
        fail("so")
    assert e.value.code == 1 and capsys.readouterr() == ("", "error: so\n")


def test_what_is_quoted_moves_no_cursor_and_fills_no_screen(capsys):
    from lstmp.log import warn
    e = UserError(f"odd \x1b[31m\u202e\udcff {'x' * 5000}", file="a\x07b", mend="mend it")
    assert str(e).startswith(r"a\x07b: odd \x1b[31m\u202e\udcff xxx") and str(e).endswith(" …; mend it")
    assert str(e).isprintable() and len(str(e)) < 1100
    warn("u\x1b[2J: é 名")
    assert capsys.readouterr().err == "warning: u\\x1b[2J: é 名\n"
