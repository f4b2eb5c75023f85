"""Acoustic scores of a GMM or a network behind one interface: features → log-likelihoods of the tied states.

A GMM gives log p(x | pdf). A network gives log posterior minus log prior (the hybrid of Bourlard and Morgan). This is
log p(x | pdf) up to a constant for each frame, which does not change the result of the search.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lstmp.aliases import Array
from lstmp.device import for_processes
from lstmp.errors import UserError
from lstmp.features.history import Heard
from lstmp.features.load import FeatureConfig
from lstmp.gmm.model import AcousticModel
from lstmp.nnet.forward import AcousticNetwork
from lstmp.tensors import opened


@dataclass(frozen=True)
class AcousticScorer:
    """A loaded acoustic model.

    Attributes:
        feature: configuration of its input features.
        transform: linear transform [D, D'] of the features (LDA+MLLT), or None.
        input_dim: D.
        num_pdfs: P, the number of tied states.
        speaker_adapted: whether the model expects features that are adapted to the speaker.
        subsampling: S, the frames of the features for which there is one row of scores, and a lattice has one frame;
            1 except for networks with subsampling.
        listen: of a network whose input depends on what was heard of the speaker: see
            :meth:`.AcousticNetwork.listen`.
    """

    feature: FeatureConfig
    transform: torch.Tensor | None
    input_dim: int
    num_pdfs: int
    speaker_adapted: bool
    _score: Callable[[list[torch.Tensor], Sequence[Heard | None]], list[torch.Tensor]]
    subsampling: int = 1
    listen: Callable[[Array, Heard | None], Heard] | None = None

    @torch.no_grad()
    def __call__(self, utterances: list[torch.Tensor], heard: Sequence[Heard | None] = ()) -> list[torch.Tensor]:
        """Score several utterances: features [T, D] of each, T > 0 → float32 [T, P] on the CPU, natural logarithms.

        A network with subsampling S gives [⌈T / S⌉, P].

        A network scores several utterances at once faster than one by one, above all if their lengths are similar.
        ``heard``, for a network with a front: see :meth:`.AcousticNetwork.batch`.
        """
        return [scores.float().cpu() for scores in self._score(utterances, heard)] if utterances else []


def load_acoustic_scorer(model_dir: Path | str, device: str = "cpu", speaker_independent: bool = False,
                         network_weights: str = "fp32") -> AcousticScorer:
    """Load the GMM or the network in ``model_dir``; with ``speaker_independent``, those mixtures of a GMM.

    ``network_weights`` is what a network's recurrent weights are rounded to, on a CPU.

    Raises:
        UserError: no such folder or device, a missing or damaged file, or the folder has neither a GMM nor a network.
    """
    path = Path(model_dir) / "final.safetensors"
    names = _tensor_names(path)
    for_processes(str(device))
    if "log_priors" in names:
        network = AcousticNetwork.load(model_dir, device, network_weights)
        return AcousticScorer(network.feature, None, network.dim, network.num_pdfs, False, network.batch,
                              network.subsampling, network.listen if network.front else None)
    if "means" in names:
        model = AcousticModel.load(model_dir, device)
        model = model.speaker_independent() if speaker_independent else model
        gmms = model.mixtures
        return AcousticScorer(model.input, model.transform, gmms.dim, gmms.num_pdfs, model.si_gmms is not None,
                              lambda utterances, _: [gmms.loglikes(feats.to(device)) for feats in utterances])
    raise UserError("neither a GMM nor a network", file=path, hint="give the folder of a trained model")


def is_network(model_dir: Path | str) -> bool:
    """Whether the model in a folder is a network, not a GMM."""
    return "log_priors" in _tensor_names(Path(model_dir) / "final.safetensors")


def _tensor_names(path: Path) -> set[str]:
    missing = "this is a Kaldi model: import it with steps/import_kaldi_model.sh" \
        if path.with_name("final.mdl").is_file() else "give the folder of a trained model, such as exp/tiny/lstmp"
    with opened(path, "not a safetensors file, or cut off", "train the model again", ("no such file", missing)) as f:
        return set(f.keys())
