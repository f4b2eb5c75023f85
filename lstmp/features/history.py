"""What was heard of a speaker before an utterance: statistics of the earlier utterances, for online CMVN."""

import bisect
from collections.abc import Callable, Iterable

import kaldi_native_fbank as knf

from lstmp.aliases import Array
from lstmp.errors import UserError


class History:
    """The statistics of speakers' utterances, whose order is that of their ids.

    An utterance that cannot be read counts as not heard.

    Args:
        utts: (id, speaker) of all utterances.
        read: id → raw features, float32 [T, D].
    """

    def __init__(self, utts: Iterable[tuple[str, str]], read: Callable[[str], Array]):
        self._read, self._speaker = read, dict(utts)
        self._utts: dict[str, list[str]] = {}
        for utt, speaker in sorted(self._speaker.items()):
            self._utts.setdefault(speaker, []).append(utt)
        self._one: dict[str, Array | None] = {}
        self._upto: dict[str, list[Array | None]] = {}  # speaker → sums before its first, second … utterance

    def pair(self, utt: str) -> Array | None:
        """The statistics, float64 [2, D + 1], of the previous utterance for every second utterance of a speaker.

        None for the others, the first one among them.
        """
        utts, number = self._place(utt)
        return self._stats(utts[number - 1]) if number % 2 else None

    def before(self, utt: str) -> Array | None:
        """The statistics, float64 [2, D + 1], of all earlier utterances of its speaker; None if there are none."""
        utts, number = self._place(utt)
        sums = self._upto.setdefault(self._speaker[utt], [None])
        while len(sums) <= number:
            last, stats = sums[-1], self._stats(utts[len(sums) - 1])
            sums.append(stats if last is None else last if stats is None else last + stats)
        return sums[number]

    def _place(self, utt: str) -> tuple[list[str], int]:
        utts = self._utts[self._speaker[utt]]
        return utts, bisect.bisect_left(utts, utt)

    def _stats(self, utt: str) -> Array | None:
        if utt not in self._one:
            try:
                self._one[utt] = knf.compute_cmvn_stats(self._read(utt))
            except UserError:
                self._one[utt] = None
        return self._one[utt]
