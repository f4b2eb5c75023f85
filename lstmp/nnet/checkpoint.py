"""Checkpoints: tensors and a JSON header in one safetensors file, written to a temporary name and renamed."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from lstmp.errors import UserError
from lstmp.tensors import write_tensors


def write(path, tensors: dict[str, torch.Tensor], header: dict):
    """Write tensors by name, and ``header``, any JSON-able mapping."""
    write_tensors(path, tensors, {"lstmp": json.dumps(header)})


def read(path, mend: str) -> tuple[dict[str, torch.Tensor], dict]:
    """Read what :func:`write` wrote: (tensors, header).

    Raises:
        UserError: no such file, or cut off or damaged; ``mend`` is what to do then.
    """
    if not Path(path).is_file():
        raise UserError("no such checkpoint", file=path, mend=mend)
    try:
        with safe_open(str(path), framework="pt") as f:
            header = json.loads((f.metadata() or {})["lstmp"])
            return {name: f.get_tensor(name) for name in f.keys()}, header
    except (SafetensorError, ValueError, KeyError) as e:
        raise UserError(f"the checkpoint is cut off or damaged ({str(e).splitlines()[0]})", file=path,
                        mend=mend) from None


def with_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """{name: tensor} → {prefix.name: tensor}."""
    return {f"{prefix}.{name}": t for name, t in tensors.items()}


def by_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names start with ``prefix.``, without it."""
    return {name[len(prefix) + 1:]: t for name, t in tensors.items() if name.startswith(prefix + ".")}


def average(tensors: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of several sets of weights, name by name, summed in float64."""
    return {name: (sum(t[name].double() for t in tensors) / len(tensors)).to(first.dtype)
            for name, first in tensors[0].items()}
