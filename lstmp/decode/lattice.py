"""State-level lattices, the result of the search, in memory and on disk.

A lattice is an acyclic graph. Each of its paths is one frame-by-frame alignment of the utterance with a word sequence.
Each state belongs to one frame: state 0 is the start, the last state is the end, and arcs lead from the states of frame
t to those of frame t + 1. Acoustic and graph scores are stored separately and unscaled, so that LM weight and word
penalty can be chosen later.

On disk: one safetensors file for the utterances of a job, with the arcs of all utterances concatenated:

    arcs        int32   [A, 3]  from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state)
    acoustic    float32 [A]     log-likelihood of the arc's frame, unscaled, natural logarithm; 0 on the last arcs
    graph       float32 [A]     graph score: LM, pronunciation and transition log-probabilities
    num_words   uint8   [A]     number of words that the arc emits
    words       int32   [W]     their ids, in the order of the arcs
    arc_splits  int64   [U + 1] arcs of utterance u: arc_splits[u] to arc_splits[u + 1] - 1; no arcs if it has no path

The metadata of the file hold ``format`` and, as JSON, ``utts`` (the ids, in order) and ``info`` (added by the writer).
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Array, Json
from lstmp.errors import UserError
from lstmp.tensors import are, opened, write_tensors

FORMAT = "lstmp lattices 1"
_NAMES = ("arcs", "acoustic", "graph", "num_words", "words", "arc_splits")
_HINT = "delete it and run the same decoding again; the other jobs are kept"


@dataclass(frozen=True, eq=False)
class Lattice:
    """The lattice of one utterance; for its arrays see the table in the module's docstring.

    Arcs are sorted by from-state; states are numbered frame by frame.
    """

    arcs: Array
    acoustic: Array
    graph: Array
    num_words: Array
    words: Array

    @classmethod
    def empty(cls) -> "Lattice":
        """A lattice without a path."""
        return cls(np.zeros((0, 3), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8),
                   np.zeros(0, np.int32))

    @classmethod
    def assembled(cls, arcs: Array, acoustic: Array, graph: Array, num_words: Array, words: Array) -> "Lattice":
        """Make a lattice from arrays of any dtype.

        Raises:
            UserError: an arc has more than 255 words.
        """
        if len(num_words) and num_words.max() > 255:
            raise UserError(f"{num_words.max()} words on one arc of the graph", hint="make the graph again")
        return cls(np.ascontiguousarray(arcs, np.int32), acoustic.astype(np.float32), graph.astype(np.float32),
                   num_words.astype(np.uint8), words.astype(np.int32))

    @property
    def num_arcs(self) -> int:
        return len(self.arcs)

    @cached_property
    def num_states(self) -> int:
        return int(self.arcs[:, 1].max()) + 1 if len(self.arcs) else 0

    @cached_property
    def word_splits(self) -> Array:
        """int64 [A + 1]; the words of arc a are ``words[word_splits[a]:word_splits[a + 1]]``."""
        return np.concatenate([[0], np.cumsum(self.num_words, dtype=np.int64)])

    def pruned(self, kept: Array) -> "Lattice":
        """The lattice with only the arcs for which ``kept``, bool [A], is true; states keep their numbers."""
        return Lattice(self.arcs[kept], self.acoustic[kept], self.graph[kept], self.num_words[kept],
                       self.words[np.repeat(kept, self.num_words)])

    def renumbered(self) -> "Lattice":
        """The lattice without the states that have no arcs, which are left after :meth:`pruned`."""
        _, numbers = np.unique(self.arcs[:, :2], return_inverse=True)
        arcs = np.column_stack([numbers.reshape(-1, 2), self.arcs[:, 2]]).astype(np.int32)
        return Lattice(arcs, self.acoustic, self.graph, self.num_words, self.words)

    def words_on(self, arcs: Array) -> list[int]:
        """Word ids along a sequence of arc numbers."""
        arcs = np.asarray(arcs)
        splits = self.word_splits
        return [int(w) for a in arcs[self.num_words[arcs] > 0] for w in self.words[splits[a]:splits[a + 1]]]


def write_lattices(path: Path | str, lattices: dict[str, Lattice], info: Json | None = None) -> None:
    """Write the lattices of a job atomically. ``info`` is any mapping that JSON can represent."""
    parts = list(lattices.values()) or [Lattice.empty()]
    tensors = {name: np.ascontiguousarray(np.concatenate([getattr(x, name) for x in parts])) for name in _NAMES[:-1]}
    tensors["arc_splits"] = np.cumsum([0] + [x.num_arcs for x in lattices.values()], dtype=np.int64)
    write_tensors(path, {name: torch.from_numpy(x) for name, x in tensors.items()},
                  {"format": FORMAT, "utts": json.dumps(list(lattices)), "info": json.dumps(info or {})})


def read_info(path: Path | str) -> Json:
    """Read the ``info`` of :func:`write_lattices`, without the lattices.

    Raises:
        UserError: not a lattice file, or a damaged one.
    """
    with _opened(path) as (_, _, info):
        return info


def read_utterances(path: Path | str) -> list[str]:
    """Read the ids of the utterances of a job, without the lattices.

    Raises:
        UserError: not a lattice file, or a damaged one.
    """
    with _opened(path) as (_, utts, _):
        return utts


def read_lattices(path: Path | str) -> dict[str, Lattice]:
    """Read a job's lattices.

    Raises:
        UserError: no such file, not a lattice file, or a damaged one.
    """
    with _opened(path) as (f, utts, _):
        data = {name: f.get_tensor(name) for name in _NAMES}
    if not _is_consistent(data, len(utts)):
        raise UserError("its arrays are not consistent with each other", file=path, hint=_HINT)
    splits = data["arc_splits"]
    word_splits = np.concatenate([[0], np.cumsum(data["num_words"], dtype=np.int64)])
    lattices = {}
    for utt, a, b in zip(utts, splits[:-1], splits[1:], strict=True):
        arcs, acoustic, graph, num_words = (data[name][a:b] for name in _NAMES[:4])
        lattices[utt] = Lattice(arcs, acoustic, graph, num_words, data["words"][word_splits[a]:word_splits[b]])
    return lattices


def _is_consistent(data: dict[str, Array], num_utts: int) -> bool:
    """Whether the arrays have the right dtypes and sizes, and all arcs and words are within them."""
    arcs, acoustic, graph, num_words, words, splits = (data[name] for name in _NAMES)
    dtypes_ok = are("int32", arcs, dims=2) and are("float32", acoustic, graph) and are("uint8", num_words) \
        and are("int32", words) and are("int64", splits) and arcs.shape[1] == 3
    if not dtypes_ok or not len(acoustic) == len(graph) == len(num_words) == len(arcs) or len(splits) != num_utts + 1:
        return False
    lengths = np.diff(splits)
    whole = splits[0] == 0 and splits[-1] == len(arcs) and (lengths >= 0).all()
    if not whole or num_words.sum(dtype=np.int64) != len(words) or (words <= 0).any():
        return False
    labels_fit = (arcs[:, 2] >= -1).all() and (arcs[:, 2] != 0).all()
    return bool(labels_fit) and not np.isnan([acoustic, graph]).any() and _is_sorted(arcs, splits, lengths)


def _is_sorted(arcs: Array, splits: Array, lengths: Array) -> bool:
    """Whether each arc leads to a higher state, no state number exceeds the number of arcs, and the arcs of each
    utterance are sorted by from-state."""
    falls = np.flatnonzero(np.diff(arcs[:, 0]) < 0) + 1
    return bool((arcs[:, 0] >= 0).all() and (arcs[:, 0] < arcs[:, 1]).all()
                and (arcs[:, 1] <= np.repeat(lengths, lengths)).all() and np.isin(falls, splits).all())


@contextlib.contextmanager
def _opened(path: Path | str) -> Iterator[tuple[Any, list[str], Json]]:
    """Open a lattice file: (file, utterances, info)."""
    with opened(path, "not a lattice file, or a damaged one", _HINT, ("no such file", "run the decoding that makes it"),
                "np") as f:
        metadata = f.metadata()
        utts, info = (config.json_value(metadata[name]) for name in ("utts", "info"))
        if metadata["format"] != FORMAT or set(f.keys()) != set(_NAMES) or not isinstance(info, dict) \
                or not isinstance(utts, list) or not all(isinstance(u, str) for u in utts) or len({*utts}) < len(utts):
            raise ValueError
        yield f, utts, info
