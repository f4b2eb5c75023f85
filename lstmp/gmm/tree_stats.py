"""Statistics for growing a decision tree: a Gaussian for every phone window and pdf-class of an alignment."""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp import distributed
from lstmp.gmm.align import segments
from lstmp.gmm.shard import Shard
from lstmp.gmm.transition import BEGIN_FRAMES, TransitionModel
from lstmp.gmm.tree import Tree

VARIANCE_FLOOR = 0.01
_LOG_2PI_E = float(np.log(2 * np.pi) + 1)


@dataclass
class TreeStats:
    """Count, sum and sum of squares of the frames of each event.

    Attributes:
        events: int64 [K, 4] of (left phone, phone, right phone, pdf-class). Phone 0 stands for a position outside the
            utterance, and for the neighbours of a context-independent phone.
        moments: float64 [K, 1 + 2D] of (count, sum of x, sum of x²).
    """

    events: np.ndarray
    moments: np.ndarray

    def without(self, *, right: bool, pdf_class: bool) -> "TreeStats":
        """The statistics summed over the right phones, over the pdf-classes, or over both."""
        events = self.events * np.array([1, 1, not right, not pdf_class])
        events, index = np.unique(events, axis=0, return_inverse=True)
        moments = np.zeros((len(events), self.moments.shape[1]))
        np.add.at(moments, index.reshape(-1), self.moments)
        return TreeStats(events, moments)


def windows(tids: np.ndarray, transitions: TransitionModel, context_free: set[int]):
    """Return the phone windows of an alignment, int64 [n, 3], and the index of each frame's window, int64 [T]."""
    parts = segments(tids, transitions)
    phones = np.array([0] + [s.phone for s in parts] + [0])
    out = np.stack([phones[:-2], phones[1:-1], phones[2:]], 1)
    out[np.isin(out[:, 1], list(context_free))] *= np.array([0, 1, 0])
    return out, np.repeat(np.arange(len(parts)), [s.length for s in parts])


def accumulate(shard: Shard, transitions: TransitionModel, context_free: set[int], chain: bool = False) -> TreeStats:
    """Collect the statistics of this process's aligned utterances, and sum them over all processes.

    Args:
        shard: utterances with an alignment by ``transitions``.
        context_free: context-independent phones, such as silence.
        chain: the pdf-classes are those of :meth:`lstmp.corpus.topology.Topology.chain`, 0 in the first
            ``BEGIN_FRAMES`` frames of a phone and then 1, not the states of the alignment.
    """
    radix = int(transitions.tuples[:, 0].max()) + 1
    codes, moments = np.zeros(0, np.int64), torch.zeros(0, 1 + 2 * shard.dim, dtype=torch.float64)
    for block in shard.blocks():
        codes, moments = _add(codes, moments, *_of_block(shard, sorted(block), transitions, context_free, radix, chain))
    all_codes = np.unique(np.concatenate(distributed.gather(codes)))
    summed = torch.zeros(len(all_codes), moments.shape[1], dtype=torch.float64)
    summed[torch.from_numpy(np.searchsorted(all_codes, codes))] = moments
    distributed.all_reduce(summed)
    code = all_codes // 16
    events = np.stack([code // (radix * radix), code // radix % radix, code % radix, all_codes % 16], 1)
    return TreeStats(events, summed.numpy())


def frames_before(index: np.ndarray) -> np.ndarray:
    """How many frames each frame comes after the first one with the same, consecutive value of ``index`` [T]."""
    return np.arange(len(index)) - np.searchsorted(index, index)


def _of_block(shard: Shard, utts: list[str], transitions: TransitionModel, context_free: set[int],
              radix: int, chain: bool) -> tuple[np.ndarray, torch.Tensor]:
    """The distinct events of some utterances, as sorted numbers int64 [K], and their moments float64 [K, 1 + 2D]."""
    state, keys = transitions.tid_state.numpy(), []
    for utt in utts:
        window, index = windows(shard.alignment[utt], transitions, context_free)
        code = (window[:, 0] * radix + window[:, 1]) * radix + window[:, 2]
        pdf_class = frames_before(index) >= BEGIN_FRAMES if chain else state[shard.alignment[utt]]
        keys.append(code[index] * 16 + pdf_class)
    codes, inverse = np.unique(np.concatenate(keys) if keys else np.zeros(0, np.int64), return_inverse=True)
    moments = torch.zeros(len(codes), 1 + 2 * shard.dim, dtype=torch.float64)
    start = 0
    for _, feats in shard.feats.read(utts):
        x = feats.cpu().double()
        rows = torch.from_numpy(inverse[start:start + len(x)])
        moments.index_add_(0, rows, torch.cat([torch.ones(len(x), 1, dtype=torch.float64), x, x * x], 1))
        start += len(x)
    return codes, moments


def _add(codes: np.ndarray, moments: torch.Tensor, more_codes: np.ndarray,
         more_moments: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
    """Add the moments of two sets of events."""
    both = np.union1d(codes, more_codes)
    total = torch.zeros(len(both), moments.shape[1], dtype=torch.float64)
    for part, x in ((codes, moments), (more_codes, more_moments)):
        total[torch.from_numpy(np.searchsorted(both, part))] += x
    return both, total


def log_likelihood(moments: np.ndarray) -> np.ndarray:
    """Log-likelihood of data under their maximum-likelihood diagonal Gaussian: moments [..., 1 + 2D] → [...]."""
    dim = (moments.shape[-1] - 1) // 2
    n = moments[..., 0]
    safe = np.maximum(n, 1e-10)[..., None]
    mean = moments[..., 1:1 + dim] / safe
    variance = np.maximum(moments[..., 1 + dim:] / safe - mean * mean, VARIANCE_FLOOR)
    return -0.5 * n * (np.log(variance).sum(-1) + dim * _LOG_2PI_E)


def by_value(moments: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the rows of ``moments`` with the same value; returns (distinct values, sums)."""
    order = np.argsort(values, kind="stable")
    distinct, starts = np.unique(values[order], return_index=True)
    return distinct, np.add.reduceat(moments[order], starts, axis=0)


def convert_alignment(tids: np.ndarray, old: TransitionModel, new: TransitionModel, tree: Tree,
                      context_free: set[int]) -> np.ndarray:
    """Convert an alignment to the transition-ids of another tree; every frame keeps its phone.

    It also keeps its HMM state, except if the topology of ``new`` is one for low frame rates.
    """
    window, index = windows(tids, old, context_free)
    if new.topology != old.topology:
        return low_rate_path(window, index, new, tree)
    within = tids - old.first_tid.numpy()[old.tid_tuple.numpy()[tids]]
    return (_first_tids(window, new, tree)[index, old.tid_state.numpy()[tids]] + within).astype(np.int32)


def low_rate_path(window: np.ndarray, index: np.ndarray, transitions: TransitionModel, tree: Tree) -> np.ndarray:
    """The transition-ids int32 [T] of phones whose topology is one for low frame rates, in the reordered form.

    Args:
        window, index: the phone windows, int64 [n, 3], and the index of each frame's window, as :func:`windows` returns
            them.
        transitions, tree: of the model.
    """
    assert transitions.topology.for_low_rate
    first, before, exits = _first_tids(window, transitions, tree), frames_before(index), transitions.is_final.numpy()
    # in each state first the transition out of it, then the self-loops
    if transitions.topology.is_chain:
        tid = first[index, np.minimum(before, 1)]
        # the beginning is left for the other state, unless it is the only frame
        leaves = (before == 1) | (before == 0) & (np.bincount(index)[index] == 1)
    else:
        tid, leaves = first[index, 0], before == 0
    return np.where(leaves == exits[tid], tid, tid + 1).astype(np.int32)


def _first_tids(window: np.ndarray, transitions: TransitionModel, tree: Tree) -> np.ndarray:
    """The first transition-id of each state of the phone in each window [n, 3]: int64 [n, 16]."""
    first = np.zeros((len(window), 16), dtype=np.int64)
    for row, (left, phone, right) in enumerate(window.tolist()):
        key = tree.window(left, phone, right)
        for state in range(len(transitions.topology.entries[phone])):
            first[row, state] = transitions.first_tid[transitions.tuple_index(phone, state, tree.pdf(key, state))]
    return first
