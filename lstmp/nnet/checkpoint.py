"""Reads and writes checkpoints: tensors and a JSON header in one safetensors file, written atomically."""

import json

import torch

from lstmp import config
from lstmp.tensors import opened, write_tensors


def write(path, tensors: dict[str, torch.Tensor], header: dict):
    """Write named tensors and ``header``, a mapping that JSON can represent."""
    write_tensors(path, tensors, {"lstmp": json.dumps(header)})


def read(path, hint: str) -> tuple[dict[str, torch.Tensor], dict]:
    """Read a file that :func:`write` wrote.

    Returns: (tensors, header).

    Raises:
        UserError: no such file, or it is cut off or damaged; ``hint`` says what to do then.
    """
    with opened(path, "the checkpoint is cut off or damaged", hint, ("no such checkpoint", hint)) as f:
        header = config.json_value(f.metadata()["lstmp"])
        if not isinstance(header, dict):
            raise TypeError
        return {name: f.get_tensor(name) for name in f.keys()}, header


def with_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename tensors from ``name`` to ``prefix.name``."""
    return {f"{prefix}.{name}": t for name, t in tensors.items()}


def by_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names start with ``prefix.``, with the prefix removed."""
    return {name[len(prefix) + 1:]: t for name, t in tensors.items() if name.startswith(prefix + ".")}


_ZERO = torch.zeros((), dtype=torch.float64)


def average(tensors: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several sets of weights, name by name, summed in float64."""
    return {name: (sum((t[name].double() for t in tensors), _ZERO) / len(tensors)).to(first.dtype)
            for name, first in tensors[0].items()}
