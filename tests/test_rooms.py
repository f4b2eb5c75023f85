"""The rooms of the package import in one direction: each imports only rooms before it in README.md's list."""

import ast
import re
from pathlib import Path

import pytest
from helpers import ROOT

import lstmp

PACKAGE = ROOT / "lstmp"


def rooms_of(text: str) -> list[str]:
    """The rooms of a text in which arrows join them, in order."""
    chain = re.search(r"(?:`[\w/]+`\s*→\s*)+`[\w/]+`", text)[0]
    return [name.removeprefix("lstmp/") for name in re.findall(r"`([\w/]+)`", chain)]


ORDER = rooms_of((ROOT / "README.md").read_text(encoding="utf-8"))


def imports(file: Path) -> list[tuple[int, str]]:
    """(line, dotted name) of each import of the package in a module, including those in functions."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{a.name}") for a in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, a.name) for a in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] == "lstmp"]


def room_of(name: str) -> str:
    """The room of a dotted name; "" for a module that all rooms use."""
    part = [*name.split("."), ""][1]
    return part if (PACKAGE / part / "__init__.py").is_file() and part else ""


def test_the_readme_and_the_package_name_every_room_once():
    assert sorted(ORDER) == sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))
    assert rooms_of(lstmp.__doc__) == ORDER


@pytest.mark.parametrize("room", ["", *ORDER])
def test_a_room_imports_only_rooms_before_it(room):
    before, used = set(ORDER[:ORDER.index(room)]) if room else set(), 0
    for file in PACKAGE.glob("*.py") if not room else (PACKAGE / room).rglob("*.py"):
        for line, name in imports(file):
            used += 1
            assert room_of(name) in before | {room, ""}, f"{file.relative_to(ROOT)}:{line} imports {name}"
    assert used > 5


def test_no_relative_import_hides_from_this_test():
    files = list(PACKAGE.rglob("*.py"))
    assert len(files) > 100
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level], file
