"""Training by sMBR and MMI: the lattices of a batch's utterances are made with the weights of the moment."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lstmp import config
from lstmp.aliases import Json
from lstmp.decode.decode import check_same_model
from lstmp.decode.search_graph import SearchGraph
from lstmp.errors import UserError
from lstmp.gmm.model import AcousticModel
from lstmp.graph.graph_file import NAME
from lstmp.log import say
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.criterion import Criterion, Targets
from lstmp.nnet.data import has_priors
from lstmp.nnet.distributed.workers import default_threads
from lstmp.nnet.posteriors import with_cross_entropy
from lstmp.nnet.streams import Batch
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.criterion import LatticeCriterion
from lstmp.sequence.phone_classes import FrameAccuracy


@dataclass(frozen=True)
class SequenceSource:
    """What sequence training needs besides features and alignment; see :class:`lstmp.nnet.criterion.Source`.

    Attributes:
        options: conf/sequence.yaml.
        graph: folder of the graph that is searched, with a weak language model.
        initial: the network that training starts from; its priors are used.
    """

    options: SequenceConfig
    graph: Path
    initial: Path
    criteria = ("smbr", "mmi")
    second_output = False

    def inputs(self, alignments: list[Path]) -> list[Path]:
        return [self.graph / NAME]  # with each arc's states, words and scores; the network is an input anyway

    def settings(self) -> Json:
        left_out = ("search_threads", "weak_lm_order", "training")
        return {"sequence": {k: v for k, v in config.to_dict(self.options).items() if k not in left_out}}

    def prepare(self, cfg: LstmpConfig, parts: list, model: Path, num_pdfs: int, device: str,
                quiet: bool) -> "SequenceTraining":
        """As :meth:`lstmp.nnet.criterion.Source.prepare`."""
        info = check_same_model(self.graph, model, num_pdfs)
        first = config.load(self.initial / "config.yaml", LstmpConfig)
        weights, _ = checkpoint.read(self.initial / "final.safetensors", "train that network again")
        priors = weights.get("log_priors")
        if priors is None or len(priors) != num_pdfs:
            raise UserError(f"a network for other states than the {num_pdfs} of the alignment", file=self.initial,
                            hint="give --init a network that was trained on the same states")
        without_priors, weight = not has_priors(priors), self.options.cross_entropy
        if without_priors and cfg.score_factor != first.score_factor:
            raise UserError(f"the scores of this network, once of LF-MMI, have the factor {first.score_factor:g}"
                            f", those of the new one {cfg.score_factor:g}", file=self.initial,
                            hint=f"set `acoustic_factor: {first.score_factor:g}` in the configuration")
        if without_priors and weight:
            weight = 0.0
            if not quiet:
                say(f"{self.initial} has no priors, as its training began with LF-MMI: without cross entropy")
        accuracy = FrameAccuracy.of(AcousticModel.load(model).transitions, num_pdfs, info["silence"],
                                    self.options.accuracy, self.options.one_silence_class)
        threads = self.options.search_threads or (1 if device == "cpu" else default_threads())
        return SequenceTraining(LatticeCriterion(cfg.criterion, self.options, SearchGraph.load(self.graph), accuracy,
                                                 priors, cfg.score_factor, threads), weight)


class SequenceTraining(Criterion):
    """Makes the targets of batches.

    Args:
        lattices: the criterion.
        weight: h, of the frame cross entropy.
    """

    whole_utterances = True
    counts = ("left_out", "outside")

    def __init__(self, lattices: LatticeCriterion, weight: float):
        super().__init__(lattices.log_priors)
        self.lattices, self.weight = lattices, weight
        self.loss_name = {"smbr": "− expected frame accuracy", "mmi": "− objective of MMI per frame (nats)"}[
            lattices.name]

    def targets(self, batch: Batch, utts: list[str], device: str) -> "UtteranceTargets":
        """As :meth:`lstmp.nnet.criterion.Criterion.targets`."""
        return UtteranceTargets(self, [utts[u] for u in batch.utts.tolist()], batch.targets.to(device))


class UtteranceTargets(Targets):
    """The alignments of the whole utterances of a batch."""

    def loss(self, model, y: torch.Tensor, divisor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`lstmp.nnet.criterion.Targets.loss`: (1 − h) of the criterion's loss, and h of the cross entropy."""
        scores, h = model.scores(y), self.criterion.weight
        result, why = self.criterion.lattices(scores, self.pdfs, divisor)
        loss = result.loss
        if h:
            loss = with_cross_entropy(replace(result, loss=(1 - h) * loss), scores, h, divisor)
        return self.counted(loss, result, scores, scores, why)
