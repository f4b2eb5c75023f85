"""Tensors on disk: safetensors files, written to a temporary name and renamed, with the mode of any other file."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lstmp import files
from lstmp.errors import UserError, naming


def write_tensors(path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None):
    """Write a safetensors file; a killed run leaves the old file or the new one, never half a file.

    Raises:
        OSError: the disk is full, the folder cannot be written to …
        UserError: for any other reason that safetensors gives.
    """
    path = Path(path)
    try:
        with files.replacing(path) as tmp:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, str(tmp), metadata)
            mask = os.umask(0)
            os.umask(mask)
            tmp.chmod(0o666 & ~mask)  # safetensors writes for the owner alone
    except SafetensorError as e:
        if number := re.search(r"os error (\d+)", str(e)):  # a full disk and the like: said as for any other file
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise UserError(f"cannot be written: {e}", file=path,
                        hint="check the free space and the folder's mode") from None


def read_tensors(path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: it is missing or damaged.
    """
    with opened(path, "not a safetensors file, or cut off", "delete it and run the stage that makes it again") as f:
        return {name: f.get_tensor(name) for name in f.keys()}


@contextlib.contextmanager
def opened(path, what: str, hint: str, missing=("no such file", "run the stage that makes it"),
           framework: str = "pt") -> Iterator:
    """A safetensors file for reading; what its body finds wrong with names or metadata is a fault of the file as well.

    Args:
        what: what to say of a damaged file, with the hint ``hint``.
        missing: the same for none.
        framework: pt or np.

    Raises:
        UserError: it is missing or damaged.
    """
    if not Path(path).is_file():
        raise UserError(missing[0], file=path, hint=missing[1])
    try:
        with naming(path), safe_open(str(path), framework) as f:
            yield f
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError):  # so it tells of kinds of numbers, too
        raise UserError(what, file=path, hint=hint) from None


def are(kind: str, *tensors, dims: int = 1) -> bool:
    """Whether all tensors or arrays hold numbers of a kind (as ``int32``) and have so many dimensions."""
    return all(str(t.dtype).removeprefix("torch.") == kind and t.ndim == dims for t in tensors)
