"""An acoustic model and its folder: ``final.safetensors`` (transitions, mixtures, transform), ``tree.json``, ``topo``,
``config.yaml``.

Alignment and network folders have only the HMM part: ``transitions.safetensors`` with ``tree.json`` and ``topo``. A
network shares it with the GMM that aligned its training data.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from lstmp import config
from lstmp.corpus.lang import Lang
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError
from lstmp.features.load import FeatureConfig
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import Tree
from lstmp.tensors import are, read_tensors, write_tensors

_HINT = "the files of this folder do not belong together; train the model again"


@dataclass
class AcousticModel:
    """A GMM-HMM, or only its HMM part (``gmms=None``), which a network shares.

    Attributes:
        transitions, tree: the HMM states with their transitions and pdfs.
        gmms: the mixtures of the pdfs.
        feature: the features that the mixtures take as input.
        transform: linear transform of these features [D, D'] (LDA+MLLT), or None.
        si_gmms: speaker-independent mixtures of a speaker-adapted model (Kaldi's ``final.alimdl``), with the same
            Gaussians as ``gmms``, for features that are not adapted; None for any other model.
    """

    transitions: TransitionModel
    tree: Tree
    gmms: DiagGmms | None
    feature: FeatureConfig | None
    transform: torch.Tensor | None = None
    si_gmms: DiagGmms | None = None

    @classmethod
    def load(cls, directory, device="cpu") -> "AcousticModel":
        """Read a model folder, or the HMM part of an alignment or network folder.

        Raises:
            UserError: a file is missing or damaged, or does not fit the others.
        """
        directory = Path(directory)
        if not directory.is_dir():
            raise UserError("no such model folder", file=directory, hint="check the path, or train the model first")
        path = directory / "transitions.safetensors"
        if not path.is_file():
            path = directory / "final.safetensors"
        if not path.is_file() and (directory / "final.mdl").is_file():
            raise UserError("this is a Kaldi model", file=directory,
                            hint="import it with steps/import_kaldi_model.sh, and give the folder that this writes")
        tensors = read_tensors(path)
        if "tuples" not in tensors:
            raise UserError("no transition model in it", file=path, hint="give the folder of a GMM or an alignment")
        tree = Tree.load(directory / "tree.json")
        topology = Topology.read(directory / "topo")
        try:
            transitions = _transitions(topology, tensors, tree.num_pdfs)
        except (KeyError, IndexError, UserError):  # a phone or a state that is not in the topology
            raise UserError("its transitions do not fit `topo`", file=path, hint=_HINT) from None
        gmms = feature = si_gmms = None
        if "means" in tensors:
            gmms = _mixtures(tensors, "", path).to(device)
            feature = read_feature(directory / "config.yaml")
            if "si_means" in tensors:
                si_gmms = _mixtures(tensors, "si_", path).to(device)
            if gmms.num_pdfs != tree.num_pdfs:
                raise UserError(f"{gmms.num_pdfs} mixtures for a tree of {tree.num_pdfs} pdfs", file=path, hint=_HINT)
        return cls(transitions, tree, gmms, feature, tensors.get("transform"), si_gmms)

    @property
    def mixtures(self) -> DiagGmms:
        """``gmms``, where there must be some."""
        assert self.gmms is not None
        return self.gmms

    @property
    def input(self) -> FeatureConfig:
        """``feature``, where there must be mixtures."""
        assert self.feature is not None
        return self.feature

    def speaker_independent(self) -> "AcousticModel":
        """The model with ``si_gmms`` as its mixtures; the model itself if it has no ``si_gmms``."""
        return self if self.si_gmms is None else dataclasses.replace(self, gmms=self.si_gmms, si_gmms=None)

    def save(self, directory, settings: dict | None = None):
        """Write the folder; ``settings`` are added to the feature configuration in ``config.yaml``."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        tensors = {"tuples": self.transitions.tuples, "log_prob": self.transitions.log_prob}
        self.tree.save(directory / "tree.json")
        self.transitions.topology.write(directory / "topo")
        if self.gmms is None:
            write_tensors(directory / "transitions.safetensors", tensors)
            return
        gmms = self.gmms.to("cpu")
        tensors |= {"offsets": gmms.offsets, "weights": gmms.weights, "means": gmms.means,
                    "variances": gmms.variances}
        if self.transform is not None:
            tensors["transform"] = self.transform
        if self.si_gmms is not None:
            tensors |= {"si_weights": self.si_gmms.weights, "si_means": self.si_gmms.means,
                        "si_variances": self.si_gmms.variances}
        write_tensors(directory / "final.safetensors", tensors)
        text = yaml.safe_dump({"feature": config.to_dict(self.input), **(settings or {})}, sort_keys=False)
        config.write_text(directory / "config.yaml", text)

    def silence_boost(self, lang: Lang, factor: float, device="cpu") -> torch.Tensor:
        """float32 [pdfs]: log of ``factor`` for the pdfs of silence phones, 0 for all other pdfs."""
        return (self.silent_pdfs(lang.silence) * math.log(factor)).to(device)

    def silent_pdfs(self, silence: list[int]) -> torch.Tensor:
        """bool [pdfs]: True for the pdfs of the phones ``silence``."""
        out = torch.zeros(self.transitions.num_pdfs, dtype=torch.bool)
        tuples = self.transitions.tuples
        out[tuples[torch.isin(tuples[:, 0], torch.tensor(silence)), 2]] = True
        return out


def _transitions(topology: Topology, tensors: dict[str, torch.Tensor], num_pdfs: int) -> TransitionModel:
    tuples, log_prob = tensors["tuples"], tensors["log_prob"]
    if not are("int64", tuples, dims=2) or tuples.shape[1] != 3 or not len(tuples) or int(tuples.min()) < 0 \
            or int(tuples[:, 2].max()) >= num_pdfs or not are("float32", log_prob) or bool(log_prob.isnan().any()):
        raise IndexError
    return TransitionModel(topology, tuples, log_prob)


def _mixtures(tensors: dict[str, torch.Tensor], prefix: str, path: Path) -> DiagGmms:
    """The mixtures in the tensors with this prefix. Shapes and values are checked."""
    names = "offsets", f"{prefix}weights", f"{prefix}means", f"{prefix}variances"
    try:
        offsets, *numbers = parts = [tensors[name] for name in names]
    except KeyError as e:
        raise UserError(f"no {e.args[0]} in it", file=path, hint=_HINT) from None
    weights, means, variances = numbers
    fit = (are("int64", offsets) and are("float32", weights) and are("float32", means, variances, dims=2)
           and len(offsets) > 1 and means.shape == variances.shape and len(means) == len(weights) == int(offsets[-1])
           and int(offsets[0]) == 0 and bool((offsets.diff() > 0).all()) and means.shape[1] > 0)
    transform = tensors.get("transform")
    if transform is not None:
        fit = fit and are("float32", transform, dims=2) and len(transform) == means.shape[1]
    if not fit:
        raise UserError("the shapes of its mixtures do not fit together", file=path, hint=_HINT)
    if not all(bool(x.isfinite().all()) for x in numbers) or not bool((variances > 0).all()):
        raise UserError("its Gaussians have values that are not finite or variances that are not positive", file=path,
                        hint=_HINT)
    return DiagGmms(*parts)


def copy_hmm(source, target):
    """Copy tree, topology and transitions of the model folder ``source`` to the folder ``target``."""
    model = AcousticModel.load(source)
    AcousticModel(model.transitions, model.tree, None, None).save(target)


def read_feature(path) -> FeatureConfig:
    """Read the ``feature`` group of a model's ``config.yaml``."""
    values, lines = config.read_yaml(path)
    if not isinstance(values.get("feature"), dict):
        raise UserError("no group `feature`", file=path, hint="train the model again")
    return config.build(values["feature"], FeatureConfig, file=path, lines=lines, prefix="feature.")
