"""A process's features and training graphs: what fits in memory is kept there, the rest is made again in each pass.

Reading an utterance's features takes a few percent of the time of its statistics or its alignment, and compiling its
graph a tenth of the time of its alignment. So memory stays bounded for any amount of data, and time linear.
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from lstmp.errors import UserError
from lstmp.features.load import Features, affine_transform
from lstmp.gmm.training_graph import GraphCompiler, TrainingGraph

_AHEAD, _FRAMES_AHEAD = 32, 100_000  # utterances that are read ahead of their use, and their frames


class Frames:
    """Utterance → its current features, float32 [T, dim].

    All utterances are read once at the start, to find those that cannot be used.

    Args:
        features: reads them.
        utts: the utterances.
        device: where the features are used.
        room: how many bytes may be kept.

    Attributes:
        dim: D of the current features.
        lengths: utterance → number of frames, for those that can be used.
        unusable: utterance → reason, for the others.
    """

    def __init__(self, features: Features, utts: list[str], device, room: int):
        self._features, self._device, self._room, self.dim = features, device, room, features.dim
        self._matrices: list[torch.Tensor] = []
        self._transforms: dict[str, torch.Tensor] = {}
        self._kept: dict[str, torch.Tensor] = {}     # before and after the transforms of the speakers
        self._adapted: dict[str, torch.Tensor] = {}
        self.lengths: dict[str, int] = {}
        self.unusable: dict[str, str] = {}
        for utt in utts:
            try:
                feats = self._read(utt)
            except UserError as e:
                self.unusable[utt] = str(e)
                continue
            self.lengths[utt] = len(feats)
            self._keep(self._kept, utt, feats)

    def __getitem__(self, utt: str) -> torch.Tensor:
        return self._adapt(utt, self.unadapted(utt))

    def unadapted(self, utt: str) -> torch.Tensor:
        """The features of an utterance without its speaker's transform."""
        if utt not in self._kept:
            return self._keep(self._kept, utt, self._read(utt))
        return self._kept[utt]

    def read(self, utts: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """Iterate over (utterance, current features). A thread reads the utterances that are not kept, ahead of use."""
        yield from ((utt, current) for utt, _, current in self.read_both(utts))

    def read_both(self, utts: Iterable[str]) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """As :meth:`read`: (utterance, features without its speaker's transform, current features)."""
        utts = list(utts)
        if all(utt in self._kept for utt in utts):
            yield from ((utt, self._kept[utt], self[utt]) for utt in utts)
            return
        with ThreadPoolExecutor(1) as reader:
            queue: collections.deque[Future | None] = collections.deque()
            upcoming, ahead = 0, 0  # index of the next utterance to read, and frames of those in the queue
            for utt in utts:
                while upcoming < len(utts) and len(queue) < _AHEAD and (ahead < _FRAMES_AHEAD or not queue):
                    following = utts[upcoming]
                    queue.append(None if following in self._kept else reader.submit(self._read, following))
                    upcoming, ahead = upcoming + 1, ahead + self.lengths[following]
                future = queue.popleft()
                ahead -= self.lengths[utt]
                if future is None or utt in self._kept:
                    feats = self._kept[utt]
                else:
                    feats = self._keep(self._kept, utt, future.result())
                del future  # it would keep the features until the next utterance
                yield utt, feats, self._adapt(utt, feats)

    def transform(self, matrix: torch.Tensor):
        """Apply a linear transform [D', D] to the features. Speakers must not have transforms yet."""
        assert not self._transforms
        matrix = matrix.to(self._device)
        self._matrices.append(matrix)
        for utt, feats in self._kept.items():
            self._kept[utt] = feats @ matrix.t()
            self._room += _size(feats) - _size(self._kept[utt])
        self.dim = len(matrix)

    def adapt(self, transforms: dict[str, torch.Tensor]):
        """Replace the affine transforms [D, D + 1] of the speakers; a speaker without one is not adapted."""
        self._room += sum(map(_size, self._adapted.values()))
        self._adapted = {}
        self._transforms = {speaker: x.to(self._device) for speaker, x in transforms.items()}

    def blocks(self, utts: list[str], size: int) -> list[list[str]]:
        """Cut utterances into blocks of up to ``size`` bytes of features: in the given order if all are kept, otherwise
        in the order of the archives. There is at least one block."""
        if not all(utt in self._kept for utt in utts):
            utts = sorted(utts, key=self._features.position)
        blocks: list[list[str]] = [[]]
        room = size // (4 * self.dim)
        for utt in utts:
            room -= self.lengths[utt]
            if room < 0 and blocks[-1]:
                blocks.append([])
                room = size // (4 * self.dim) - self.lengths[utt]
            blocks[-1].append(utt)
        return blocks

    def _read(self, utt: str) -> torch.Tensor:
        feats = self._features.load(utt).to(self._device)
        for matrix in self._matrices:
            feats = feats @ matrix.t()
        return feats

    def _adapt(self, utt: str, feats: torch.Tensor) -> torch.Tensor:
        if utt in self._adapted:
            return self._adapted[utt]
        transform = self._transforms.get(self._features.speaker(utt)) if self._transforms else None
        return feats if transform is None else self._keep(self._adapted, utt, affine_transform(feats, transform))

    def _keep(self, kept: dict[str, torch.Tensor], utt: str, feats: torch.Tensor) -> torch.Tensor:
        """Keep features if there is room; returns them."""
        if _size(feats) <= self._room:
            self._room -= _size(feats)
            kept[utt] = feats
        return feats


class Graphs:
    """Utterance → its training graph. All are compiled once at the start, so that errors are found.

    Args:
        compiler: compiles a transcript.
        words: utterance → word ids.
        room: how many bytes may be kept.

    Attributes:
        min_frames, states: utterance → length of the shortest path, and number of states.
    """

    def __init__(self, compiler: GraphCompiler, words: dict[str, list[int]], room: int):
        self._compiler, self._words, self._room = compiler, words, room
        self._kept: dict[str, TrainingGraph] = {}
        self.min_frames: dict[str, int] = {}
        self.states: dict[str, int] = {}
        for utt in words:
            graph = compiler.compile(words[utt])
            self.min_frames[utt], self.states[utt] = graph.min_frames, len(graph.pdf)
            # twice, because the arcs are sorted once more for the alignment
            size = 2 * sum(x.nbytes for x in vars(graph).values() if isinstance(x, np.ndarray))
            if size <= self._room:
                self._room -= size
                self._kept[utt] = graph

    def __getitem__(self, utt: str) -> TrainingGraph:
        return self._kept[utt] if utt in self._kept else self._compiler.compile(self._words[utt])


def _size(feats: torch.Tensor) -> int:
    return feats.numel() * feats.element_size()
