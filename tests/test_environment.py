"""The check of installed packages that local/env.sh relies on."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHECK = ROOT / "local" / "missing_packages.py"


@pytest.fixture
def package(tmp_path):
    """A folder with one installed package `toy` 1.0 of two files, and a requirements file that asks for it."""
    site = tmp_path / "site"
    info = site / "toy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy.py").write_text("answer = 42\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    (info / "RECORD").write_text("toy.py,,12\ntoy-1.0.dist-info/METADATA,,\ntoy-1.0.dist-info/RECORD,,\n")
    (tmp_path / "requirements.txt").write_text("# a comment\ntoy==1.0  # pinned\nother==2.0 --hash=sha256:ab\n")
    return tmp_path


def missing(folder) -> list[str]:
    done = subprocess.run([sys.executable, str(CHECK), str(folder / "requirements.txt")], check=True, text=True,
                          capture_output=True, env={"PYTHONPATH": str(folder / "site")})
    return done.stdout.splitlines()


def test_complete_package_is_not_missing(package):
    assert missing(package) == ["other==2.0 --hash=sha256:ab"]


@pytest.mark.parametrize("spoil", [
    lambda site: (site / "toy.py").unlink(),
    lambda site: (site / "toy.py").write_text("ans"),
    lambda site: (site / "toy-1.0.dist-info" / "INSTALLER").unlink(),
    lambda site: (site / "toy-1.0.dist-info" / "METADATA").write_text("Name: toy\nVersion: 1.1\n"),
], ids=["file gone", "file cut off", "killed before the end", "another version"])
def test_incomplete_package_is_missing(package, spoil):
    spoil(package / "site")
    assert missing(package)[0] == "toy==1.0"


def test_requirements_are_pinned():
    for name in ("requirements.txt", "requirements-k2.txt", "requirements-test.txt"):
        lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
        assert all("==" in line for line in lines if line)
