"""The numerator graphs of LF-MMI: the phones of an aligned utterance, with boundaries that may move a little.

A numerator has one state for each phone of the alignment, in a row. A phone may begin and end up to ``tolerance``
frames of the alignment earlier or later than in the alignment (Povey et al. 2016, "Purely sequence-trained neural
networks for ASR based on lattice-free MMI"). Its states and weights are those of the path through the
denominator graph that reads the same phones. So each path of a numerator is also one of the denominator, with the same
weight, and log numerator − log denominator is at most 0.

The network has an output frame for each group of ``subsampling`` frames of the alignment. An output stands for the
middle frame of its group (:func:`lstmp.features.output_frames.target_frames`), which is also the target of training by
cross entropy. The first group begins with the frame ``phase``, so an utterance of T frames has ⌈(T − phase) /
subsampling⌉ outputs.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lstmp.errors import UserError
from lstmp.features.output_frames import output_lengths, target_frames
from lstmp.gmm.align import Segment, read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.graph.denominator import Denominator
from lstmp.log import warn

_NAMED = 3  # utterances that a warning names
_CACHED = 1024  # utterances whose limits are kept; those of a batch are needed again in the next one


@dataclass(frozen=True)
class Numerator:
    """The paths of a chunk of an utterance through K phones: in each frame a path stays, or goes to the next.

    Attributes:
        frames: number of output frames.
        pdf, loop_pdf: int64 [K], what is emitted when each phone's state is entered, and by its self-loop.
        first, last: int64 [K], the output frames of the chunk, from 0, between which the state may be active. Both
            increase from phone to phone, and there is a path through each (phone, frame) that they allow.
        start, start_inside: float64 [K], log-probability of entering the state in the first frame, and of having been
            in it before; −inf where a path cannot start so.
        stay, enter: float64 [K], log-probability of the self-loop, and of the arc from the phone before.
    """

    frames: int
    pdf: np.ndarray
    loop_pdf: np.ndarray
    first: np.ndarray
    last: np.ndarray
    start: np.ndarray
    start_inside: np.ndarray
    stay: np.ndarray
    enter: np.ndarray


@dataclass(frozen=True)
class _Utterance:
    """An utterance: its number of frames in the alignment, its arcs in the denominator graph, one into the state of
    each phone, and the first frame of each phone, int32 [K] each. This is kept for all utterances, so it is small."""

    frames: int
    arcs: np.ndarray
    starts: np.ndarray


class Numerators:
    """The numerators of utterances and of chunks of them.

    Args:
        denominator: the graph that weights and states come from.
        tolerance: number of frames of the alignment by which a phone may begin or end earlier or later.
        subsampling: number of frames of the alignment for each output frame.

    Attributes:
        left_out: utterance → why it has no numerator.
    """

    def __init__(self, denominator: Denominator, tolerance: int, subsampling: int = 3):
        self.tolerance, self.subsampling = tolerance, subsampling
        self.left_out: dict[str, str] = {}
        self._utterances: dict[str, _Utterance] = {}
        self._limits = functools.lru_cache(_CACHED)(self._limits_of)
        self._graph, phone = denominator, denominator.phone.tolist()
        self._ends = np.isfinite(denominator.final).tolist()
        self._next: list[dict[int, list[tuple[int, int]]]] = [{} for _ in phone]  # phone → (state, arc) …
        for arc, (source, target) in enumerate(zip(denominator.source.tolist(), denominator.target.tolist(),
                                                   strict=True)):
            self._next[source].setdefault(phone[target], []).append((target, arc))

    @classmethod
    def read(cls, ali, denominator: Denominator, tolerance: int, subsampling: int = 3,
             only: Iterable[str] | None = None) -> "Numerators":
        """The numerators of the utterances of an alignment folder; ``only`` of these. A warning names what is left out.

        Raises:
            UserError: as for :meth:`add_alignment`.
        """
        numerators = cls(denominator, tolerance, subsampling)
        numerators.add_alignment(ali, only)
        return numerators

    def add_alignment(self, ali, only: Iterable[str] | None = None, quiet: bool = False):
        """Add the utterances of an alignment folder, ``only`` of these. Unless ``quiet``, a warning names what is left
        out.

        Raises:
            UserError: the folder is missing or damaged, its topology is not one for low frame rates, or no utterance
                has a numerator.
        """
        transitions, left_out_before, before = AcousticModel.load(ali).transitions, len(self.left_out), len(self.utts)
        if not transitions.topology.for_low_rate:
            raise UserError("its phones may not be as short as one frame", file=ali,
                            hint="convert it with steps/tie_states.sh --topology chain")
        for utt, tids in read_alignment(ali, only=None if only is None else set(only)).items():
            transitions.check(utt, tids, file=ali)
            self.add(utt, segments(tids, transitions))
        added, left_out = len(self.utts) - before, list(self.left_out.items())[left_out_before:]
        if not added:
            raise UserError("no utterance of the alignment has a numerator graph", file=ali,
                            hint="make the denominator graph of this alignment")
        if left_out and not quiet:
            some = "; ".join(f"{utt}: {why}" for utt, why in left_out[:_NAMED])
            more = "; …" if len(left_out) > _NAMED else ""
            warn(f"{ali}: {len(left_out)} of {len(left_out) + added} utterances have no numerator graph and are left "
                 f"out: {some}{more}")

    def add(self, utt: str, phones: list[Segment]):
        """Add an utterance with its phones and their frames; one that has no numerator goes to ``left_out``."""
        path, starts = self._path([s.phone for s in phones]), np.array([s.start for s in phones], np.int32)
        if not phones:
            self.left_out[utt] = "it has no phones"
        elif path is None:
            self.left_out[utt] = "its phones are not a sequence of the phone language model"
        else:
            frames = phones[-1].start + phones[-1].length
            self._utterances[utt] = _Utterance(frames, np.array(path, np.int32), starts)
            if self._limits(utt, 0) is None:
                outputs = self.frames(utt)
                del self._utterances[utt]
                self.left_out[utt] = f"its {len(phones)} phones cannot be matched in {outputs} output frames"

    @property
    def utts(self) -> list[str]:
        """The utterances that have a numerator."""
        return list(self._utterances)

    def frames(self, utt: str, phase: int = 0) -> int:
        """Number of output frames of an utterance, 0 if it has no numerator."""
        if utt not in self._utterances:
            return 0
        return int(output_lengths(self._utterances[utt].frames - phase, self.subsampling))

    def whole(self, utt: str) -> Numerator | None:
        """The numerator of a whole utterance, None if it has none."""
        cut = self.cut(utt, 0, self.frames(utt))
        return cut and cut[1]

    def cut(self, utt: str, first: int, frames: int, phase: int = 0) -> tuple[int, Numerator] | None:
        """The numerator of a chunk, the part of the utterance's numerator in these output frames.

        Args:
            first, frames: first output frame and number of them. Frames before the begin and after the end of the
                utterance do not count, as those of a network whose output is delayed.
            phase: the frame of the alignment with which the first group begins.

        Returns:
            Number of frames of the chunk before the begin of the utterance, and the numerator of those that follow;
            None if the utterance has no numerator, with this phase, or no frame in the chunk.
        """
        begin, end = max(first, 0), min(first + frames, self.frames(utt, phase))
        if begin >= end or (limits := self._limits(utt, phase)) is None:
            return None
        all_opens, all_closes = limits
        low, high = int(np.searchsorted(all_closes, begin)), int(np.searchsorted(all_opens, end))
        graph, arcs = self._graph, self._utterances[utt].arcs[low:high]
        opens, closes = all_opens[low:high], all_closes[low:high]
        states, enter = graph.target[arcs], graph.weight[arcs]
        # the frame before the chunk is in the same phone, in the one before it, or is the begin of the utterance
        opens_before, closes_before = (np.concatenate([[-1], x])[low:high] for x in limits)
        stayed = (opens < begin) & (begin <= closes)
        entered = (opens_before < begin) & (begin - 1 <= closes_before) & (opens <= begin)
        return begin - first, Numerator(
            end - begin, graph.pdf[states], graph.loop_pdf[states], np.maximum(opens - begin, 0).astype(np.int64),
            np.minimum(closes, end - 1).astype(np.int64) - begin,
            np.where(entered, graph.initial[graph.source[arcs]] + enter, -np.inf),
            np.where(stayed, graph.initial[states] + graph.stay[states], -np.inf), graph.stay[states], enter)

    def _path(self, phones: list[int]) -> list[int] | None:
        """The arcs of the graph that read these phones from its begin; None if there is no such path."""
        state, path = 0, []
        for i, phone in enumerate(phones):
            after = phones[i + 1] if i + 1 < len(phones) else None
            step = next(((to, arc) for to, arc in self._next[state].get(phone, ())
                         if (self._ends[to] if after is None else after in self._next[to])), None)
            if step is None:
                return None
            state, arc = step
            path.append(arc)
        return path

    def _limits_of(self, utt: str, phase: int) -> tuple[np.ndarray, np.ndarray] | None:
        """First and last output frame of each phone, int64 [K] each, narrowed to those that complete paths have.

        None if there is no path, of at least one output frame for each phone.
        """
        u, outputs, step = self._utterances[utt], self.frames(utt, phase), self.subsampling
        earliest = u.starts.astype(np.int64) - self.tolerance
        latest = np.append(u.starts[1:], u.frames).astype(np.int64) - 1 + self.tolerance
        middle = target_frames(0, step, phase)  # the frame that output 0 stands for
        first = np.maximum(-(-(earliest - middle) // step), 0)
        # the last output may stand for a frame beyond the end: then it stands for the last one
        last = np.where(latest >= u.frames - 1, outputs - 1, (latest - middle) // step)
        number = np.arange(len(first))
        first = np.maximum.accumulate(first - number) + number
        last = np.minimum.accumulate((last - number)[::-1])[::-1] + number
        return None if (first > last).any() or (first[1:] > last[:-1] + 1).any() else (first, last)
