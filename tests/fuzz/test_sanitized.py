"""The compiled search stays within its arrays for all files that the readers accept."""

import os
import re
import subprocess
import sys

import pytest
from helpers import ROOT

COUNT = int(os.environ.get("LSTMP_FUZZ", "1000"))


def asan() -> str | None:
    """The library of g++'s AddressSanitizer, which must be loaded before Python."""
    try:
        found = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return None
    return found if os.path.isabs(found) else None


@pytest.mark.slow
@pytest.mark.skipif(asan() is None, reason="no g++ with AddressSanitizer")
def test_damaged_graphs_and_lattices_under_addresssanitizer(tmp_path):
    environment = os.environ | {"LD_PRELOAD": asan(), "ASAN_OPTIONS": "detect_leaks=0", "CXX": "g++",
                                "TORCH_EXTENSIONS_DIR": str(tmp_path / "built"),
                                "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests", ROOT)))}
    done = subprocess.run([sys.executable, str(ROOT / "tests/fuzz" / "sanitized.py"), str(tmp_path), str(COUNT), "1"],
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    accepted, refused = map(int, re.findall(r"\d+", done.stdout.strip().splitlines()[-1]))
    assert accepted > COUNT / 10 and refused > COUNT / 10 and accepted + refused == 2 * COUNT
    assert "not compiled" not in done.stderr, done.stderr
