"""Temporary names: unique for each process, and removed when their process has ended."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lstmp import config, files
from lstmp.errors import UserError


@pytest.fixture(autouse=True)
def nothing_swept_yet(monkeypatch):
    monkeypatch.setattr(files, "_swept", set())


def left_by_killed(place: Path, code: str) -> list[str]:
    """The files that a process leaves in a folder when it is killed in the middle of ``code``."""
    before = set(os.listdir(place))
    head = "import os, signal\nfrom lstmp import files\n"
    done = subprocess.run([sys.executable, "-c", head + code])
    assert done.returncode == -signal.SIGKILL
    return sorted(set(os.listdir(place)) - before)


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def test_no_two_names_are_the_same():
    names = {files.temporary_name("folder/a.txt").name for _ in range(100)}
    assert len(names) == 100 and all(n.startswith(".a.txt.") and f".{os.getpid()}-" in n for n in names)
    assert len(os.fsencode(files.temporary_name("ä" * 120).name)) <= 255


def test_a_file_is_written_completely_or_not_at_all(tmp_path):
    with files.replacing(tmp_path / "new/f") as tmp:
        tmp.write_text("1")
        assert not (tmp_path / "new/f").exists()
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "new/f") as tmp:
        tmp.write_text("2")
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "new") == ["f"] and (tmp_path / "new/f").read_text() == "1"


def test_files_of_a_killed_process_are_removed_at_the_next_write(tmp_path):
    code = f"with files.replacing(r'{tmp_path}/big') as tmp:\n tmp.write_text('half')\n {KILL}"
    assert len(left_by_killed(tmp_path, code)) == 1
    code = f"with files.temporary_folder(r'{tmp_path}') as tmp:\n (tmp / 'x').write_text('half')\n {KILL}"
    assert len(left_by_killed(tmp_path, code)) == 1
    config.write_text(tmp_path / "other", "")
    assert os.listdir(tmp_path) == ["other"]


def test_the_systems_temporary_folder_is_cleaned_too(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (name,) = left_by_killed(tmp_path, "with files.temporary_folder() as tmp:\n"
                              f" (tmp / 'x').write_text('half')\n {KILL}")
    assert name.startswith("lstmp-")
    with files.temporary_folder() as made:
        assert os.listdir(tmp_path) == [made.name] and made.stat().st_mode & 0o777 == 0o700
    assert not os.listdir(tmp_path)


def test_only_files_of_our_ended_processes_on_this_machine_are_removed(tmp_path):
    code = f"with files.replacing(r'{tmp_path}/f') as tmp:\n tmp.write_text('half')\n {KILL}"
    (dead,) = left_by_killed(tmp_path, code)
    machine, pid, start = files.identity().replace("-", ".").split(".")
    kept = {
        "running": f".f.{machine}.{pid}-{start}.00000000.tmp", "of before, running": f".f.{pid}.tmp",
        "another machine": dead.replace(machine, "01234567"), "the user's": ".f.tmp", "a backup": "f.tmp",
        "somebody's folder": "lstmp-notes"}
    for name in kept.values():
        (tmp_path / name).write_text("")
    (tmp_path / ".f.linked").symlink_to(tmp_path / "f.tmp")
    other = dead.replace(".tmp", ".tmp").replace(dead.split(".")[-2], "ffffffff")
    (tmp_path / other).symlink_to(tmp_path / "f.tmp")
    if os.geteuid() == 0:
        kept["another user's"] = dead.replace(dead.split(".")[-2], "eeeeeeee")
        (tmp_path / kept["another user's"]).write_text("")
        os.chown(tmp_path / kept["another user's"], 12345, 12345)
    reused = f".f.{machine}.{pid}-{int(start) + 1}.00000000.tmp"  # another process had this number before
    (tmp_path / reused).write_text("")
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept.values(), ".f.linked", other])


def test_a_folder_is_replaced_in_one_step(tmp_path, monkeypatch):
    for exchange in (files._exchange, lambda a, b: False):
        monkeypatch.setattr(files, "_exchange", exchange)
        for text in ("1", "2", "3"):
            with files.temporary_folder(tmp_path) as work:
                (work / "m").mkdir()
                (work / "m/f").write_text(text)
                files.replace_folder(work / "m", tmp_path / "model")
            assert (tmp_path / "model/f").read_text() == text and os.listdir(tmp_path) == ["model"]


def test_a_folder_is_restored_after_a_killed_replacement(tmp_path):
    """If names cannot be exchanged, the process may be killed between the two steps."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model/f").write_text("old")
    left_by_killed(tmp_path, f"""
files._exchange = lambda a, b: False
replace, calls = os.replace, []
def once(a, b):
    if calls: {KILL}
    calls.append(1), replace(a, b)
os.replace = once
with files.temporary_folder(r'{tmp_path}') as work:
    (work / 'm').mkdir()
    files.replace_folder(work / 'm', r'{tmp_path}/model')""")
    assert not (tmp_path / "model").exists()
    files.sweep(tmp_path)  # removes the new folder, which may be incomplete, but not the old one
    assert files.hidden_folder(tmp_path / "model") is not None
    files.restore_folder(tmp_path / "model")
    assert (tmp_path / "model/f").read_text() == "old" and os.listdir(tmp_path) == ["model"]


WRITERS = {
    "text": "config.write_text(path, 'x' * 100_000)",
    "tensors": "import torch; from lstmp.tensors import write_tensors; write_tensors(path, {'x': torch.ones(100_000)})",
    "graph": "import numpy as np; from lstmp.corpus.fst import FstArrays; z = np.zeros(50_000, np.int32); "
             "FstArrays(0, z.astype(np.float32), z, z, z, z.astype(np.float32), z).write(path)",
    "archive": "import numpy as np; from lstmp.features.ark import ArkWriter\n"
               "with ArkWriter(path, path + '.scp') as w: w.write('u', np.ones((10_000, 9), np.float32))",
    "alignment": "import numpy as np; from lstmp.features.ark import write_gzipped_int_vectors as w; "
                 "w(path, [('u', np.random.RandomState(0).randint(0, 1 << 30, 100_000))])",
    "audio": "import numpy as np; from lstmp.corpus.audio import write_wav; write_wav(path, np.ones(100_000))",
    "copy": "open(os.devnull); config.copy_file(source, path)",
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_cannot_be_written_is_named(tmp_path, kind):
    """A limit on the file size simulates a full disk."""
    (tmp_path / "source").write_bytes(bytes(100_000))
    code = f"""
import os, resource
from lstmp import config
from lstmp.errors import command
path, source = r'{tmp_path}/out/made', r'{tmp_path}/source'
@command
def main(argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
    {WRITERS[kind].replace(chr(10), chr(10) + '    ')}
main()"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (1, 1) and lines[0].startswith(f"error: {tmp_path}/out/made: "), lines
    assert not os.listdir(tmp_path / "out")


def test_a_full_disk_names_the_file_at_every_step(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")
    for name in ("replace", "scandir"):
        with monkeypatch.context() as m:
            m.setattr(os, name, full)
            try:
                config.write_text(tmp_path / "f", "x")
            except OSError as e:
                assert e.filename == str(tmp_path / "f")
            assert set(os.listdir(tmp_path)) <= {"f"}
    with pytest.raises(UserError, match="mine"), files.replacing(tmp_path / "f"):
        raise UserError("mine")
