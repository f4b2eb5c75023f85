"""Saves and restores a training in last.safetensors, so that a resumed training ends as an uninterrupted one does.

The file holds the weights, the optimizer's state, the recurrent state of all streams, and a :class:`TrainingState`.
"""

import dataclasses
import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lstmp.errors import UserError
from lstmp.log import warn
from lstmp.nnet import checkpoint
from lstmp.nnet.model import RecurrentState, StateNetwork
from lstmp.nnet.optimizer import set_moments


def empty_sums() -> dict:
    """The running sums at the start of an epoch."""
    return {"loss": 0.0, "correct": 0, "frames": 0, "left_out": 0, "outside": 0, "seconds": 0.0, "cpu_seconds": 0.0}


@dataclass
class TrainingState:
    """The progress of a training, which the header of last.safetensors contains.

    Attributes:
        sums: loss, correct frames, frames, chunks left out, frames outside lattices (by criteria over sequences), and
            times of the current epoch so far: in memory those of this process, in the file those of all processes.
        epoch, batch: the next batch to train, both from 0.
        rate_scale: factor of the learning rate.
        retries: how often training has diverged and returned to a checkpoint.
        seconds: time spent in training, over all runs.
        history: the records of the finished epochs, as in log.jsonl.
    """

    sums: dict = field(default_factory=empty_sums)
    epoch: int = 0
    batch: int = 0
    rate_scale: float = 1.0
    retries: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


_FIELDS = [f.name for f in dataclasses.fields(TrainingState)]


def write(path: Path, fingerprint: str, model: StateNetwork, moments: dict[str, torch.Tensor], state: TrainingState,
          recurrent_state: RecurrentState | None):
    """Write the file.

    Args:
        fingerprint: digest of data and configuration.
        moments: the optimizer's state, from :func:`lstmp.nnet.optimizer.moments`.
        state: with the sums of all processes.
        recurrent_state: of all streams.

    If the disk is full in the middle of an epoch, this only warns, and the previous checkpoint stays.
    """
    tensors = checkpoint.with_prefix("model", dict(model.state_dict()))
    tensors |= checkpoint.with_prefix("optimizer", moments)
    for layer, (r, c) in enumerate(recurrent_state or []):
        tensors |= {f"state.{layer}.r": r, f"state.{layer}.c": c}
    header = {"fingerprint": fingerprint} | {name: getattr(state, name) for name in _FIELDS}
    try:
        checkpoint.write(path, tensors, header)
    except OSError as e:
        if not state.batch or e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        warn(f"{path}: {os.strerror(e.errno)}, no checkpoint is written; free some space. Training continues and will "
             "try again; if it is killed, it resumes from the previous checkpoint")


def read(path: Path, fingerprint: str, model: StateNetwork,
         optimizer: torch.optim.Optimizer) -> tuple[TrainingState, RecurrentState | None] | None:
    """Read the file, and set the model and the optimizer to its contents.

    Returns: the training state, with the sums of all processes, and the recurrent state of all streams, None between
        epochs. None instead of both if the file belongs to other data or another configuration.

    Raises:
        UserError: the file is damaged.
    """
    tensors, header = checkpoint.read(path, hint="delete it to train from the start")
    if header.get("fingerprint") != fingerprint:
        return None
    try:
        model.load_state_dict(checkpoint.by_prefix("model", tensors))
        set_moments(optimizer, model, checkpoint.by_prefix("optimizer", tensors))
        state = TrainingState(**{name: header[name] for name in _FIELDS})
        layers = checkpoint.by_prefix("state", tensors)
        return state, [(layers[f"{n}.r"], layers[f"{n}.c"]) for n in range(len(layers) // 2)] or None
    except (KeyError, RuntimeError):
        raise UserError("the checkpoint does not fit the network", file=path,
                        hint="delete it to train from the start") from None
