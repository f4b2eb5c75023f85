"""Starts the training of a network from the weights of another one, such as LF-MMI from cross entropy."""

from pathlib import Path

import numpy as np
import torch

from lstmp.errors import UserError
from lstmp.features.about import read_about
from lstmp.features.load import Features
from lstmp.features.online_cmvn import OnlineNormalization
from lstmp.gmm.ivector import NAME
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.gmm.online_fmllr import Adapter
from lstmp.log import say
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import has_priors
from lstmp.nnet.forward import check_adapter
from lstmp.nnet.front import Front
from lstmp.nnet.model import StateNetwork
from lstmp.stage import digest

FILES = ("final.safetensors", "config.yaml")
_OUTPUT = ("w_out", "b_out")


def front_for(cfg: LstmpConfig, data, initial=None, ivectors=None) -> Front | None:
    """The part of a network's input that depends on earlier frames; None if there is none.

    Args:
        data: the training data.
        initial: folder of the network from whose weights training starts, or None. Its normalization is kept.
        ivectors: folder of the i-vector extractor, if the configuration asks for one.

    Raises:
        UserError: i-vectors without `ivector_dim` or the other way round, or of other dimensions; and as
            :func:`online_normalization`.
    """
    if bool(cfg.ivector_dim) != bool(ivectors):
        raise UserError("`ivector_dim` and an i-vector extractor need each other",
                        hint="give --ivectors, and set `ivector_dim` in the configuration to its dimension")
    normalization = online_normalization(cfg, data, initial) if cfg.feature.online_cmvn else None
    if not cfg.ivector_dim:
        return Front(normalization) if normalization else None
    front = Front(normalization, str(Path(ivectors) / NAME))
    front.check(Features(data, cfg.feature).dim, cfg.ivector_dim)
    return front


def check_online_fmllr(cfg: LstmpConfig, data, num_pdfs: int, online_fmllr=None) -> None:
    """Check what the network needs for online fMLLR. The training data are adapted already.

    Args:
        data: the training data.
        num_pdfs: number of the network's states.
        online_fmllr: folder of steps/train_online_fmllr.sh, or None.

    Raises:
        UserError: it is missing, damaged, for other states, not what the training data were adapted with, or the
            configuration has no online fMLLR.
    """
    if (cfg.feature.kind == "online_fmllr") != bool(online_fmllr):
        raise UserError("`feature.kind: online_fmllr` and the folder for it need each other",
                        hint="give --online-fmllr, and set `feature.kind` in the configuration")
    if online_fmllr:
        path = Path(online_fmllr) / ONLINE_FMLLR
        check_adapter(Adapter.read(path), path, cfg, Features(data, cfg.feature).dim, num_pdfs)
        if (read_about(data) or {}).get("online_fmllr") != digest(path):
            raise UserError(f"the training data {data} were adapted with another file", file=path,
                            hint="make them with this one (steps/make_online_fmllr.sh)")


def online_normalization(cfg: LstmpConfig, data, initial=None) -> OnlineNormalization:
    """The online CMVN of a network that is trained on ``data``, or from the weights of the network ``initial``.

    Raises:
        UserError: the data dir has no statistics of its speakers; or there is no such network, or one without online
            CMVN.
    """
    if not initial:
        mean, variance = Features(data, cfg.feature).training_moments()
        # in float32, as the network keeps them
        return cfg.normalization(mean.astype(np.float32), variance.astype(np.float32))
    path = Path(initial) / FILES[0]
    weights, _ = checkpoint.read(path, "train that network again")
    if not {"cmvn_mean", "cmvn_variance"} <= set(weights):
        raise UserError(f"the network has no {cfg.feature.cmvn}", file=path, hint="give one with the same `feature`")
    return cfg.normalization(weights["cmvn_mean"].numpy(), weights["cmvn_variance"].numpy())


@torch.no_grad()
def start_from(folder, model: StateNetwork):
    """Give ``model`` the hidden layers and the normalization of features of a trained network.

    If both have equally many tied states, it also gets the output layer. With a second output layer, a network with
    priors (its training began with cross entropy) gives its output layer to this one, and to the first one without the
    priors in its bias: its outputs are then log-likelihoods up to a number for each frame, on which LF-MMI does not
    depend.

    Args:
        folder: a network folder.
        model: initialized; output layers that get no weights keep theirs.

    Raises:
        UserError: a file is missing or damaged, or the hidden layers have other sizes.
    """
    folder, hint = Path(folder), "give --init a network with the same input and the same hidden layers"
    weights, _ = checkpoint.read(folder / FILES[0], "train that network again")
    own, priors = model.state_dict(), weights.pop("log_priors", None)
    for name in sorted({*weights, *own} - {*_OUTPUT, "w_second", "b_second"}):
        shapes = [list(x[name].shape) if name in x else "no values" for x in (weights, own)]
        if shapes[0] != shapes[1]:
            raise UserError(f"`{name}` has {shapes[0]}, and {shapes[1]} in the new network", file=folder / FILES[0],
                            hint=hint)
    new = {name: x for name, x in weights.items() if name not in _OUTPUT}
    fits = "b_out" in weights and weights["w_out"].shape == own["w_out"].shape and priors is not None
    if fits:
        new |= {name: weights[name] for name in _OUTPUT}
    if fits and model.w_second is not None and priors is not None and has_priors(priors):
        new |= {"w_second": weights["w_out"], "b_second": weights["b_out"], "b_out": weights["b_out"] - priors}
    model.load_state_dict(own | new)
    say(f"training starts from the network {folder}" + ("" if fits else ", with a new output layer"))
