"""The numerator graphs of LF-MMI: the phones of an aligned utterance, with boundaries that may move a little.

A numerator has one state for each phone of the alignment, in a row. A phone may begin and end up to ``tolerance``
frames of the alignment earlier or later than in the alignment (Povey et al. 2016, "Purely sequence-trained neural
networks for ASR based on lattice-free MMI"). Its states and weights are those of the path through the
denominator graph that reads the same phones. So each path of a numerator is also one of the denominator, with the same
weight, and log numerator − log denominator is at most 0.

The network has an output frame for each ``subsampling`` frames of the alignment: output j stands for frame
``subsampling`` · j, and an utterance of T frames has ⌈T / subsampling⌉ outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lstmp.errors import UserError
from lstmp.gmm.align import Segment, read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.graph.denominator import Denominator
from lstmp.log import warn

_NAMED = 3  # utterances that a warning names


@dataclass(frozen=True)
class Numerator:
    """The paths of a chunk of an utterance through K phones: in each frame a path stays, or goes to the next.

    Attributes:
        frames: number of output frames.
        pdf: int64 [K], pdf of each phone's state.
        first, last: int64 [K], the output frames of the chunk, from 0, between which the state may be active. Both
            increase from phone to phone, and there is a path through each (phone, frame) that they allow.
        start: float64 [K], log-probability of being in the state in the first frame; −inf where a path cannot start.
        stay, enter: float64 [K], log-probability of the self-loop, and of the arc from the phone before.
    """

    frames: int
    pdf: np.ndarray
    first: np.ndarray
    last: np.ndarray
    start: np.ndarray
    stay: np.ndarray
    enter: np.ndarray


@dataclass(frozen=True)
class _Utterance:
    """An utterance: its arcs in the denominator graph, int32 [K], one into the state of each phone; first and last as
    above, int32. This is kept for all utterances, so it must be small."""

    frames: int
    arcs: np.ndarray
    first: np.ndarray
    last: np.ndarray


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
            UserError: the folder is missing or damaged, or no utterance has a numerator.
        """
        transitions = AcousticModel.load(ali).transitions
        numerators = cls(denominator, tolerance, subsampling)
        for utt, tids in read_alignment(ali, only=None if only is None else set(only)).items():
            transitions.check(utt, tids, file=ali)
            numerators.add(utt, segments(tids, transitions))
        if not numerators._utterances:
            raise UserError("no utterance of the alignment has a numerator graph", file=ali,
                            hint="make the denominator graph of this alignment")
        if left_out := numerators.left_out:
            some = "; ".join(f"{utt}: {why}" for utt, why in list(left_out.items())[:_NAMED])
            more = "; …" if len(left_out) > _NAMED else ""
            warn(f"{ali}: {len(left_out)} of {len(left_out) + len(numerators._utterances)} utterances have no "
                 f"numerator graph and are left out: {some}{more}")
        return numerators

    def add(self, utt: str, phones: list[Segment]):
        """Add an utterance with its phones and their frames; one that has no numerator goes to ``left_out``."""
        frames = -(-(phones[-1].start + phones[-1].length) // self.subsampling) if phones else 0
        limits = _limits(phones, frames, self.tolerance, self.subsampling)
        path = self._path([s.phone for s in phones])
        if not phones:
            self.left_out[utt] = "it has no phones"
        elif path is None:
            self.left_out[utt] = "its phones are not a sequence of the phone language model"
        elif limits is None:
            self.left_out[utt] = f"its {len(phones)} phones cannot be matched in {frames} output frames"
        else:
            self._utterances[utt] = _Utterance(frames, *(np.array(x, np.int32) for x in (path, *limits)))

    @property
    def utts(self) -> list[str]:
        """The utterances that have a numerator."""
        return list(self._utterances)

    def frames(self, utt: str) -> int:
        """Number of output frames of an utterance, 0 if it has no numerator."""
        return self._utterances[utt].frames if utt in self._utterances else 0

    def whole(self, utt: str) -> Numerator | None:
        """The numerator of a whole utterance, None if it has none."""
        cut = self.cut(utt, 0, self.frames(utt))
        return cut and cut[1]

    def cut(self, utt: str, first: int, frames: int) -> tuple[int, Numerator] | None:
        """The numerator of a chunk, the part of the utterance's numerator in these output frames.

        Args:
            first, frames: first output frame and number of them. Frames before the begin and after the end of the
                utterance do not count, as those of a network whose output is delayed.

        Returns:
            Number of frames of the chunk before the begin of the utterance, and the numerator of those that follow;
            None if the utterance has no numerator or no frame in the chunk.
        """
        u = self._utterances.get(utt)
        begin, end = max(first, 0), min(first + frames, u.frames if u else 0)
        if u is None or begin >= end:
            return None
        low, high = int(np.searchsorted(u.last, begin)), int(np.searchsorted(u.first, end))
        graph, arcs, opens, closes = self._graph, u.arcs[low:high], u.first[low:high], u.last[low:high]
        states, enter = graph.target[arcs], graph.weight[arcs]
        # the frame before the chunk is in the same phone, in the one before it, or is the begin of the utterance
        opens_before, closes_before = (np.concatenate([[-1], x])[low:high] for x in (u.first, u.last))
        stayed = (opens < begin) & (begin <= closes)
        entered = (opens_before < begin) & (begin - 1 <= closes_before) & (opens <= begin)
        start = np.logaddexp(np.where(stayed, graph.initial[states] + graph.stay[states], -np.inf),
                             np.where(entered, graph.initial[graph.source[arcs]] + enter, -np.inf))
        return begin - first, Numerator(
            end - begin, graph.pdf[states], np.maximum(opens - begin, 0).astype(np.int64),
            np.minimum(closes, end - 1).astype(np.int64) - begin, start, graph.stay[states], enter)

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


def _limits(phones: list[Segment], frames: int, tolerance: int,
            subsampling: int) -> tuple[np.ndarray, np.ndarray] | None:
    """First and last output frame of each phone, int64 [K] each, narrowed to those that complete paths have.

    None if there is no path, of at least one output frame for each phone.
    """
    starts, lengths = (np.array([getattr(s, name) for s in phones], np.int64) for name in ("start", "length"))
    first = np.maximum(-(-(starts - tolerance) // subsampling), 0)
    last = np.minimum((starts + lengths - 1 + tolerance) // subsampling, frames - 1)
    number = np.arange(len(phones))
    first = np.maximum.accumulate(first - number) + number
    last = np.minimum.accumulate((last - number)[::-1])[::-1] + number
    if not len(phones) or first[0] > 0 or last[-1] < frames - 1:
        return None
    last[-1], first[0] = frames - 1, 0
    return None if (first > last).any() or (first[1:] > last[:-1] + 1).any() else (first, last)
