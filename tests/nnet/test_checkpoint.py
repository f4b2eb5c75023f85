"""Checkpoint files."""

import pytest
import torch

from lstmp.errors import UserError
from lstmp.nnet import checkpoint


def test_round_trip(tmp_path):
    tensors = {"a.b": torch.randn(3, 4), "a.c": torch.tensor(2.5), "x": torch.arange(3)}
    checkpoint.write(tmp_path / "new" / "m.safetensors", tensors, {"epoch": 3, "sums": {"loss": 0.1}})
    read, header = checkpoint.read(tmp_path / "new" / "m.safetensors", hint="")
    assert header == {"epoch": 3, "sums": {"loss": 0.1}} and read.keys() == tensors.keys()
    assert all(torch.equal(read[k], tensors[k]) for k in tensors)
    assert checkpoint.by_prefix("a", read).keys() == {"b", "c"}
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_cut_off_file_is_one_clear_line(tmp_path, keep):
    path = tmp_path / "m.safetensors"
    checkpoint.write(path, {"a": torch.randn(30, 4)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="m.safetensors: the checkpoint is cut off or damaged.*; delete it"):
        checkpoint.read(path, hint="delete it")


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint; train"):
        checkpoint.read(tmp_path / "none", hint="train first")
    from safetensors.torch import save_file
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(tmp_path / "foreign", hint="train first")


def test_average():
    mean = checkpoint.average([{"w": torch.tensor([1.0, 4.0])}, {"w": torch.tensor([3.0, 5.0])}])
    assert torch.equal(mean["w"], torch.tensor([2.0, 4.5])) and mean["w"].dtype == torch.float32
