"""What the trainer asks of a criterion over sequences, which takes the place of frame cross entropy.

A :class:`Source` says what such a training needs. It is sent to every process, where it makes the :class:`Criterion`,
which makes the :class:`Targets` of each batch; they compute the loss. LF-MMI is in :mod:`lstmp.nnet.mmi.training`,
sequence training on lattices in ``lstmp/sequence``.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch

from lstmp.aliases import Json
from lstmp.log import warn
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.posteriors import Result
from lstmp.nnet.streams import Batch

_WARNINGS = 5  # this many utterances are named one by one, the others only counted


class Source(Protocol):
    """What training needs besides features and alignment; without tensors, as it is sent to every process."""

    @property
    def criteria(self) -> tuple[str, ...]:
        """The values of `criterion` in conf/lstmp.yaml that it is for."""

    @property
    def second_output(self) -> bool:
        """Whether the network has a second output layer."""

    def inputs(self, alignments: list[Path]) -> list[Path]:
        """The files that it reads, those of the alignment folders among them."""

    def settings(self) -> Json:
        """The settings that the weights depend on."""

    def prepare(self, cfg: LstmpConfig, parts: list, model: Path, num_pdfs: int, device: str,
                quiet: bool) -> "Criterion":
        """Make the criterion in a process.

        Args:
            cfg: of the network.
            parts: (alignment folder, utterance ids) of each set.
            model: folder with the tree and the transitions of the alignments.
            num_pdfs: number of tied states of the network.
            device: of the network.
            quiet: give no warnings; for all processes but one.

        Raises:
            UserError: a file is missing or damaged, or does not fit.
        """


class Criterion:
    """Makes the targets of batches.

    Attributes:
        whole_utterances: whether a batch must have whole utterances.
        counts: the sums of :func:`lstmp.nnet.snapshot.empty_sums` that the record of an epoch shows.
        loss_name: of the loss in pictures.
        log_priors: float32 [P], of the finished network.

    Args:
        log_priors: as above.
        named: utterances that have been named already.
    """

    whole_utterances = False
    counts: tuple[str, ...] = ("left_out",)
    loss_name = "loss"

    def __init__(self, log_priors: torch.Tensor, named: Iterable[str] = ()):
        self.log_priors, self._named = log_priors, set(named)
        self._before = len(self._named)

    def targets(self, batch: Batch, utts: list[str], device: str) -> "Targets":
        """The targets of a batch.

        Args:
            batch: chunks of utterances, with aligned states.
            utts: the ids of the utterances that ``batch.utts`` are the numbers of.
            device: of the network.
        """
        raise NotImplementedError

    def name_once(self, utt: str, why: str):
        """Warn of a chunk without loss; an utterance is named once, and only the first few are."""
        if utt not in self._named:
            self._named.add(utt)
            if len(self._named) - self._before <= _WARNINGS:
                warn(f"{'' if self.whole_utterances else 'a chunk of '}{utt} is left out: {why}")


class Targets:
    """The targets of a batch; ``targets[:, streams]`` are those of some of the streams.

    Args:
        criterion: what made them.
        utts: the utterances of the streams.
        pdfs: int64 [T, n], the aligned states, for the frame accuracy; -1 where there is no loss.
        missing: number of streams that should have a loss, but have none.
        results: results of the parts, by the number of their first stream.
        begin: number of the first stream.
    """

    def __init__(self, criterion: Any, utts: list[str], pdfs: torch.Tensor, missing: int = 0,
                 results: dict[int, tuple[float, int, int, int]] | None = None, begin: int = 0):
        self.criterion, self.utts, self.pdfs, self.begin = criterion, utts, pdfs, begin
        self._missing, self._results = missing, {} if results is None else results

    def __getitem__(self, index: tuple[slice, slice]) -> "Targets":
        streams = index[1]
        return self.part(streams, self.begin + streams.indices(len(self.utts))[0])

    def part(self, streams: slice, begin: int) -> "Targets":
        """The targets of some streams, of which the first has the number ``begin``."""
        return type(self)(self.criterion, self.utts[streams], self.pdfs[:, streams], 0, self._results, begin)

    def loss(self, model, y: torch.Tensor, divisor: float) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss, and the number of frames whose aligned state has the highest score.

        Args:
            model: a :class:`lstmp.nnet.model.StateNetwork`.
            y: [T, n, O], the input of its output layers.
            divisor: the loss is divided by this.

        Returns:
            two scalars, see :meth:`counted`.
        """
        raise NotImplementedError

    def counted(self, loss: torch.Tensor, result: Result, scores: torch.Tensor, decided: torch.Tensor,
                why: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Count a result, and name the utterances that are left out.

        Args:
            loss: a scalar.
            result: of the criterion.
            scores: [T, n, P], of the first output layer.
            decided: [T, n, P], the scores that the frame accuracy is that of.
            why: for each of ``result.left_out`` the reason.

        Returns:
            two scalars: the loss, which is NaN if a score is NaN or infinite, so that training notices divergence, and
            the number of frames whose aligned state has the highest score.
        """
        pdfs = self.pdfs
        if result.left_out:
            if not bool(scores.detach()[:, result.left_out].isfinite().all()):
                loss = loss * torch.nan
            for n, reason in zip(result.left_out, why, strict=True):
                self.criterion.name_once(self.utts[n], reason)
            pdfs = pdfs.clone()
            pdfs[:, result.left_out] = -1
        self._results[self.begin] = result.objective, result.frames, len(result.left_out), result.outside
        return loss, (decided.detach().argmax(2) == pdfs).sum()

    def sums(self) -> tuple[float, int, int, int]:
        """Of all parts: the objective, the number of its frames, the number of chunks left out, and that of frames
        whose aligned state is not in the lattice."""
        parts = [self._results[key] for key in sorted(self._results)] or [(0.0, 0, 0, 0)]
        objective, frames, left_out, outside = (sum(column) for column in zip(*parts, strict=True))
        return float(objective), int(frames), self._missing + int(left_out), int(outside)
