"""Ids as file names: they stay inside the folder, are unique, and ordinary ids are unchanged."""

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lstmp.corpus.ids import MAX_BYTES, file_name, id_error
from lstmp.errors import UserError

IDS = st.text(min_size=1, max_size=12).filter(lambda s: id_error(s) is None)


@pytest.mark.parametrize("name", ["19-198-0001", "sp0.9-a_b+c", "Ünïcode-名-٣", "a=b,c;d@e#f'g", "x..y"])
def test_ordinary_id_is_unchanged(name):
    assert file_name(name) == name


@pytest.mark.parametrize(("name", "expected"), [
    ("../a", "%2E.%2Fa"), ("/etc/passwd", "%2Fetc%2Fpasswd"), ("..", "%2E."), (".", "%2E"), (".hidden", "%2Ehidden"),
    ("a%2Fb", "a%252Fb"), ("a\\b", "a%5Cb"), ("a\u202eb", "a%E2%80%AEb")])
def test_special_characters_are_percent_encoded(name, expected):
    assert file_name(name) == expected


@given(st.lists(IDS, min_size=2, max_size=8, unique=True))
@example(["a/b", "a%2Fb", "a%252Fb", ".a", "%2Ea", "/", ".", "..", "../x"])
def test_file_names_are_unique_and_inside_the_folder(ids):
    names = [file_name(i) for i in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        assert os.path.normpath(Path("/folder") / f"{name}.wav") == f"/folder/{name}.wav" and not name.startswith(".")


@pytest.mark.parametrize(("name", "why"), [
    ("", "empty"), ("a b", "space"), ("a\u00a0b", "space"), ("a\x07b", "U+0007"), ("a\0", "U+0000"),
    ("a" * (MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes"), ("/" * MAX_BYTES, f"{3 * MAX_BYTES} bytes"),
    ("名" * 67, "201 bytes")])
def test_invalid_id_is_rejected(name, why):
    assert why in id_error(name)
    with pytest.raises(UserError, match="cannot name a file"):
        file_name(name)


def test_longest_id_leaves_room_for_extension_and_temporary_name(tmp_path):
    path = tmp_path / f".sp1.23457-{file_name('a' * MAX_BYTES)}.TextGrid.{2**22}.tmp"
    path.touch()
    assert path.is_file()
