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

    def of(self, slots: slice) -> "Plan":
        """The table of some of the slots."""
        return Plan(self.utt[:, slots], self.start[:, slots])


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
        lengths: int64 [n], how many of the T frames belong to the utterance (with the delay), at least one.
    """

    features: torch.Tensor
    targets: torch.Tensor
    frames: torch.Tensor
    utts: torch.Tensor
    carry: torch.Tensor | None
    fresh: torch.Tensor
    lengths: torch.Tensor


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


def plan_whole(lengths: torch.Tensor, slots: int, seed: int, epoch: int) -> Plan:
    """Whole utterances, ``slots`` of like length in a batch, the batches in an order drawn by seed and epoch."""
    rng = np.random.default_rng([seed, epoch, 0])
    by_length = np.lexsort([rng.random(len(lengths)), lengths.numpy()])  # those of one length in any order
    table = in_turn(by_length, slots)
    return Plan(table.utt[torch.from_numpy(rng.permutation(len(table)))], table.start)


def in_turn(utts: np.ndarray, slots: int) -> Plan:
    """Whole utterances in the order given, ``slots`` in a batch; the last batch may have fewer."""
    utt = torch.full((-(-len(utts) // slots) * slots,), -1, dtype=torch.int64)
    utt[:len(utts)] = torch.from_numpy(utts)
    return Plan(utt.view(-1, slots), torch.zeros(len(utt) // slots, slots, dtype=torch.int64))


def plan(lengths: torch.Tensor, slots: int, chunk: int, delay: int, seed: int, epoch: int) -> Plan:
    """The table of an epoch of training; ``chunk`` 0 means whole utterances."""
    if chunk == 0:
        return plan_whole(lengths, slots, seed, epoch)
    return plan_epoch(lengths, epoch_order(lengths, slots, seed, epoch), slots, chunk, delay)


class Streams:
    """Makes the batches of a plan.

    Args:
        frames: features, normalized, and pdf-ids.
        plan: of :func:`plan_epoch`.
        chunk: T; 0: as many frames as the longest utterance of a batch has, with the delay.
        delay: label delay in frames.
    """

    def __init__(self, frames: FrameSet, plan: Plan, chunk: int, delay: int):
        self.frames, self.plan, self.delay = frames, plan, delay
        self.chunk = chunk
        self._lengths = frames.lengths

    def __len__(self):
        return len(self.plan)

    def batch(self, number: int) -> Batch | None:
        """Batch ``number`` (from 0); None if no slot is in use any more."""
        utt, start = self.plan.utt[number], self.plan.start[number]
        carry, active = None, utt >= 0
        if number > 0 and self.chunk:
            before = self.plan.utt[number - 1] >= 0
            if not torch.equal(active, before):
                carry = (before.cumsum(0) - 1)[active]
        if not active.all():
            utt, start = utt[active], start[active]
        if not len(utt):
            return None
        offset, length = self.frames.offsets[utt], self._lengths[utt]
        steps = self.chunk or int(length.max()) + self.delay
        time = start + torch.arange(steps).unsqueeze(1)  # [T, n], in frames of the utterance
        rows = offset + torch.minimum(time, length - 1)
        time = time - self.delay
        valid = (time >= 0) & (time < length)
        targets = torch.where(valid, self.frames.pdfs[offset + time.clamp(min=0).minimum(length - 1)], -1)
        features = self.frames.features.index_select(0, rows.view(-1)).view(*rows.shape, -1)
        left = (length + self.delay - start).clamp(max=steps)
        return Batch(features, targets, rows, utt, carry, start == 0, left)


def carry_state(state, batch: Batch):
    """The state for ``batch``: of its slots only, detached from the chunk before, zero where an utterance starts.

    Not for batches of whole utterances, which begin with the zero state.
    """
    carried = []
    for tensors in state:
        tensors = [t.detach() if batch.carry is None else t.detach()[batch.carry] for t in tensors]
        fresh = batch.fresh.unsqueeze(1).to(tensors[0].device)
        carried.append(tuple(t.masked_fill(fresh, 0.0) for t in tensors))
    return carried


def frames_of_updates(table: Plan, lengths: torch.Tensor, chunk: int, accumulate: int) -> list[int]:
    """What the loss of each batch is divided by: the frames of ``accumulate`` full batches, which are one update.

    A frame so weighs the same in the last, thinner batches. Whole utterances count as they are.
    """
    if chunk:
        return [table.utt.shape[1] * chunk * accumulate] * len(table)
    frames = torch.where(table.utt >= 0, lengths[table.utt.clamp(min=0)], 0).sum(1)
    return [int(frames[i - i % accumulate:i - i % accumulate + accumulate].sum()) for i in range(len(table))]
