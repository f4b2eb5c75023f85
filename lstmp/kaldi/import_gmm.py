"""Take over a GMM that Kaldi trained: ``final.mdl``, ``tree`` and what says which features it takes.

``cmvn_opts`` says how features are normalized, ``delta_opts`` which derivatives they have, or ``final.mat`` and
``splice_opts`` which transform of how many frames; ``final.alimdl`` is the model for features that are not adapted to
the speaker. The folder that is written is one of ours, for steps/align.sh, steps/make_graph.sh and steps/decode.sh.
"""

import shlex
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.features.ark import read_mat
from lstmp.features.load import FeatureConfig
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.model import AcousticModel
from lstmp.kaldi.import_alignment import phone_numbers, phones_of, read_model, renumber
from lstmp.kaldi.model import read_gmm
from lstmp.log import say
from lstmp.stage import Stage

_READ = ("final.mdl", "tree", "final.mat", "final.alimdl", "cmvn_opts", "delta_opts", "splice_opts", "phones.txt")
_WRITTEN = ("final.safetensors", "tree.json", "topo", "config.yaml")


def import_model(kaldi, out, *, lang=None, kind: str = "mfcc") -> np.ndarray:
    """Write the model folder ``out`` from Kaldi's folder ``kaldi``, unless that is done.

    Args:
        lang: lang folder whose phone numbers to use, found by the phones' names; None leaves Kaldi's.
        kind: what features it takes: mfcc or fbank.

    Returns:
        int32 [num_tids + 1], Kaldi's transition-id → the written model's.

    Raises:
        UserError: a file is missing, damaged or does not belong to the others; HMMs, phones or features that cannot be
            taken over.
    """
    kaldi, out = Path(kaldi), Path(out)
    stage = Stage(out, "import", [*(kaldi / n for n in _READ), *([Path(lang) / "phones.txt"] if lang else [])],
                  {"kind": kind})
    tree, transitions = read_model(kaldi)
    new_tid = np.arange(transitions.num_tids + 1, dtype=np.int32)
    if lang is not None:
        names = kaldi / "phones.txt" if (kaldi / "phones.txt").is_file() else None
        numbers = phone_numbers(transitions, phones_of(transitions, names), names, Lang.load(lang, False))
        tree, transitions, new_tid = renumber(tree, transitions, numbers)
    if stage.is_done():
        return new_tid
    gmms = read_gmm(kaldi / "final.mdl")[1]
    feature, transform = _features(kaldi, kind, gmms.dim)
    model = AcousticModel(transitions, tree, gmms, feature, transform, _unadapted(kaldi, gmms))
    model.save(out, {"from": str(kaldi)})
    stage.mark([out / name for name in _WRITTEN])
    adapted = ", adapted to the speaker" if model.si_gmms else ""
    say(f"{out}: {tree.num_pdfs} pdfs, {gmms.num_gaussians} Gaussians, from {kaldi}; features: {kind}, cmvn "
        f"{feature.cmvn}, " + (f"derivatives of order {feature.deltas}" if transform is None else
                               f"transform {transform.shape[1]} → {transform.shape[0]}") + adapted)
    return new_tid


def _features(kaldi: Path, kind: str, dim: int) -> tuple[FeatureConfig, torch.Tensor | None]:
    """As Kaldi's steps/align_si.sh chooses: LDA where there is ``final.mat``, else derivatives."""
    cmvn = _options(kaldi / "cmvn_opts")
    normal = "none" if cmvn.get("norm-means") == "false" else (
        "mean_var" if cmvn.get("norm-vars") == "true" else "mean")
    if not (kaldi / "final.mat").is_file():
        order = _count(kaldi / "delta_opts", "delta-order", 2)
        if order not in (0, 1, 2) or dim % (1 + order):
            raise UserError(f"derivatives of order {order} for a model of {dim} dimensions", file=kaldi / "delta_opts",
                            hint="0, 1 and 2 can be taken over")
        return FeatureConfig(kind, normal, order), None
    mat = read_mat(str(kaldi / "final.mat"))
    left, right = (_count(kaldi / "splice_opts", f"{side}-context", 4) for side in ("left", "right"))
    columns = mat.shape[1]
    if columns > 1 and columns % (left + right + 1) == 1 and not mat[:, -1].any():
        mat, columns = mat[:, :-1], columns - 1
    if left != right or columns % (left + right + 1) or len(mat) != dim:
        raise UserError(f"a transform of {mat.shape[1]} to {len(mat)} dimensions, of {left} frames before and {right} "
                        f"after, for a model of {dim}", file=kaldi / "final.mat",
                        hint="a linear transform of as many frames before as after can be taken over")
    return FeatureConfig(kind, normal, 0), torch.from_numpy(np.ascontiguousarray(mat))


def _unadapted(kaldi: Path, gmms: DiagGmms) -> DiagGmms | None:
    path = kaldi / "final.alimdl"
    if not path.is_file():
        return None
    found = read_gmm(path)[1]
    if found.dim != gmms.dim or not found.offsets.equal(gmms.offsets):
        raise UserError("its mixtures do not have the Gaussians of final.mdl", file=path,
                        hint="delete it, to align and decode without adapting to the speaker")
    return found


def _options(path: Path) -> dict[str, str]:
    """``--name=value …`` as Kaldi's scripts leave them; no file, no options."""
    try:
        words = shlex.split(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []
    except ValueError as e:
        raise UserError(f"not `--name=value …`: {e}", file=path, line=1, hint="copy it again") from None
    options = {}
    for word in words:
        name, _, value = word.lstrip("-").partition("=")
        options[name] = value or "true"
    return options


def _count(path: Path, name: str, usual: int) -> int:
    """The whole number of an option; ``usual`` where it is not given."""
    text = _options(path).get(name, str(usual))
    if not config.is_count(text):
        raise UserError(f"`--{name}={text}` is not a whole number", file=path, hint="copy it again")
    return int(text)
