"""Keeps what online recognition has heard of a speaker: a small file for each, ``<folder>/<speaker>.safetensors``.

It has the statistics of online CMVN, 2 numbers for each filter, so the first frames of the speaker's next recording are
normalized as well as the last ones of this recording.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path

import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.errors import UserError
from lstmp.features.extract import FbankConfig
from lstmp.tensors import opened, write_tensors

_STATS = "cmvn"


def speaker_file(folder, speaker: str) -> Path:
    """The file of a speaker.

    Raises:
        UserError: the id could leave the folder, or be hidden in it.
    """
    if not re.fullmatch(r"\w[\w.@+-]{0,100}", speaker):
        raise UserError(f"{speaker!r} cannot be the id of a speaker", hint="use letters, digits, `_`, `-`, `.`")
    return Path(folder) / f"{speaker}.safetensors"


def load_speaker(path: Path, fbank: FbankConfig, dim: int) -> Array | None:
    """The statistics of a speaker, float64 [2, D + 1]; None for a new one, without file.

    Args:
        fbank: configuration of the features.
        dim: D.

    Raises:
        UserError: the file is damaged, or of other features.
    """
    if not path.is_file():
        return None
    hint = "delete it, or give another --speakers"
    with opened(path, "not the statistics of a speaker, or cut off", hint) as f:
        stats, made_with = f.get_tensor(_STATS), config.json_value(f.metadata()["fbank"])
    if made_with != asdict(fbank) or tuple(stats.shape) != (2, dim + 1):
        raise UserError("it is of features with another configuration", file=path, hint=hint)
    if stats.dtype != torch.float64 or not bool(stats.isfinite().all()) or stats[0, -1] < 0:
        raise UserError("not the statistics of a speaker", file=path, hint=hint)
    return stats.numpy()


def save_speaker(path: Path, stats: Array, fbank: FbankConfig):
    """Write the statistics of a speaker, float64 [2, D + 1]; the file is the old one or the new one at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, {_STATS: torch.from_numpy(stats)}, {"fbank": json.dumps(asdict(fbank))})
