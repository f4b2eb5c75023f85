"""Chooses what a step computes on: the device from its ``--device`` (``cpu``, ``cuda``, or ``auto``), and the memory.

For the training of networks, ``auto`` means the GPU if torch finds one. The other steps run many processes at once,
which suits CPU cores better: there ``auto`` means the CPU, and a GPU is used only with ``cuda``.
"""

import argparse
import math

import torch

from lstmp.errors import UserError
from lstmp.log import say

CHOICES = "auto, cpu or cuda"
DEFAULT_MEMORY = 1.75  # GiB of data that a process of a training keeps


def for_training(device: str) -> str:
    """Return ``cpu`` or ``cuda``, for the training of a network; a GPU is announced.

    Raises:
        UserError: this machine has no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if _checked(device) == "cuda":
        say("training on the GPU (--device cpu: on the CPU)")  # to ask for its name would start CUDA before the forks
    return device


def for_processes(device: str) -> str:
    """Return ``cpu`` or ``cuda``, for a step whose processes share the work.

    Raises:
        UserError: this machine has no such device.
    """
    return _checked("cpu" if device == "auto" else device)


def _checked(device: str) -> str:
    if device not in ("cpu", "cuda"):
        raise UserError(f"no such device as {device}", hint=f"give --device {CHOICES}")
    if device == "cuda" and not torch.cuda.is_available():
        if torch.version.cuda is None:
            raise UserError(f"no GPU that torch can use: torch {torch.__version__} is a build for the CPU",
                            hint="give --device cpu, or install a build of torch for CUDA; in a checkout, delete .venv "
                                 "and run LSTMP_ENV=current local/env.sh")
        raise UserError("no GPU that torch can use", hint="give --device cpu, or check the output of nvidia-smi")
    return device


def memory_size(text: str) -> float:
    """The value of an option ``--memory``, in GiB; an error of argparse if it is not a number above 0."""
    try:
        if 0 < (value := float(text)) < math.inf:
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"`{text}` is not a number of GiB above 0")
