"""Reads and writes safetensors files. They are written to a temporary name and renamed, with the usual file mode."""

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
        UserError: any other error of safetensors.
    """
    path = Path(path)
    try:
        with files.replacing(path) as tmp:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, str(tmp), metadata)
            mask = os.umask(0)
            os.umask(mask)
            tmp.chmod(0o666 & ~mask)  # safetensors makes files that only the owner can read
    except SafetensorError as e:
        if number := re.search(r"os error (\d+)", str(e)):  # such as a full disk: reported as for any other file
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
    """Open a safetensors file for reading. Errors that the ``with`` block finds in names or metadata are reported too.

    Args:
        what: the message for a damaged file; ``hint`` is its hint.
        missing: message and hint for a missing file.
        framework: pt or np.

    Raises:
        UserError: it is missing or damaged.
    """
    if not Path(path).is_file():
        raise UserError(missing[0], file=path, hint=missing[1])
    try:
        with naming(path), safe_open(str(path), framework) as f:
            yield f
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError):  # also raised for unknown dtypes
        raise UserError(what, file=path, hint=hint) from None


def are(dtype: str, *tensors, dims: int = 1) -> bool:
    """Whether all tensors or arrays have this dtype (such as ``int32``) and this number of dimensions."""
    return all(str(t.dtype).removeprefix("torch.") == dtype and t.ndim == dims for t in tensors)
