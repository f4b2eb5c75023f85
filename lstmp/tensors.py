"""Tensors on disk: safetensors files, written to a temporary name and renamed, with the mode of any other file."""

import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lstmp import temporary
from lstmp.errors import UserError, naming


def write_tensors(path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None):
    """Write a safetensors file; a killed run leaves the old file or the new one, never half a file.

    Raises:
        OSError: the disk is full, the folder cannot be written to …
        UserError: for any other reason that safetensors gives.
    """
    path = Path(path)
    try:
        with temporary.replacing(path) as tmp:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, str(tmp), metadata)
            mask = os.umask(0)
            os.umask(mask)
            tmp.chmod(0o666 & ~mask)  # safetensors writes for the owner alone
    except SafetensorError as e:
        if number := re.search(r"os error (\d+)", str(e)):  # a full disk and the like: said as for any other file
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
        raise UserError(f"cannot be written: {e}", file=path,
                        mend="check the free space and the folder's mode") from None


def read_tensors(path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        UserError: it is missing or damaged.
    """
    if not Path(path).is_file():
        raise UserError("no such file", file=path, mend="run the stage that makes it")
    try:
        with naming(path):
            return load_file(str(path))
    except (SafetensorError, ValueError):
        raise UserError("not a safetensors file, or cut off", file=path,
                        mend="delete it and run the stage that makes it again") from None
