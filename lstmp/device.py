"""The device that a step computes on, as given by ``--device``: ``cpu``, ``cuda``, or ``auto``.

``auto`` is the GPU for the training of networks, where torch finds one. All else is done by many processes at once, for
which the processors are the better place; there ``auto`` is the CPU, and ``cuda`` must be asked for.
"""

import torch

from lstmp.errors import UserError
from lstmp.log import say

CHOICES = "auto, cpu or cuda"


def for_training(device: str) -> str:
    """``cpu`` or ``cuda``, for the training of a network; says so where it is the GPU.

    Raises:
        UserError: no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if _checked(device) == "cuda":
        say("training on the GPU (--device cpu: on the CPU)")  # its name would start CUDA, before processes are forked
    return device


def for_processes(device: str) -> str:
    """``cpu`` or ``cuda``, for a step whose processes share the work.

    Raises:
        UserError: no such device here.
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
        raise UserError("no GPU that torch can use", hint="give --device cpu, or look what nvidia-smi says")
    return device
