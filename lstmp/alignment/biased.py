"""Biased alignment: the audio may depart from the transcript by words that were omitted, inserted or replaced.

The graph has one extra state at each word boundary, the *gap*. Its score in a frame is the score of the phone loop
(:mod:`lstmp.alignment.phone_loop`) minus a cost. So a gap can absorb any speech, but does so only if the transcript
explains that speech clearly worse than a sequence of phones does. An arc from each gap to the next skips the word
between them, which was then not spoken. A skipped word together with speech in a gap is a replaced word.

One state is enough for a gap because the phone loop is searched only once, for the whole utterance. This makes the
search hardly more expensive than forced alignment.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.gmm.training_graph import GraphCompiler, TrainingGraph


@dataclass(frozen=True)
class Departure:
    """A segment of the audio that the path assigns to gaps.

    Attributes:
        start, length: in frames.
        word: index of the first skipped word; without skipped words, index of the next word of the transcript.
        skipped: number of words, from ``word`` on, that are skipped.
        spoken: number of its frames that are speech in the phone loop's path.
    """

    start: int
    length: int
    word: int
    skipped: int
    spoken: int


class BiasedCompiler(GraphCompiler):
    """Compiles training graphs with gaps.

    All gaps have the virtual pdf ``num_pdfs``. Their transition-ids follow those of the model: at border k (before
    word k), ``first_gap_tid + 2 k`` is the self-loop and ``first_gap_tid + 2 k + 1`` leaves it; both have weight 0.

    Args:
        gap_cost: cost of entering a gap, a negative log-probability.
        skip_cost: cost of skipping a word, a negative log-probability.
    """

    def __init__(self, lang, tree, transitions, gap_cost: float, skip_cost: float):
        super().__init__(lang, tree, transitions)
        self.gap_cost, self.skip_cost = gap_cost, skip_cost
        self.gap_pdf, self.first_gap_tid = transitions.num_pdfs, transitions.num_tids + 1

    def compile(self, words: list[int], borders: set[int] | None = None) -> TrainingGraph:
        """As :meth:`.GraphCompiler.compile`; with ``borders``, only these have gaps (border k is before word k)."""
        self._last_gap: int | None = None
        self._num_borders, self._borders = 0, borders
        return super().compile(words)

    def extended(self, log_prob: np.ndarray, num_words: int) -> np.ndarray:
        """Append the weights of the gaps of a transcript of ``num_words`` words to arc weights by transition-id."""
        return np.concatenate([log_prob, np.zeros(2 * (num_words + 1), dtype=np.float32)])

    def _widen_border(self, previous, phones, connect):
        border = self._num_borders
        self._num_borders += 1
        if self._borders is not None and border not in self._borders:
            self._last_gap = None
            return []
        gap = -1 - border  # used as a phone id; the tree never gets it
        self._context_free[gap] = True
        phones.append(gap)
        connect(previous, len(phones) - 1, -self.gap_cost)
        if self._last_gap is not None:
            connect([(self._last_gap, 0.0)], len(phones) - 1, -self.skip_cost)
        self._last_gap = len(phones) - 1
        return [(self._last_gap, 0.0)]

    def _hmm(self, phone: int, left: int, right: int):
        if phone < 0:
            tid = self.first_gap_tid + 2 * (-1 - phone)
            return [self.gap_pdf], [tid], [], [(0, tid + 1)], 1
        silence = self.lang.optional_silence  # in the context of other phones a gap counts as silence
        return super()._hmm(phone, silence if left < 0 else left, silence if right < 0 else right)


def with_gap(loglikes: torch.Tensor, graph: TrainingGraph, loop_score: np.ndarray, frame_cost: float) -> torch.Tensor:
    """Make the scores of a graph with gaps, for :func:`lstmp.gmm.viterbi.align_batch`.

    Args:
        loglikes: scaled scores of all pdfs of the model [T, pdfs].
        graph: made by :class:`BiasedCompiler`.
        loop_score: float32 [T], scores of the best path through the phone loop.
        frame_cost: cost of a frame in a gap.
    """
    gap = torch.from_numpy(loop_score - np.float32(frame_cost))[:, None].to(loglikes)
    return torch.cat([loglikes[:, graph.distinct_pdfs[:-1]], gap], 1)


def departures(tids: np.ndarray, first_gap_tid: int, speech: np.ndarray) -> list[Departure]:
    """Find the departures of a path, in order of time.

    Args:
        tids: transition-ids of the path, int [T].
        first_gap_tid: attribute of the compiler.
        speech: bool [T], True for frames that are speech in the phone loop's path.
    """
    border = np.where(tids >= first_gap_tid, (tids - first_gap_tid) // 2, -1)
    inside = np.concatenate([[False], border >= 0, [False]])
    starts, ends = np.flatnonzero(inside[1:] & ~inside[:-1]), np.flatnonzero(inside[:-1] & ~inside[1:])
    return [Departure(int(s), int(e - s), int(border[s]), int(border[e - 1] - border[s]), int(speech[s:e].sum()))
            for s, e in zip(starts, ends, strict=True)]
