"""Safetensors files: whole or not at all, readable by others, one line for a damaged one."""

import os
import stat

import pytest
import torch

from lstmp.errors import UserError
from lstmp.tensors import read_tensors, write_tensors


def test_written_and_read_again_with_the_mode_of_any_file(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "new" / "a.safetensors", {"x": torch.arange(6).view(2, 3).t()}, {"format": "1"})
    finally:
        os.umask(before)
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


def test_a_fault_of_the_system_is_told_as_such(tmp_path):
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)})
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
