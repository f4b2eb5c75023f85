"""Training by LF-MMI: the numerators of a batch's chunks take the place of the aligned states as targets."""

from dataclasses import dataclass
from pathlib import Path

import torch

from lstmp.errors import UserError
from lstmp.graph.denominator import Denominator
from lstmp.graph.numerator import Numerator, Numerators
from lstmp.log import warn
from lstmp.nnet.mmi.config import MmiConfig
from lstmp.nnet.mmi.criterion import LfMmi, with_cross_entropy
from lstmp.nnet.streams import Batch

_WARNINGS = 5  # this many utterances are named one by one, the others only counted


@dataclass(frozen=True)
class MmiSource:
    """What training by LF-MMI needs besides an alignment.

    Attributes:
        options: conf/mmi.yaml.
        denominator: folder of the denominator graph, made by ``steps/make_denominator.sh``.
    """

    options: MmiConfig
    denominator: Path


class MmiTraining:
    """Makes the targets of batches.

    Args:
        criterion: for the denominator graph.
        numerators: of the training utterances and of those held out.
        weight: of the cross entropy of the second output layer.
    """

    def __init__(self, criterion: LfMmi, numerators: Numerators, weight: float):
        self.criterion, self.numerators, self.weight = criterion, numerators, weight
        self._named: set[str] = set()

    @classmethod
    def prepare(cls, source: MmiSource, parts: list, num_pdfs: int, subsampling: int, max_left_out: float,
                quiet: bool = False) -> "MmiTraining":
        """Read the graph and the alignments.

        Args:
            parts: (alignment folder, utterance ids) of each set.
            num_pdfs: number of tied states of the network.
            subsampling: of the network.
            max_left_out: the largest fraction of the utterances of a set that may have no numerator.
            quiet: give no warnings; for all processes but one.

        Raises:
            UserError: a file is missing or damaged, graph and network have different numbers of states, or too many
                utterances have no numerator.
        """
        graph, options = Denominator.read(source.denominator), source.options
        if graph.num_pdfs != num_pdfs:
            raise UserError(f"a graph of {graph.num_pdfs} states for an alignment with {num_pdfs}",
                            file=source.denominator, hint="make it from that alignment (steps/make_denominator.sh)")
        numerators = Numerators(graph, options.tolerance, subsampling)
        for ali, utts in parts:
            numerators.add_alignment(ali, utts, quiet)
            without = [utt for utt in utts if not numerators.frames(utt)]
            if len(without) > max_left_out * len(utts):
                why = numerators.left_out.get(without[0], "not aligned")
                raise UserError(f"{len(without)} of {len(utts)} utterances have no numerator graph (first "
                                f"{without[0]}: {why})", file=ali,
                                hint="make the denominator graph of this alignment, or raise `max_left_out`")
        criterion = LfMmi(graph, options.leaky, options.l2_regularize, options.implementation)
        training = cls(criterion, numerators, options.cross_entropy)
        training._named = set(numerators.left_out)
        return training

    def targets(self, batch: Batch, utts: list[str], device: str) -> "ChunkTargets":
        """The targets of a batch. A chunk without numerator is counted, has no loss, and its utterance is named once.

        Args:
            batch: chunks of utterances, with aligned states.
            utts: the ids of the utterances that ``batch.utts`` are the numbers of.
            device: of the network.
        """
        steps, names = len(batch.targets), [utts[u] for u in batch.utts.tolist()]
        chunks = zip(names, batch.first.tolist(), batch.phases.tolist(), strict=True)
        cuts = [self.numerators.cut(utt, first, steps, phase) for utt, first, phase in chunks]
        without = torch.tensor([cut is None for cut in cuts])
        missing = (without & (batch.targets >= 0).any(0)).nonzero()[:, 0].tolist()
        self.name_once([names[n] for n in missing], "its phones cannot be matched in this epoch's groups of frames")
        pdfs = batch.targets.masked_fill(without, -1).to(device)
        return ChunkTargets(self, names, cuts, pdfs, len(missing), {})

    def name_once(self, utts: list[str], why: str):
        """Warn of chunks without loss; an utterance is named once, and only the first few are."""
        for utt in utts:
            if utt not in self._named:
                self._named.add(utt)
                if len(self._named) - len(self.numerators.left_out) <= _WARNINGS:
                    warn(f"a chunk of {utt} is left out: {why}")


class ChunkTargets:
    """The targets of the chunks of n streams, T output frames each.

    ``targets[:, streams]`` are those of some of them, as of a tensor [T, n]. What is computed for the parts is
    collected for the whole.

    Args:
        training: what made them.
        utts: the utterances of the streams.
        cuts: for each stream the rows of the chunk before its utterance begins, and the numerator of the rows after
            them; None if it has no loss.
        pdfs: int64 [T, n], the aligned states, for the frame accuracy; -1 where there is no loss.
        missing: number of streams that should have a numerator, but have none.
        results: results of the parts, by the number of their first stream.
        begin: number of the first stream.
    """

    def __init__(self, training: MmiTraining, utts: list[str], cuts: list[tuple[int, Numerator] | None],
                 pdfs: torch.Tensor, missing: int, results: dict[int, tuple[float, int, int]], begin: int = 0):
        self.training, self.utts, self.cuts, self.pdfs, self.begin = training, utts, cuts, pdfs, begin
        self._missing, self._results = missing, results

    def __getitem__(self, index: tuple[slice, slice]) -> "ChunkTargets":
        streams = index[1]
        return ChunkTargets(self.training, self.utts[streams], self.cuts[streams], self.pdfs[:, streams], 0,
                            self._results, self.begin + streams.indices(len(self.cuts))[0])

    def loss(self, model, y: torch.Tensor, divisor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and the number of frames whose aligned state has the highest score in the second output layer.

        Args:
            model: a :class:`lstmp.nnet.model.StateNetwork`.
            y: [T, n, O], the input of its output layers.
            divisor: the loss is divided by this.

        Returns:
            two scalars. The loss is NaN if a score is NaN or infinite, so that training notices divergence. Without a
            second output layer the frames are those of the first one.
        """
        training, scores = self.training, model.scores(y)
        begins = torch.tensor([cut[0] if cut else 0 for cut in self.cuts])
        result = training.criterion(scores, [cut and cut[1] for cut in self.cuts], begins, divisor)
        loss, decided, pdfs = result.loss, scores.detach(), self.pdfs
        if model.w_second is not None:
            second = model.second_scores(y)
            loss, decided = with_cross_entropy(result, second, training.weight, divisor), second.detach()
        if result.left_out:
            if not bool(scores.detach()[:, result.left_out].isfinite().all()):
                loss = loss * torch.nan
            training.name_once([self.utts[n] for n in result.left_out], "its scores are too low for its phones")
            pdfs = pdfs.clone()
            pdfs[:, result.left_out] = -1
        self._results[self.begin] = result.objective, result.frames, len(result.left_out)
        return loss, (decided.argmax(2) == pdfs).sum()

    def sums(self) -> tuple[float, int, int]:
        """Of all parts: the objective, the number of its frames, and the number of chunks left out."""
        parts = [self._results[key] for key in sorted(self._results)]
        objective, frames, left_out = (sum(column) for column in zip(*parts, strict=True)) if parts else (0.0, 0, 0)
        return objective, int(frames), self._missing + int(left_out)
