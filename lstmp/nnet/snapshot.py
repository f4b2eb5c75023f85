"""last.safetensors: all that a training in progress depends on, so that it goes on as if nothing had happened."""

import errno
import os

import torch

from lstmp.errors import UserError
from lstmp.log import warn
from lstmp.nnet import checkpoint
from lstmp.nnet.model import State
from lstmp.nnet.optimizer import set_moments

_FIELDS = ("epoch", "batch", "rate_scale", "retries", "seconds", "history")  # of the trainer


def write(trainer, moments: dict[str, torch.Tensor], sums: dict, state: State | None):
    """Write the file.

    Args:
        trainer: a :class:`lstmp.nnet.trainer.Trainer`.
        moments: what the optimizer remembers.
        sums: of the epoch so far, of all processes.
        state: of all streams.

    A full disk in the middle of an epoch is only warned of: the checkpoint before stays.
    """
    tensors = checkpoint.with_prefix("model", dict(trainer.model.state_dict()))
    tensors |= checkpoint.with_prefix("optimizer", moments)
    for layer, (r, c) in enumerate(state or []):
        tensors |= {f"state.{layer}.r": r, f"state.{layer}.c": c}
    header = {"fingerprint": trainer.fingerprint, "sums": sums} | {name: getattr(trainer, name) for name in _FIELDS}
    try:
        checkpoint.write(trainer.last_path, tensors, header)
    except OSError as e:
        if not trainer.batch or e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        warn(f"{trainer.last_path}: {os.strerror(e.errno)}, no checkpoint is written; free some space. Training goes "
             "on and tries again; if it is killed, it goes on from the checkpoint before")


def read(trainer) -> tuple[State | None, dict] | None:
    """Set the trainer to what the file says. Returns the state of all streams and the sums; None if the file is of
    other data or settings.

    Raises:
        UserError: it is damaged.
    """
    tensors, header = checkpoint.read(trainer.last_path, hint="delete it to train from the start")
    if header.get("fingerprint") != trainer.fingerprint:
        return None
    try:
        trainer.model.load_state_dict(checkpoint.by_prefix("model", tensors))
        set_moments(trainer.optimizer, trainer.model, checkpoint.by_prefix("optimizer", tensors))
        for name in _FIELDS:
            setattr(trainer, name, header[name])
        state = checkpoint.by_prefix("state", tensors)
        return [(state[f"{n}.r"], state[f"{n}.c"]) for n in range(len(state) // 2)] or None, header["sums"]
    except (KeyError, RuntimeError):
        raise UserError("the checkpoint does not fit the network", file=trainer.last_path,
                        hint="delete it to train from the start") from None
