"""Online recognition of a recording: samples in as they arrive, words out, segment by segment.

Feature extraction, network and search keep their state between pieces. A segment ends after a pause on the best path.
The search is then reset, while the network keeps its recurrent state.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.config import check
from lstmp.corpus.pieces import Names
from lstmp.decode.config import SearchConfig
from lstmp.decode.online import OnlineSearch
from lstmp.decode.search_graph import BestPath, SearchGraph
from lstmp.errors import UserError
from lstmp.features.extract import FbankConfig
from lstmp.features.history import Heard
from lstmp.features.online import OnlineFeatures
from lstmp.nnet.forward import AcousticNetwork, NetworkStream

_JUDGED_AFTER = 0.5  # seconds after a word's arc: then later words hardly matter, and other paths have not yet ended


@dataclass(frozen=True)
class LiveConfig:
    """The values of conf/live.yaml, explained there."""

    chunk_seconds: float
    pause_seconds: float
    no_speech_seconds: float
    max_seconds: float
    short_pause_seconds: float
    hard_max_seconds: float

    def __post_init__(self) -> None:
        for name in ("chunk_seconds", "pause_seconds", "no_speech_seconds", "short_pause_seconds"):
            check(getattr(self, name) >= 0.01, name, "0.01 or more")
        check(self.short_pause_seconds <= self.pause_seconds, "short_pause_seconds", "at most pause_seconds")
        check(self.pause_seconds < self.max_seconds, "max_seconds", "more than pause_seconds")
        check(self.max_seconds <= self.hard_max_seconds, "hard_max_seconds", "at least max_seconds")


@dataclass(frozen=True)
class Segment:
    """A recognized segment.

    Attributes:
        begin, end: seconds since the start of the recording.
        words: the words recognized so far.
        final: whether the segment has ended, so that its words no longer change.
        settled: number of words at the beginning that no longer change, whatever follows; all of a final segment.
        confidences: for each word, how probable it was among the paths of the search half a second after it began, from
            0 to 1; or what it is now, until then.
    """

    begin: float
    end: float
    words: tuple[str, ...]
    final: bool
    settled: int = 0
    confidences: tuple[float, ...] = ()


class LiveRecognizer:
    """Recognizes one recording online.

    Args:
        network: unidirectional, on filterbank energies without derivatives, without CMVN or with online CMVN; or with
            online fMLLR.
        graph: the decoding graph; for a word insertion penalty see :meth:`.SearchGraph.with_penalty`.
        search: beams, and the acoustic scale, which is 1 / LM weight.
        extraction: configuration of the features, the same as for the training data.
        live: where segments end.
        silent: bool [pdfs], true for the pdfs of the silence phones.
        words: id → word.
        heard: of the speaker before, see :class:`.NetworkStream`.

    Raises:
        UserError: the network cannot run online.
    """

    def __init__(self, network: AcousticNetwork, graph: SearchGraph, search: SearchConfig, extraction: FbankConfig,
                 live: LiveConfig, silent: Array, words: Names, heard: Heard | None = None):
        f = network.cfg.feature
        if not f.available_online:
            raise UserError(f"the network expects {f.kind} features with cmvn {f.cmvn} and deltas {f.deltas}, which "
                            "cannot be computed online",
                            hint="take one that was trained with feature.kind online_fmllr; or fbank, cmvn online_mean "
                                 "or none, and deltas 0")
        if graph.num_pdfs != network.num_pdfs:
            raise UserError(f"the graph is for a model with {graph.num_pdfs} pdfs, the network has {network.num_pdfs}",
                            hint="give the graph of this network")
        self.live, self.silent, self.names = live, silent, words
        self._shift = network.subsampling * extraction.frame_shift_ms / 1000  # seconds of a frame of the search
        self._features, self._stream = OnlineFeatures(extraction), NetworkStream(network, heard)
        self._search = OnlineSearch(graph, search)
        self._begin = 0  # frame at which the segment starts
        self._sure: dict[tuple[int, int], float] = {}  # (frame, id) of a word of the open segment → its confidence

    def heard(self) -> Heard | None:
        """What was heard of the speaker so far; None if the network's input does not depend on it."""
        return self._stream.input.heard() if self._stream.input else None

    def accept(self, samples: Array) -> list[Segment]:
        """Recognize more samples, float32 [n] in the range of 16-bit integers.

        Returns:
            a final segment if one has ended, or the words so far of the current one; nothing if there are no words.
        """
        self._search.accept(self._stream.accept(torch.from_numpy(self._features.accept(samples))))
        path = self._search.best()
        if not len(path.arcs):
            return []
        frames, pause = self._search.frames, self._pause(path)
        has_speech = pause < len(path.arcs)
        if not has_speech and pause * self._shift >= self.live.no_speech_seconds \
                or has_speech and self._ends(frames, pause):
            return list(self._close())
        words = self._words(path)
        return [self._segment(path, words, False, self._settled(path))] if words else []

    def finish(self) -> list[Segment]:
        """End the recording. Returns the last segment, if it has words."""
        last_features = self._features.finish()
        self._search.accept(self._stream.accept(torch.from_numpy(last_features)))
        self._search.accept(self._stream.finish())
        return list(self._close()) if self._search.frames else []

    def _close(self) -> Iterator[Segment]:
        path = self._search.finish()
        words = self._words(path)
        if words:
            yield self._segment(path, words, True, len(words))
        self._begin += self._search.frames
        self._search.reset()
        self._sure.clear()

    def _segment(self, path: BestPath, words: tuple[str, ...], final: bool, settled: int) -> Segment:
        end = self._begin + self._search.frames
        return Segment(self._begin * self._shift, end * self._shift, words, final, settled,
                       self._confidences(path))

    def _confidences(self, path: BestPath) -> tuple[float, ...]:
        """The confidences of the words of a path; those of pieces of a word are the lowest of them."""
        shares, old = self._search.shares(), len(path.arcs) - round(_JUDGED_AFTER / self._shift)
        found, ids = [], self._search.graph.words_on(path.arcs)
        for frame, word in ids:
            now = float(shares[frame]) if frame < len(shares) else 1.0  # else: the arc into the final state
            if frame <= old:
                now = self._sure.setdefault((frame, word), now)
            found.append(now)
        spans = self.names.spans([word for _, word in ids])
        return tuple(round(min(found[n] for n in positions), 3) for _, positions in spans)

    def _words(self, path: BestPath, arcs: int | None = None) -> tuple[str, ...]:
        """The words on the first ``arcs`` arcs of a path, or on all."""
        return tuple(self.names.words([w for _, w in self._search.graph.words_on(path.arcs[:arcs])]))

    def _settled(self, path: BestPath) -> int:
        words = len(self._words(path, self._search.settled()))
        return max(0, words - 1) if self.names.pieces else words  # a piece may yet be added to the last word

    def _pause(self, path: BestPath) -> int:
        """Number of silent frames at the end of the path."""
        label = self._search.graph.chosen(path.arcs).labels
        speech = np.flatnonzero(~self.silent[label - 1])
        return len(label) - (int(speech[-1]) + 1 if len(speech) else 0)

    def _ends(self, frames: int, pause: float) -> bool:
        """Whether a segment of ``frames`` frames ends if its last ``pause`` frames are silent."""
        length, pause = frames * self._shift, pause * self._shift
        long_enough = length >= self.live.max_seconds and pause >= self.live.short_pause_seconds
        return pause >= self.live.pause_seconds or long_enough or length >= self.live.hard_max_seconds
