"""Messages between processes: values are preserved, and no message can run code."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lstmp import message
from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig

FEATURE = FeatureConfig("fbank", "none", 0)


@pytest.mark.parametrize("value", [
    None, True, 3, -0.1, 1e-320, "ä\n", [1, [2.5, None]], (1, "a", ()), {1, 2}, frozenset({"x"}), b"\0\xff",
    {"a": 1, 2: [3], ("b", 1): {}}, Path("a/b"), FEATURE, [(FEATURE, {"x": FEATURE})]])
def test_small_values_are_preserved(value):
    found = message.unpack(message.pack(value))
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_, np.complex64, "U3"])
def test_arrays_are_preserved(dtype):
    for array in (np.arange(12).reshape(3, 4).astype(dtype), np.arange(12).astype(dtype)[::2], np.zeros((0, 5), dtype),
                  np.array(7).astype(dtype)):
        found = message.unpack(message.pack({"x": [array], "y": 1}))["x"][0]
        assert isinstance(found, np.ndarray) and (found == array).all()
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.flags.writeable


def test_tensors_and_numbers_are_preserved():
    for tensor in (torch.rand(3, 4).t(), torch.tensor(2.5), torch.rand(5).bfloat16(), torch.empty(0, 3),
                   torch.tensor([True])):
        found = message.unpack(message.pack((tensor, torch.ones(2))))
        assert torch.equal(found[0], tensor) and found[0].dtype == tensor.dtype and torch.equal(found[1], torch.ones(2))
    number = message.unpack(message.pack(np.float32(0.1)))
    assert number == np.float32(0.1) and number.dtype == np.float32
    assert math.isnan(message.unpack(message.pack(math.nan))) and message.unpack(message.pack(-math.inf)) == -math.inf


def test_an_error_is_preserved():
    found = message.unpack(message.pack(UserError("bad", file=Path("f"), line=3, hint="fix")))
    assert str(found) == "f:3: bad; fix" and isinstance(found, UserError)


@pytest.mark.parametrize("value", [object(), print, np.array([object()]), ValueError("x")])
def test_values_that_cannot_be_sent_are_refused(value):
    with pytest.raises(TypeError, match="cannot be sent between processes"):
        message.pack([value])


def forged(content, rest=b"") -> torch.Tensor:
    head = json.dumps(content).encode()
    return torch.tensor(list(len(head).to_bytes(8, "little") + head + rest), dtype=torch.uint8)


@pytest.mark.parametrize("content", [
    {"object": ["os", "system"], "fields": {"command": "touch owned"}},
    {"object": ["lstmp.native", "subprocess.run"], "fields": {"args": ["touch", "owned"]}},
    {"object": ["lstmp.parallel", "run_jobs"], "fields": {}},
    {"object": ["lstmp.features.load", "dataclass"], "fields": {}},
    {"object": ["lstmp.features.load", "FeatureConfig"], "fields": {"kind": "fbank"}},
    {"object": ["lstmp.none", "None"], "fields": {}}, {"object": ["lstmp.config"], "fields": {}},
    {"array": ["O", [1], 0]}, {"array": ["<f4", [1 << 40], 0]}, {"array": ["<f4", [-1], 0]},
    {"tensor": ["nonsense", [], 0]}, {"what": 1}, {}, {"dict": [[{"dict": []}, 1]]}, {"error": []}])
def test_forged_messages_are_refused_and_run_nothing(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError):
        message.unpack(forged(content, bytes(8)))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("raw", [b"", b"\1", b"\xff" * 8, b"\2\0\0\0\0\0\0\0{", b"\x80\x04N." * 4])
def test_random_bytes_are_refused(raw):
    with pytest.raises(ValueError):
        message.unpack(torch.tensor(list(raw), dtype=torch.uint8))


def test_a_dataclass_keeps_its_checks():
    spoiled = message.pack(FEATURE).numpy().tobytes().replace(b'"fbank"', b'"nonee"')
    with pytest.raises(UserError, match="mfcc, fbank, fmllr or online_fmllr"):
        message.unpack(torch.tensor(list(spoiled), dtype=torch.uint8))
    assert dataclasses.is_dataclass(FEATURE)
