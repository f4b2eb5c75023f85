"""What was heard of a speaker before an utterance: statistics of the earlier utterances."""

import bisect
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from lstmp.aliases import Array
from lstmp.errors import UserError

_KEPT = 1000  # utterances whose statistics are kept for the next one


@dataclass(frozen=True)
class Heard:
    """What was heard of a speaker: the statistics of his earlier utterances.

    Attributes:
        cmvn: float64 [2, D + 1], of the frames, in the form of ``cmvn.ark``, for :class:`.OnlineCmvn`.
        counts, linear: float64 [G] and [K], for :class:`lstmp.gmm.ivector.OnlineIvectors`; empty without i-vectors.
        fmllr: the tensors of :class:`lstmp.gmm.fmllr.SpeakerStats`, for online fMLLR; empty without it.
    """

    cmvn: Array
    counts: Array = field(default_factory=lambda: np.zeros(0))
    linear: Array = field(default_factory=lambda: np.zeros(0))
    fmllr: tuple[Array, ...] = ()


class History:
    """What was heard before each utterance of a data dir; a speaker's utterances have the order of their ids.

    An utterance that cannot be read counts as not heard.

    Args:
        utts: (id, speaker) of all utterances.
        listen: (id, what was heard before it) → what was heard after it.
    """

    def __init__(self, utts: Iterable[tuple[str, str]], listen: Callable[[str, Heard | None], Heard]):
        self._listen, self._speaker = listen, dict(utts)
        self._utts: dict[str, list[str]] = {}
        for utt, speaker in sorted(self._speaker.items()):
            self._utts.setdefault(speaker, []).append(utt)
        self._alone = functools.lru_cache(_KEPT)(lambda utt: self._after(utt, None))
        # speaker → number of an utterance and what was heard before it
        self._before: dict[str, tuple[int, Heard | None]] = {}

    def pair(self, utt: str) -> Heard | None:
        """What the previous utterance alone has left, for every second utterance of a speaker; None for the others.

        So networks are trained to know both, an unknown speaker and one that was heard before.
        """
        utts, number = self._place(utt)
        return self._alone(utts[number - 1]) if number % 2 else None

    def before(self, utt: str) -> Heard | None:
        """What all earlier utterances of its speaker have left; None before the first one.

        It takes least if a speaker's utterances are asked for in their order: then each is listened to once.
        """
        utts, number = self._place(utt)
        known, heard = self._before.get(self._speaker[utt], (0, None))
        if known > number:
            known, heard = 0, None
        for n in range(known, number):
            heard = self._after(utts[n], heard)
        self._before[self._speaker[utt]] = number, heard
        return heard

    def _place(self, utt: str) -> tuple[list[str], int]:
        utts = self._utts[self._speaker[utt]]
        return utts, bisect.bisect_left(utts, utt)

    def _after(self, utt: str, before: Heard | None) -> Heard | None:
        try:
            return self._listen(utt, before)
        except UserError:
            return before
