"""Packs values into bytes, to be sent between processes: JSON for small values, arrays unchanged, no pickle.

A message can contain numbers, strings, containers, arrays, tensors, and objects of this package's dataclasses and
errors, which are only data. It cannot name a function to call.
"""

import dataclasses
import importlib
import json
import math
from pathlib import Path

import numpy as np
import torch

from lstmp.errors import UserError

_PLAIN = (type(None), bool, int, float, str)
_CONTAINERS = {"tuple": tuple, "set": set, "frozenset": frozenset}
_BFLOAT16 = "bfloat16"  # NumPy has no such type


def pack(value) -> torch.Tensor:
    """Pack a value into bytes, uint8 [n].

    Raises:
        TypeError: a part of the value cannot be sent.
    """
    arrays = _Arrays()
    header = json.dumps(_to_json(value, arrays)).encode()
    parts = [np.array([len(header)], "<i8"), np.frombuffer(header, np.uint8), *arrays]
    return torch.from_numpy(np.concatenate([np.ascontiguousarray(x).reshape(-1).view(np.uint8) for x in parts]))


def unpack(data: torch.Tensor):
    """Unpack the value that :func:`pack` has packed.

    Raises:
        ValueError: ``data`` is not such a message.
    """
    raw = data.numpy()
    try:
        begin = 8 + int(raw[:8].view("<i8")[0])
        return _from_json(json.loads(raw[8:begin].tobytes()), raw[begin:])
    except (KeyError, TypeError, IndexError, AttributeError, ImportError, StopIteration) as e:
        raise ValueError(f"a message that cannot be read: {e!r}") from None


class _Arrays(list[np.ndarray]):
    """The arrays of a message, and their size in bytes so far."""

    nbytes = 0

    def append(self, array: np.ndarray):
        super().append(array)
        self.nbytes += array.nbytes


def _to_json(value, arrays: _Arrays):
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [_to_json(x, arrays) for x in value]
    if isinstance(value, dict):
        return {"dict": [[_to_json(k, arrays), _to_json(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (np.ndarray, np.generic, torch.Tensor)):
        return _array(value, arrays)
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, bytes):
        return {"bytes": _to_json(np.frombuffer(value, np.uint8), arrays)}
    if isinstance(value, UserError):
        return {"error": [value.what, None if value.file is None else str(value.file), value.line, value.hint]}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith("lstmp."):
        fields = {f.name: _to_json(getattr(value, f.name), arrays) for f in dataclasses.fields(value) if f.init}
        return {"object": [type(value).__module__, type(value).__qualname__], "fields": fields}
    for name, container in _CONTAINERS.items():
        if isinstance(value, container):
            return {name: [_to_json(x, arrays) for x in value]}
    raise TypeError(f"a {type(value).__name__} cannot be sent between processes")


def _array(value, arrays: _Arrays) -> dict:
    tag = "tensor" if isinstance(value, torch.Tensor) else "array" if isinstance(value, np.ndarray) else "number"
    dtype = None
    if tag == "tensor":
        value = value.detach().cpu().contiguous()
        if value.dtype == torch.bfloat16:
            dtype, value = _BFLOAT16, value.view(torch.int16)
        value = value.numpy()
    if value.dtype.kind not in "biufcU":
        raise TypeError(f"an array of {value.dtype} cannot be sent between processes")
    begin = arrays.nbytes
    arrays.append(np.asarray(value))
    return {tag: [dtype or value.dtype.str, list(value.shape), begin]}


def _from_json(value, raw: np.ndarray):
    if isinstance(value, list):
        return [_from_json(x, raw) for x in value]
    if not isinstance(value, dict):
        return value
    tag, content = next(iter(value.items()))
    if tag == "dict":
        return {_from_json(k, raw): _from_json(v, raw) for k, v in content}
    if tag in _CONTAINERS:
        return _CONTAINERS[tag](_from_json(x, raw) for x in content)
    if tag == "path":
        return Path(content)
    if tag == "bytes":
        return _from_json(content, raw).tobytes()
    if tag == "error":
        what, file, line, hint = content
        return UserError(what, file=file, line=line, hint=hint)
    if tag == "object":
        module, name = content
        return _object(module, name, {k: _from_json(v, raw) for k, v in value["fields"].items()})
    dtype, shape, begin = content
    numpy_dtype = np.dtype("<i2" if dtype == _BFLOAT16 else dtype)
    if numpy_dtype.kind not in "biufcU" or tag not in ("tensor", "array", "number"):
        raise ValueError(f"a message with a {tag} of {dtype}")
    size = numpy_dtype.itemsize * math.prod(shape)
    if min(shape, default=0) < 0 or size > len(raw):
        raise ValueError(f"a message with an array of shape {shape} in {len(raw)} bytes")
    array = np.frombuffer(raw[begin:begin + size].tobytes(), numpy_dtype).reshape(shape).copy()
    if tag == "tensor":
        tensor = torch.from_numpy(array)
        return tensor.view(torch.bfloat16) if dtype == _BFLOAT16 else tensor
    return array if tag == "array" else array[()]


def _object(module: str, name: str, fields: dict):
    if not module.startswith("lstmp."):
        raise ValueError(f"a message with an object of {module}")
    cls = importlib.import_module(module)
    for part in name.split("."):
        cls = getattr(cls, part)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)) or cls.__module__ != module:
        raise ValueError(f"a message with a {name}, which is not a dataclass")
    return cls(**fields)
