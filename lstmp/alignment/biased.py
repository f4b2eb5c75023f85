"""Alignment to a transcript that the audio may depart from: which words were not said, and what was said beside them.

Each word border gets one more state, the *gap*. In a frame it scores what the unbound phone loop scores there
(:mod:`lstmp.alignment.phone_loop`), less a cost for every frame, so that it takes up any speech, but only speech that the
words explain clearly worse than some phones do. The path may go from a gap to the next one over the word between
them: that word was not said. Going over a word and the speech in the gaps together make a word that was replaced.

A gap is one state because the loop is searched once for the whole utterance, not anew at every border: the search
costs hardly more than plain alignment.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.gmm.training_graph import GraphCompiler, TrainingGraph


@dataclass(frozen=True)
class Departure:
    """A stretch of audio that the path gave to gaps.

    Attributes:
        start, length: frames.
        word: index of the first word of the transcript after it, or in it.
        skipped: how many words, from ``word`` on, were gone over.
        spoken: how many of its frames the phone loop takes for speech.
    """

    start: int
    length: int
    word: int
    skipped: int
    spoken: int


class BiasedCompiler(GraphCompiler):
    """Makes alignment graphs with gaps.

    A gap has the virtual pdf ``num_pdfs`` and transition-ids of its own above the model's: ``first_gap_tid + 2 k`` for
    its self-loop at border k (before word k), one more for leaving it; their weights are 0.

    Args:
        gap_cost: log-probability that beginning a gap costs.
        skip_cost: log-probability that going over a word costs.
    """

    def __init__(self, lang, tree, transitions, gap_cost: float, skip_cost: float):
        super().__init__(lang, tree, transitions)
        self.gap_cost, self.skip_cost = gap_cost, skip_cost
        self.gap_pdf, self.first_gap_tid = transitions.num_pdfs, transitions.num_tids + 1

    def compile(self, words: list[int], at: set[int] | None = None) -> TrainingGraph:
        """As :meth:`GraphCompiler.compile`; with ``at``, gaps only at these borders (border k is before word k)."""
        self._last_gap: int | None = None
        self._borders, self._at = 0, at
        return super().compile(words)

    def extended(self, log_prob: np.ndarray, num_words: int) -> np.ndarray:
        """Arc weights by transition-id with those of the gaps of up to ``num_words`` words."""
        return np.concatenate([log_prob, np.zeros(2 * (num_words + 1), dtype=np.float32)])

    def _widen_border(self, here, phones, connect):
        gap = -1 - self._borders  # stands for a phone; never asked of the tree
        self._borders += 1
        if self._at is not None and -1 - gap not in self._at:
            self._last_gap = None
            return []
        self._free[gap] = True
        phones.append(gap)
        connect(here, len(phones) - 1, -self.gap_cost)
        if self._last_gap is not None:
            connect([(self._last_gap, 0.0)], len(phones) - 1, -self.skip_cost)
        self._last_gap = len(phones) - 1
        return [(self._last_gap, 0.0)]

    def _hmm(self, phone: int, left: int, right: int):
        if phone < 0:
            tid = self.first_gap_tid + 2 * (-1 - phone)
            return [self.gap_pdf], [tid], [], [(0, tid + 1)], 1
        silence = self.lang.optional_silence  # what a gap is to its neighbours' context
        return super()._hmm(phone, silence if left < 0 else left, silence if right < 0 else right)


def with_gap(loglikes: torch.Tensor, graph: TrainingGraph, loop_score: np.ndarray, frame_cost: float) -> torch.Tensor:
    """The scores that alignment of a graph with gaps wants.

    Args:
        loglikes: scaled scores of all the model's pdfs [T, pdfs].
        graph: made by :class:`BiasedCompiler`.
        loop_score: float32 [T], of the best path through the phone loop.
        frame_cost: what a frame in a gap costs.
    """
    gap = torch.from_numpy(loop_score - np.float32(frame_cost))[:, None].to(loglikes)
    return torch.cat([loglikes[:, graph.distinct_pdfs[:-1]], gap], 1)


def departures(tids: np.ndarray, first_gap_tid: int, speech: np.ndarray) -> list[Departure]:
    """The stretches of gap on a path, in time.

    Args:
        tids: int [T].
        first_gap_tid: of the compiler.
        speech: bool [T], where the phone loop hears speech.
    """
    border = np.where(tids >= first_gap_tid, (tids - first_gap_tid) // 2, -1)
    inside = np.concatenate([[False], border >= 0, [False]])
    starts, ends = np.flatnonzero(inside[1:] & ~inside[:-1]), np.flatnonzero(inside[:-1] & ~inside[1:])
    return [Departure(int(s), int(e - s), int(border[s]), int(border[e - 1] - border[s]), int(speech[s:e].sum()))
            for s, e in zip(starts, ends, strict=True)]
