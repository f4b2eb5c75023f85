"""Errors are reported in one line, in the calling process and from worker processes."""

import errno
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from lstmp.errors import UserError, command, fail, naming
from lstmp.features.load import affine_transform
from lstmp.log import progress
from lstmp.message import pack
from lstmp.parallel import run_jobs


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
    ({}, "bad thing"), ({"hint": "do so"}, "bad thing; do so"), ({"file": "a/b.txt"}, "a/b.txt: bad thing"),
    ({"file": "b.txt", "line": 3}, "b.txt:3: bad thing"),
    ({"file": "b.txt", "line": 3, "hint": "do so"}, "b.txt:3: bad thing; do so")])
def test_the_message_is_one_line(kwargs, text, capsys):
    assert str(UserError("bad thing", **kwargs)) == text
    assert run(raising(UserError("bad thing", **kwargs)), capsys) == (1, f"error: {text}\n")


def test_line_breaks_are_removed():
    assert str(UserError("a\n  b", file="f", hint="c\nd")) == "f: a b; c d"


def test_an_error_can_be_pickled():
    e = pickle.loads(pickle.dumps(UserError("what", file="f", line=2, hint="m")))
    assert (str(e), e.what, e.file, e.line, e.hint) == ("f:2: what; m", "what", "f", 2, "m")


@pytest.mark.parametrize("number, part", [
    (errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission denied"),
    (errno.ENOENT, "no such file"), (errno.EISDIR, "folder, not a file"), (errno.EIO, "Input/output error"),
    (errno.ENAMETOOLONG, "File name too long")])
def test_errors_of_the_operating_system_give_one_line(number, part, capsys):
    code, err = run(raising(OSError(number, os.strerror(number), "some/file")), capsys)
    assert code == 1 and err.startswith("error: some/file: ") and part in err and err.count("\n") == 1


def test_running_out_of_memory_gives_one_line(capsys):
    for e in (MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
              RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")):
        code, err = run(raising(e), capsys)
        assert code == 1 and "out of memory" in err and err.count("\n") == 1


def test_a_memory_error_names_the_file_or_the_function(capsys):
    def main(argv):
        with naming("big.ark"):
            raise MemoryError("Unable to allocate 14.9 GiB for an array with shape (1, 2)")
    assert run(main, capsys)[1].startswith("error: big.ark: out of memory, 14.9 GiB requested; lower --nj")
    err = run(lambda argv: pack(np.lib.stride_tricks.as_strided(np.zeros(1), (1 << 45,), (0,))), capsys)[1]
    assert err.startswith("error: out of memory, 256. TiB requested in lstmp.message.pack; ") and err.count("\n") == 1
    err = run(lambda argv: affine_transform(torch.zeros(1, 1).expand(1 << 44, 1), torch.ones(1, 2)), capsys)[1]
    assert re.match(r"error: out of memory, \d+ bytes requested in lstmp.features.load.affine_transform; ", err), err
    assert "f.txt: out of memory" in run(raising(OSError(errno.ENOMEM, "Cannot allocate memory", "f.txt")), capsys)[1]


@pytest.mark.parametrize("nj", [1, 2])
def test_a_memory_error_of_a_worker_names_the_file(nj, capsys):
    def work(item):
        with naming(f"file{item}"):
            raise MemoryError
    err = run(lambda argv: run_jobs(work, [1, 2, 3], nj, "work"), capsys)[1]
    assert err.strip().splitlines()[-1] == "error: file1: out of memory; lower --nj or the batch size in conf/"


def test_too_little_memory_to_import_torch_gives_one_line():
    code = "ulimit -v 1200000; exec \"$0\" -m lstmp.decode.decode --help"
    done = subprocess.run(["bash", "-c", code, sys.executable], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: out of memory while packages are loaded; ")
    assert done.stderr.count("\n") == 1


def test_naming_keeps_a_file_that_is_already_named(tmp_path):
    with pytest.raises(FileNotFoundError) as e, naming("out"):
        open(tmp_path / "in")
    assert e.value.filename == str(tmp_path / "in")
    with pytest.raises(OSError) as e, naming("out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (e.value.filename, e.value.errno) == ("out", errno.ENOSPC)


def test_a_system_error_without_a_file_names_the_function(capsys):
    def work(item):
        raise OSError(errno.ENOSPC, "No space left on device")
    err = run(lambda argv: run_jobs(work, [1], 1, "x"), capsys)[1]
    assert "error: lstmp.parallel._iter_here: the disk is full" in err


def test_interrupt(capsys):
    code, err = run(raising(KeyboardInterrupt()), capsys)
    assert code == 130 and "run the same command again" in err


@pytest.mark.parametrize("e", [ValueError("ours"), RuntimeError("ours"), OSError("without a number"), KeyError("x")])
def test_bugs_keep_their_traceback(e):
    with pytest.raises(type(e)):
        command(raising(e))(None)


def test_an_error_starts_on_a_new_line_below_a_progress_bar(capsys):
    def main(argv):
        for i in progress(range(3), "work"):
            if i == 1:
                raise UserError("bad thing")
    code, err = run(main, capsys)
    assert code == 1 and err.splitlines()[-1] == "error: bad thing"


def test_success_and_exits_of_argparse_are_passed_on():
    assert command(lambda argv: None)(None) is None
    with pytest.raises(SystemExit) as e:
        command(raising(SystemExit(2)))(None)
    assert e.value.code == 2


def test_a_closed_output_pipe_gives_no_message():
    code = "from lstmp.errors import command\n@command\ndef main(argv=None):\n for i in range(10**6): print(i)\nmain()"
    done = subprocess.run(f"{sys.executable} -c '{code}' | head -1", shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_fail(capsys):
    with pytest.raises(SystemExit) as e:
        fail("so")
    assert e.value.code == 1 and capsys.readouterr() == ("", "error: so\n")


def test_quoted_input_is_escaped_and_shortened(capsys):
    from lstmp.log import warn
    e = UserError(f"odd \x1b[31m\u202e\udcff {'x' * 5000}", file="a\x07b", hint="fix it")
    assert str(e).startswith(r"a\x07b: odd \x1b[31m\u202e\udcff xxx") and str(e).endswith(" …; fix it")
    assert str(e).isprintable() and len(str(e)) < 1100
    warn("u\x1b[2J: é 名")
    assert capsys.readouterr().err == "warning: u\\x1b[2J: é 名\n"
