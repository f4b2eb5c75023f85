"""Safetensors files are written completely or not at all, with the usual mode; a damaged one gives one line."""

import os
import stat

import pytest
import torch

from lstmp.errors import UserError
from lstmp.tensors import read_tensors, write_tensors


def test_a_file_has_the_usual_mode_and_can_be_read_again(tmp_path):
    previous = os.umask(0o027)
    try:
        write_tensors(tmp_path / "new" / "a.safetensors", {"x": torch.arange(6).view(2, 3).t()}, {"format": "1"})
    finally:
        os.umask(previous)
    path = tmp_path / "new" / "a.safetensors"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_tensors(path)["x"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("content", [b"", b"not a tensor file", None])
def test_a_missing_or_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match="a.safetensors"):
        read_tensors(path)


def test_an_error_of_the_operating_system_is_passed_on(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
