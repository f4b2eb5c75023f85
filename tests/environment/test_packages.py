"""Which pinned packages local/missing_packages.py counts as installed, and which packages are pinned."""

import re
import subprocess
import sys

import pytest
from helpers import ROOT
from packaging.requirements import Requirement

CHECK = ROOT / "local" / "missing_packages.py"
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.fixture
def package(tmp_path):
    """A folder with an installed package `toy` 1.0 of two files, and a requirements file that needs it."""
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


@pytest.mark.parametrize("version, complete", [("1.0+cpu", True), ("1.0+cu128", True), ("1.0.1+cpu", False)])
def test_a_build_of_the_pinned_version_counts(package, version, complete):
    (package / "site" / "toy-1.0.dist-info" / "METADATA").write_text(f"Name: toy\nVersion: {version}\n")
    assert ("toy==1.0" not in missing(package)) == complete


def test_only_lines_for_this_python_count(package):
    (package / "requirements.txt").write_text('toy==1.0; python_version >= "3"\ntoy==0.9; python_version < "3"\n'
                                              'new==5; python_version >= "3"\n')
    assert missing(package) == ["new==5"]


def lines(name: str) -> list[Requirement]:
    texts = [line.split("#")[0].split("--hash")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(text) for text in texts if text]


FILES = sorted(p.name for p in ROOT.glob("requirements*.txt"))


@pytest.mark.parametrize("name", FILES)
def test_requirements_are_pinned_for_every_python(name):
    """Each package has one exact release for each Python; packages for some versions of Python only are listed here."""
    only_some = {"six", "exceptiongroup", "tomli", "roman-numerals"}  # other versions contain or do not need them
    for requirement in lines(name):
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
    for version in VERSIONS:
        names = [r.name for r in lines(name) if r.marker is None or r.marker.evaluate({"python_version": version})]
        assert len(names) == len(set(names))
        assert set(names) | only_some == {r.name for r in lines(name)} | only_some, version


def test_a_set_pins_no_package_twice():
    current = ("requirements-current.txt", "requirements-cuda.txt", "requirements-gpu.txt")
    for parts in (("requirements-k2.txt",), current):
        names = [{r.name for r in lines(name)} for name in ("requirements.txt", "requirements-test.txt", *parts)]
        assert sum(map(len, names)) == len(set().union(*names))
