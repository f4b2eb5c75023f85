"""Truncated BPTT as a table: which utterance is in which slot at which batch, and from which frame on.

N slots run in parallel. A slot reads its utterance in chunks of T frames; when it ends, the next utterance of the
epoch's order takes the slot at the next batch, from the zero state. The whole epoch is laid out beforehand as a table
[batches, slots], so that any batch can be made from its number alone: nothing moves but the network's state, and a
resumed training needs no more than the number of its batch.

The label of frame t is asked for at output t + delay. An utterance is therefore read ``delay`` frames further, as
copies of its last frame; its first ``delay`` outputs, and those beyond its end, carry no loss.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import torch

from lstmp.nnet.data import FrameSet


@dataclass(frozen=True)
class Plan:
    """The table of an epoch: ``utt`` and ``start``, int64 [batches, slots]; utt is -1 in a slot that has run out.

    Slots run out at the end only: none is taken up again.
    """

    utt: torch.Tensor
    start: torch.Tensor

    def __len__(self):
        return len(self.utt)


@dataclass(frozen=True)
class Batch:
    """One chunk of each of the n slots still in use.

    Attributes:
        features: float32 [T, n, D].
        targets: int64 [T, n], pdf-ids, -1 where there is no loss.
        frames: int64 [T, n], row of :attr:`FrameSet.features` that each input was taken from.
        utts: int64 [n], which utterance.
        carry: int64 [n], where each slot's state lies among those of the batch before; None if the slots are the same.
        fresh: bool [n], True where an utterance starts and the state is to be zero.
    """

    features: torch.Tensor
    targets: torch.Tensor
    frames: torch.Tensor
    utts: torch.Tensor
    carry: torch.Tensor | None
    fresh: torch.Tensor


def epoch_order(lengths: torch.Tensor, slots: int, seed: int, epoch: int) -> np.ndarray:
    """Order of the utterances in an epoch, by seed and epoch alone.

    Random, but the last ``slots`` ones by falling length, so that the slots run out at nearly the same time.
    """
    order = np.random.default_rng([seed, epoch, 0]).permutation(len(lengths))
    tail = order[-slots:]
    order[-slots:] = tail[np.argsort(-lengths.numpy()[tail], kind="stable")]
    return order


def plan_epoch(lengths: torch.Tensor, order, slots: int, chunk: int, delay: int) -> Plan:
    """Lay out utterances of ``lengths`` frames, in ``order``, over ``slots`` slots in chunks of ``chunk`` frames."""
    chunks = ((lengths + delay + chunk - 1) // chunk).tolist()
    slots = min(slots, len(order))
    free = [(0, slot) for slot in range(slots)]  # (batch from which on it is free, slot): a heap
    placed = []
    for u in order:
        begin, slot = heapq.heappop(free)
        placed.append((begin, slot, int(u)))
        heapq.heappush(free, (begin + chunks[u], slot))
    batches = max(end for end, _ in free)
    utt = torch.full((batches, slots), -1, dtype=torch.int64)
    start = torch.zeros((batches, slots), dtype=torch.int64)
    for begin, slot, u in placed:
        utt[begin:begin + chunks[u], slot] = u
        start[begin:begin + chunks[u], slot] = torch.arange(chunks[u]) * chunk
    return Plan(utt, start)


class Streams:
    """Makes the batches of a plan.

    Args:
        frames: features, normalized, and pdf-ids.
        plan: of :func:`plan_epoch`.
        chunk: T.
        delay: label delay in frames.
    """

    def __init__(self, frames: FrameSet, plan: Plan, chunk: int, delay: int):
        self.frames, self.plan, self.delay = frames, plan, delay
        self._steps = torch.arange(chunk).unsqueeze(1)
        self._lengths = frames.lengths

    def __len__(self):
        return len(self.plan)

    def batch(self, number: int) -> Batch:
        """Batch ``number`` (from 0)."""
        utt, start = self.plan.utt[number], self.plan.start[number]
        carry, active = None, utt >= 0
        if number > 0:
            before = self.plan.utt[number - 1] >= 0
            if not torch.equal(active, before):
                carry = (before.cumsum(0) - 1)[active]
        if not active.all():
            utt, start = utt[active], start[active]
        offset, length = self.frames.offsets[utt], self._lengths[utt]
        time = start + self._steps  # [T, n], in frames of the utterance
        rows = offset + torch.minimum(time, length - 1)
        time = time - self.delay
        valid = (time >= 0) & (time < length)
        targets = torch.where(valid, self.frames.pdfs[offset + time.clamp(min=0).minimum(length - 1)], -1)
        features = self.frames.features.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        return Batch(features, targets, rows, utt, carry, start == 0)


def carry_state(state, batch: Batch):
    """The state for ``batch``: of its slots only, detached from the chunk before, zero where an utterance starts."""
    carried = []
    for tensors in state:
        tensors = [t.detach() if batch.carry is None else t.detach()[batch.carry] for t in tensors]
        fresh = batch.fresh.unsqueeze(1).to(tensors[0].device)
        carried.append(tuple(t.masked_fill(fresh, 0.0) for t in tensors))
    return carried
