"""Training by LF-MMI: the numerators of a batch's chunks take the place of the aligned states as targets."""

from dataclasses import dataclass
from pathlib import Path

import torch

from lstmp import config
from lstmp.aliases import Json
from lstmp.errors import UserError
from lstmp.graph import denominator
from lstmp.graph.denominator import Denominator
from lstmp.graph.numerator import Numerator, Numerators
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.criterion import Criterion, Targets
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.nnet.mmi.criterion import LfMmi
from lstmp.nnet.posteriors import with_cross_entropy
from lstmp.nnet.streams import Batch


@dataclass(frozen=True)
class MmiSource:
    """What training by LF-MMI needs besides an alignment.

    Attributes:
        options: conf/mmi.yaml.
        denominator: folder of the denominator graph, made by ``steps/make_denominator.sh``.
    """

    options: MmiConfig
    denominator: Path
    criteria = ("lfmmi",)

    @property
    def second_output(self) -> bool:
        return self.options.cross_entropy > 0

    def inputs(self, alignments: list[Path]) -> list[Path]:
        return [*(folder / "ali.ark" for folder in alignments), Path(self.denominator) / denominator.NAME]

    def settings(self) -> Json:
        return {"mmi": {k: v for k, v in config.to_dict(self.options).items() if k != "implementation"}}

    def prepare(self, cfg: LstmpConfig, parts: list, model: Path, num_pdfs: int, device: str,
                quiet: bool) -> "MmiTraining":
        """As :meth:`lstmp.nnet.criterion.Source.prepare`; also an error if too many utterances have no numerator."""
        graph, options = Denominator.read(self.denominator), self.options
        if graph.num_pdfs != num_pdfs:
            raise UserError(f"a graph of {graph.num_pdfs} states for an alignment with {num_pdfs}",
                            file=self.denominator, hint="make it from that alignment (steps/make_denominator.sh)")
        numerators = Numerators(graph, options.tolerance, cfg.subsampling)
        for ali, utts in parts:
            numerators.add_alignment(ali, utts, quiet)
            without = [utt for utt in utts if not numerators.frames(utt)]
            if len(without) > cfg.max_left_out * len(utts):
                why = numerators.left_out.get(without[0], "not aligned")
                raise UserError(f"{len(without)} of {len(utts)} utterances have no numerator graph (first "
                                f"{without[0]}: {why})", file=ali,
                                hint="make the denominator graph of this alignment, or raise `max_left_out`")
        lfmmi = LfMmi(graph, options.leaky, options.l2_regularize, options.implementation)
        return MmiTraining(lfmmi, numerators, options.cross_entropy)


class MmiTraining(Criterion):
    """Makes the targets of batches. The finished network has no priors: the denominator graph has them in it.

    Args:
        lfmmi: the criterion, for the denominator graph.
        numerators: of the training utterances and of those held out.
        weight: of the cross entropy of the second output layer.
    """

    loss_name = "− objective of LF-MMI per frame (nats)"

    def __init__(self, lfmmi: LfMmi, numerators: Numerators, weight: float):
        super().__init__(torch.zeros(lfmmi.num_pdfs), numerators.left_out)
        self.lfmmi, self.numerators, self.weight = lfmmi, numerators, weight

    def targets(self, batch: Batch, utts: list[str], device: str) -> "ChunkTargets":
        """The targets of a batch. A chunk without numerator is counted, has no loss, and its utterance is named
        once."""
        steps, names = len(batch.targets), [utts[u] for u in batch.utts.tolist()]
        chunks = zip(names, batch.first.tolist(), batch.phases.tolist(), strict=True)
        cuts = [self.numerators.cut(utt, first, steps, phase) for utt, first, phase in chunks]
        without = torch.tensor([cut is None for cut in cuts])
        missing = (without & (batch.targets >= 0).any(0)).nonzero()[:, 0].tolist()
        for n in missing:
            self.name_once(names[n], "its phones cannot be matched in this epoch's groups of frames")
        return ChunkTargets(cuts, self, names, batch.targets.masked_fill(without, -1).to(device), len(missing))


class ChunkTargets(Targets):
    """The numerators of the chunks of a batch.

    Args:
        cuts: for each stream the rows of the chunk before its utterance begins, and the numerator of the rows after
            them; None if it has no loss.
        others: as for :class:`lstmp.nnet.criterion.Targets`.
    """

    def __init__(self, cuts: list[tuple[int, Numerator] | None], *others, **more):
        super().__init__(*others, **more)
        self.cuts = cuts

    def part(self, streams: slice, begin: int) -> "ChunkTargets":
        return ChunkTargets(self.cuts[streams], self.criterion, self.utts[streams], self.pdfs[:, streams],
                            results=self._results, begin=begin)

    def loss(self, model, y: torch.Tensor, divisor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`lstmp.nnet.criterion.Targets.loss`. The frames are those of the second output layer, if there is
        one."""
        training, scores = self.criterion, model.scores(y)
        begins = torch.tensor([cut[0] if cut else 0 for cut in self.cuts])
        result = training.lfmmi(scores, [cut and cut[1] for cut in self.cuts], begins, divisor)
        loss, decided = result.loss, scores
        if model.w_second is not None:
            decided = model.second_scores(y)
            loss = with_cross_entropy(result, decided, training.weight, divisor)
        why = ["its scores are too low for its phones"] * len(result.left_out)
        return self.counted(loss, result, scores, decided, why)
