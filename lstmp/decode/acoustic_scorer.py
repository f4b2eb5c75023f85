"""One face for all acoustic models: features in, acoustic log-likelihoods of the tied states out.

A GMM gives log p(x | pdf). A network gives log posterior minus log prior, which is log p(x | pdf) up to a constant of
the frame, and that changes no decision (Bourlard and Morgan's hybrid).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lstmp.device import for_processes
from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig
from lstmp.gmm.model import AcousticModel
from lstmp.nnet.forward import AcousticNetwork
from lstmp.tensors import opened


@dataclass(frozen=True)
class AcousticScorer:
    """An acoustic model, loaded.

    Attributes:
        feature: what it takes as input.
        transform: linear transform [D, D'] of that (LDA+MLLT), or None.
        input_dim: D.
        num_pdfs: P, the number of tied states.
        adapts: whether its features are to be adapted to the speaker.
    """

    feature: FeatureConfig
    transform: torch.Tensor | None
    input_dim: int
    num_pdfs: int
    adapts: bool
    _score: Callable[[list[torch.Tensor]], list[torch.Tensor]]

    @torch.no_grad()
    def __call__(self, utterances: list[torch.Tensor]) -> list[torch.Tensor]:
        """Features of several utterances, each [T, D], T > 0 → for each float32 [T, P] on the CPU, natural logarithms.

        Together they are quicker with a network, most of all where their lengths are alike.
        """
        return [scores.float().cpu() for scores in self._score(utterances)] if utterances else []


def load_acoustic_scorer(model_dir: Path | str, device: str = "cpu", plain: bool = False) -> AcousticScorer:
    """Load the GMM or the network of ``model_dir``; with ``plain``, a GMM's speaker-independent mixtures.

    Raises:
        UserError: no such folder or device, a missing or damaged file, or neither a GMM nor a network in it.
    """
    path = Path(model_dir) / "final.safetensors"
    names = _tensor_names(path)
    for_processes(str(device))
    if "log_priors" in names:
        network = AcousticNetwork.load(model_dir, device)
        return AcousticScorer(network.feature, None, len(network.model.feature_mean), network.num_pdfs, False, network.batch)
    if "means" in names:
        model = AcousticModel.load(model_dir, device)
        model = model.speaker_independent() if plain else model
        gmms = model.mixtures
        return AcousticScorer(model.input, model.transform, gmms.dim, gmms.num_pdfs, model.si_gmms is not None,
                      lambda utterances: [gmms.loglikes(feats.to(device)) for feats in utterances])
    raise UserError("neither a GMM nor a network", file=path, hint="give the folder of a trained model")


def is_network(model_dir: Path | str) -> bool:
    """Whether a network, and no GMM, lies in a folder."""
    return "log_priors" in _tensor_names(Path(model_dir) / "final.safetensors")


def _tensor_names(path: Path) -> set[str]:
    missing = "this is a model of Kaldi's: take it over with steps/import_kaldi_model.sh" \
        if path.with_name("final.mdl").is_file() else "check --model, or train the model first"
    with opened(path, "not a safetensors file, or cut off", "train the model again", ("no such file", missing)) as f:
        return set(f.keys())
