"""A full disk and a read-only disk, in a separate mount namespace, where that is allowed."""

import re
import shutil
import subprocess
import sys

import pytest
from helpers import small_experiment as w


def in_small_disk(root, options: str, script: str) -> subprocess.CompletedProcess:
    """Run ``script`` with a new file system, mounted with ``options``, at ``root``/disk."""
    (root / "disk").mkdir()
    mount = f"mount -t tmpfs -o {options} none {root}/disk"
    for flags in ("-m", "-rm"):
        if subprocess.run(["unshare", flags, "sh", "-c", mount], capture_output=True).returncode == 0:
            return subprocess.run(["unshare", flags, "sh", "-c", f"{mount} && {script}"], cwd=w.ROOT,
                                  capture_output=True, text=True)
    pytest.skip("no mounts allowed here")


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
@pytest.mark.parametrize(("options", "words"), [("size=16k", "disk is full"), ("ro", "read-only")])
@pytest.mark.parametrize("command", ["lstmp.features.extract --kind mfcc --config {root}/conf/mfcc.yaml --nj 1 "
                                     "--out {disk}/train {root}/data/train",
                                     "lstmp.gmm.train_mono --data {root}/data/train --lang {root}/data/lang "
                                     "--out {disk}/mono --config {root}/conf/mono.yaml"], ids=["ark", "model"])
def test_disk(root, options, words, command):
    before = w.snapshot(root)
    script = f"{sys.executable} -m {command.format(root=root, disk=f'{root}/disk')}"
    done = in_small_disk(root, options, script)
    errors = [line for line in re.split(r"[\r\n]", done.stderr) if line.startswith("error: ")]
    assert done.returncode == 1 and len(errors) == 1, done.stderr
    assert words in errors[0] and f"{root}/disk" in errors[0], errors
    assert "Traceback" not in done.stderr
    assert w.snapshot(root) == before
