"""Keeps what online recognition has heard of a speaker: a small file for each, ``<folder>/<speaker>.safetensors``.

It has the statistics of online CMVN, 2 numbers for each filter, and of i-vectors or online fMLLR, so the first frames
of the speaker's next recording are normalized as well as the last ones of this recording.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Json
from lstmp.errors import UserError
from lstmp.features.extract import FbankConfig
from lstmp.features.history import Heard
from lstmp.gmm.fmllr import SpeakerStats
from lstmp.gmm.online_fmllr import IMPOSSIBLE
from lstmp.nnet.front import Front
from lstmp.tensors import are, opened, write_tensors

_FMLLR = ("fmllr_second", "fmllr_linear", "fmllr_weight")


def speaker_file(folder, speaker: str) -> Path:
    """The file of a speaker.

    Raises:
        UserError: the id could leave the folder, or be hidden in it.
    """
    if not re.fullmatch(r"\w[\w.@+-]{0,100}", speaker):
        raise UserError(f"{speaker!r} cannot be the id of a speaker", hint="use letters, digits, `_`, `-`, `.`")
    return Path(folder) / f"{speaker}.safetensors"


def load_speaker(path: Path, extraction: FbankConfig, front: Front, dim: int) -> Heard | None:
    """What was heard of a speaker; None for a new one, without file.

    Args:
        extraction: configuration of the features.
        front: the part of the network's input that depends on the speaker.
        dim: D, of the features.

    Raises:
        UserError: the file is damaged, or of other features, i-vectors or online fMLLR.
    """
    if not path.is_file():
        return None
    hint = "delete it, or give another --speakers"
    shapes = {"cmvn": (2, dim + 1), "counts": (front.gaussians,), "linear": (front.added,)}
    if front.adapter:
        statistics = SpeakerStats.zeros(front.adapter.dim).tensors()
        shapes |= {name: tuple(x.shape) for name, x in zip(_FMLLR, statistics, strict=True)}
    with opened(path, "not what was heard of a speaker, or cut off", hint, framework="np") as f:
        arrays = {name: f.get_tensor(name) for name in f.keys()}
        made_with = config.json_value(f.metadata()["made_with"])
    if made_with != _made_with(extraction, front) or {name: x.shape for name, x in arrays.items()} != shapes:
        raise UserError("it is of another network, or of features with another configuration", file=path, hint=hint)
    if arrays["cmvn"][0, -1] < 0 or not all(are("float64", x, dims=x.ndim) and np.isfinite(x).all()
                                            for x in arrays.values()):
        raise UserError("not what was heard of a speaker", file=path, hint=hint)
    fmllr = tuple(arrays.pop(name) for name in _FMLLR if name in arrays)
    heard = Heard(**arrays, fmllr=fmllr)
    try:
        if front.adapter:
            front.adapter.start(heard)
    except IMPOSSIBLE:
        raise UserError("not what was heard of a speaker", file=path, hint=hint) from None
    return heard


def save_speaker(path: Path, heard: Heard, extraction: FbankConfig, front: Front):
    """Write what was heard of a speaker; the file is the old one or the new one at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"cmvn": heard.cmvn, "counts": heard.counts, "linear": heard.linear,
              **dict(zip(_FMLLR, heard.fmllr, strict=False))}  # nothing without online fMLLR
    write_tensors(path, {name: torch.from_numpy(x) for name, x in arrays.items()},
                  {"made_with": json.dumps(_made_with(extraction, front))})


def _made_with(extraction: FbankConfig, front: Front) -> Json:
    """What the numbers depend on: they mean something else with other features, i-vectors or online fMLLR."""
    return asdict(extraction) | {"ivectors": front.digest}
