"""State-level lattices: what the search keeps of an utterance, in memory and on disk.

A lattice is an acyclic graph whose every path is one frame-by-frame explanation of the utterance. All states belong to
one frame: state 0 to the start, the last state to the end, arcs lead from the states of frame t to those of frame
t + 1. The scores of its parts are kept apart and unscaled, so that LM weight and word penalty can be chosen later.

On disk: one safetensors file for the utterances of a job, arcs of all utterances in a row:

    arcs        int32   [A, 3]  from-state, to-state, label (pdf-id + 1; -1 on arcs into the last state)
    acoustic    float32 [A]     log-likelihood of the arc's frame, unscaled, natural logarithm; 0 on the last arcs
    graph       float32 [A]     graph score: LM, pronunciation and transition log-probabilities
    num_words   uint8   [A]     words that the arc emits
    words       int32   [W]     their ids, in the order of the arcs
    arc_splits  int64   [U + 1] arcs of utterance u: arc_splits[u] to arc_splits[u + 1]; none: it has no path

The file's metadata hold ``format`` and, as JSON, ``utts`` (the ids, in order) and ``info`` (what the writer adds).
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from lstmp.errors import UserError
from lstmp.tensors import write_tensors

FORMAT = "lstmp lattices 1"
_NAMES = ("arcs", "acoustic", "graph", "num_words", "words", "arc_splits")
_MEND = "delete it and run the same decoding again; the other jobs are kept"


@dataclass(frozen=True, eq=False)
class Lattice:
    """One utterance's lattice; the arrays are those of the module's table, for one utterance.

    Arcs are sorted by from-state; states are numbered frame by frame.
    """

    arcs: np.ndarray
    acoustic: np.ndarray
    graph: np.ndarray
    num_words: np.ndarray
    words: np.ndarray

    @classmethod
    def empty(cls) -> "Lattice":
        """The lattice without a path."""
        return cls(np.zeros((0, 3), np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8),
                   np.zeros(0, np.int32))

    @classmethod
    def assembled(cls, arcs, acoustic, graph, num_words, words) -> "Lattice":
        """From arrays of any kind of number.

        Raises:
            UserError: more words on an arc than can be counted.
        """
        if len(num_words) and num_words.max() > 255:
            raise UserError(f"{num_words.max()} words on one arc of the graph", mend="make the graph again")
        return cls(np.ascontiguousarray(arcs, np.int32), acoustic.astype(np.float32), graph.astype(np.float32),
                   num_words.astype(np.uint8), words.astype(np.int32))

    @property
    def num_arcs(self) -> int:
        return len(self.arcs)

    @cached_property
    def num_states(self) -> int:
        return int(self.arcs[:, 1].max()) + 1 if len(self.arcs) else 0

    @cached_property
    def word_splits(self) -> np.ndarray:
        """Words of arc a: ``words[splits[a]:splits[a + 1]]``."""
        return np.concatenate([[0], np.cumsum(self.num_words, dtype=np.int64)])

    def pruned(self, kept: np.ndarray) -> "Lattice":
        """The lattice of the arcs for which ``kept``, bool [A], is true; states keep their numbers."""
        return Lattice(self.arcs[kept], self.acoustic[kept], self.graph[kept], self.num_words[kept],
                       self.words[np.repeat(kept, self.num_words)])

    def words_on(self, arcs) -> list[int]:
        """Word ids along a sequence of arc numbers."""
        arcs = np.asarray(arcs)
        splits = self.word_splits
        return [int(w) for a in arcs[self.num_words[arcs] > 0] for w in self.words[splits[a]:splits[a + 1]]]


def write_lattices(path, lattices: dict[str, Lattice], info: dict | None = None):
    """Write the lattices of a job, by a temporary name and a rename. ``info`` is any JSON-able mapping."""
    parts = list(lattices.values()) or [Lattice.empty()]
    tensors = {name: np.ascontiguousarray(np.concatenate([getattr(x, name) for x in parts])) for name in _NAMES[:-1]}
    tensors["arc_splits"] = np.cumsum([0] + [x.num_arcs for x in lattices.values()], dtype=np.int64)
    write_tensors(path, {name: torch.from_numpy(x) for name, x in tensors.items()},
                  {"format": FORMAT, "utts": json.dumps(list(lattices)), "info": json.dumps(info or {})})


def read_info(path) -> dict:
    """The ``info`` of :func:`write_lattices`, without reading the lattices.

    Raises:
        UserError: not a lattice file, or a damaged one.
    """
    with _open(path) as f:
        return json.loads(f.metadata()["info"])


def read_lattices(path) -> dict[str, Lattice]:
    """Read a job's lattices.

    Raises:
        UserError: no such file, not a lattice file, or a damaged one.
    """
    with _open(path) as f:
        utts = json.loads(f.metadata()["utts"])
        data = {name: f.get_tensor(name) for name in _NAMES}
    splits, num_arcs = data["arc_splits"], len(data["arcs"])
    word_splits = np.concatenate([[0], np.cumsum(data["num_words"], dtype=np.int64)])
    if (len(splits) != len(utts) + 1 or splits[-1] != num_arcs or word_splits[-1] != len(data["words"])
            or any(len(data[name]) != num_arcs for name in ("acoustic", "graph", "num_words"))
            or not _leads_on(data["arcs"], splits)):
        raise UserError("its parts do not fit together", file=path, mend=_MEND)
    lattices = {}
    for utt, a, b in zip(utts, splits[:-1], splits[1:], strict=True):
        lattices[utt] = Lattice(*(data[name][a:b] for name in _NAMES[:4]),
                                data["words"][word_splits[a]:word_splits[b]])
    return lattices


def _leads_on(arcs: np.ndarray, splits: np.ndarray) -> bool:
    """Whether all arcs lead from a state to a higher one, and those of each utterance are sorted by from-state."""
    falls = np.flatnonzero(np.diff(arcs[:, 0]) < 0) + 1
    return (arcs[:, 0] >= 0).all() and (arcs[:, 0] < arcs[:, 1]).all() and np.isin(falls, splits).all()


def _open(path):
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", file=path, mend="run the decoding that makes it")
    try:
        f = safe_open(path, "np")
        metadata = f.metadata() or {}
        if metadata.get("format") == FORMAT and {"utts", "info"} <= set(metadata) and set(f.keys()) == set(_NAMES):
            return f
    except SafetensorError:
        pass
    raise UserError("not a lattice file, or a damaged one", file=path, mend=_MEND)
