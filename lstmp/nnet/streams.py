"""Plans the batches of truncated BPTT: which utterance each stream reads in each batch, and from which frame.

A batch has N parallel streams. A stream reads an utterance in chunks of T frames; when the utterance ends, the stream
continues in the next batch with the next utterance of the epoch's order, from the zero state. The whole epoch is
planned in advance as a table [batches, streams], so that any batch can be computed from its number. Only the network's
state is carried from batch to batch, and a resumed training needs only the number of its batch.

The target of frame t is predicted at frame t + delay. Each utterance is therefore extended by ``delay`` copies of its
last frame; its first ``delay`` outputs, and the outputs beyond its end, have no loss.

Frames of a plan, and the delay, are output frames of the network. With subsampling, each of them stands for a group of
S frames of the utterance (:mod:`lstmp.features.output_frames`); otherwise S is 1, and they are the frames themselves.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import torch

from lstmp.features.output_frames import output_lengths, phases, target_frames
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import Frames


@dataclass(frozen=True)
class Plan:
    """The table of an epoch: index of the utterance, and first frame of the chunk, for each batch and stream.

    Attributes:
        utt: int64 [batches, streams]; -1 for a stream that has ended.
        start: int64 [batches, streams].
    """

    utt: torch.Tensor
    start: torch.Tensor

    def __len__(self):
        return len(self.utt)

    def select(self, streams: slice) -> "Plan":
        """The table of some of the streams."""
        return Plan(self.utt[:, streams], self.start[:, streams])


@dataclass(frozen=True)
class Batch:
    """One chunk of each of the n active streams.

    All are on the CPU but features and targets, which are where the frames are.

    Attributes:
        features: float32 [S T, n, D].
        targets: int64 [T, n], pdf-ids, -1 where there is no loss.
        frames: int64 [S T, n], number of the frame in the whole set (``FrameSet.offsets``) that each input is.
        utts: int64 [n], index of the utterance.
        carry: int64 [n], index of each stream among the streams of the previous batch; None if all are the same.
        fresh: bool [n], True where an utterance starts, so that the state must be zero.
        lengths: int64 [n], number of the T output frames that belong to the utterance (with the delay), at least one.
        first: int64 [n], the output frame of the utterance that is predicted in the first of the T; negative at the
            start of an utterance, because of the delay.
        phases: int64 [n], the frame with which the first group of the utterance begins.
        count: number of targets.
    """

    features: torch.Tensor
    targets: torch.Tensor
    frames: torch.Tensor
    utts: torch.Tensor
    carry: torch.Tensor | None
    fresh: torch.Tensor
    lengths: torch.Tensor
    first: torch.Tensor
    phases: torch.Tensor
    count: int


def epoch_order(lengths: torch.Tensor, streams: int, seed: int, epoch: int) -> np.ndarray:
    """Random order of the utterances in an epoch, determined by seed and epoch alone.

    The last ``streams`` utterances are sorted by decreasing length, so that all streams end at nearly the same time.
    """
    order = np.random.default_rng([seed, epoch, 0]).permutation(len(lengths))
    tail = order[-streams:]
    order[-streams:] = tail[np.argsort(-lengths.numpy()[tail], kind="stable")]
    return order


def plan_epoch(lengths: torch.Tensor, order, streams: int, chunk: int, delay: int) -> Plan:
    """Distribute utterances, in ``order``, over the streams; ``lengths`` and ``chunk`` are in output frames."""
    chunks = ((lengths + delay + chunk - 1) // chunk).tolist()
    streams = min(streams, len(order))
    free = [(0, stream) for stream in range(streams)]  # heap of (first batch in which the stream is free, stream)
    placed = []
    for u in order:
        begin, stream = heapq.heappop(free)
        placed.append((begin, stream, int(u)))
        heapq.heappush(free, (begin + chunks[u], stream))
    batches = max(end for end, _ in free)
    utt = torch.full((batches, streams), -1, dtype=torch.int64)
    start = torch.zeros((batches, streams), dtype=torch.int64)
    for begin, stream, u in placed:
        utt[begin:begin + chunks[u], stream] = u
        start[begin:begin + chunks[u], stream] = torch.arange(chunks[u]) * chunk
    return Plan(utt, start)


def plan_whole(lengths: torch.Tensor, streams: int, seed: int, epoch: int) -> Plan:
    """Put ``streams`` whole utterances of similar length into each batch; the order of the batches is random."""
    rng = np.random.default_rng([seed, epoch, 0])
    by_length = np.lexsort([rng.random(len(lengths)), lengths.numpy()])  # equal lengths in random order
    table = plan_in_order(by_length, streams)
    return Plan(table.utt[torch.from_numpy(rng.permutation(len(table)))], table.start)


def plan_in_order(utts: np.ndarray, streams: int) -> Plan:
    """Put ``streams`` whole utterances into each batch, in the given order; the last batch may have fewer."""
    utt = torch.full((-(-len(utts) // streams) * streams,), -1, dtype=torch.int64)
    utt[:len(utts)] = torch.from_numpy(utts)
    return Plan(utt.view(-1, streams), torch.zeros(len(utt) // streams, streams, dtype=torch.int64))


def plan(lengths: torch.Tensor, streams: int, chunk: int, delay: int, seed: int, epoch: int) -> Plan:
    """The table of a training epoch; ``chunk`` 0 means whole utterances."""
    if chunk == 0:
        return plan_whole(lengths, streams, seed, epoch)
    return plan_epoch(lengths, epoch_order(lengths, streams, seed, epoch), streams, chunk, delay)


def epoch_frames(cfg: LstmpConfig, frames: Frames, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Phases, see :func:`lstmp.features.output_frames.phases`, and numbers of output frames of the utterances in an
    epoch of training: int64 [U] each."""
    begin = torch.zeros_like(frames.lengths)
    if cfg.subsampling > 1 and cfg.all_phases:
        begin = phases(frames.lengths, cfg.subsampling, cfg.seed, epoch)
    return begin, output_lengths(frames.lengths - begin, cfg.subsampling)


class Streams:
    """Makes the batches of a plan.

    Args:
        frames: normalized features and pdf-ids: a :class:`lstmp.nnet.data.FrameSet`, or the same in files,
            :class:`lstmp.nnet.frame_files.FrameFiles`.
        plan: the table of an epoch, from :func:`plan` or :func:`plan_epoch`.
        chunk: T; 0: the number of output frames of the longest utterance of a batch, with the delay.
        delay: label delay in output frames.
        subsampling: S.
        phases: int64 [U], the frame with which the first group of each utterance begins; None: the first frame.
    """

    def __init__(self, frames: Frames, plan: Plan, chunk: int, delay: int, subsampling: int = 1,
                 phases: torch.Tensor | None = None):
        self.frames, self.plan, self.delay = frames, plan, delay
        self.chunk, self.subsampling = chunk, subsampling
        self._phases = torch.zeros_like(frames.lengths) if phases is None else phases
        self._last, self._lengths = frames.lengths - 1, output_lengths(frames.lengths - self._phases, subsampling)
        self._reader = frames.reader(plan)

    def __len__(self):
        return len(self.plan)

    def batch(self, number: int) -> Batch | None:
        """Batch ``number`` (from 0); None if all streams have ended."""
        utt, start = self.plan.utt[number], self.plan.start[number]
        carry, active = None, utt >= 0
        if number > 0 and self.chunk:
            previous = self.plan.utt[number - 1] >= 0
            if not torch.equal(active, previous):
                carry = (previous.cumsum(0) - 1)[active]
        if not active.all():
            utt, start = utt[active], start[active]
        if not len(utt):
            return None
        length, group = self._lengths[utt], self.subsampling
        steps = self.chunk or int(length.max()) + self.delay
        time = start + torch.arange(steps).unsqueeze(1) - self.delay  # [T, n]
        valid = (time >= 0) & (time < length)
        rows = group * start + torch.arange(group * steps).unsqueeze(1)  # [S T, n]
        phases, last = self._phases[utt], self._last[utt]
        target_rows = target_frames(time.clamp(min=0).minimum(length - 1), group, phases).minimum(last)
        rows = (phases + rows).minimum(last)
        features, pdfs = self._reader.gather(number, utt, rows, target_rows)
        remaining = (length + self.delay - start).clamp(max=steps)
        targets = torch.where(valid.to(pdfs.device), pdfs, -1)
        return Batch(features, targets, self.frames.offsets[utt] + rows, utt, carry, start == 0, remaining,
                     start - self.delay, phases, int(valid.sum()))


def carry_state(state, batch: Batch):
    """Select the state for the streams of ``batch``, detached from the previous chunk, zero where an utterance starts.

    Not for batches of whole utterances, which start from the zero state.
    """
    carried = []
    for tensors in state:
        tensors = [t.detach() if batch.carry is None else t.detach()[batch.carry] for t in tensors]
        fresh = batch.fresh.unsqueeze(1).to(tensors[0].device)
        carried.append(tuple(t.masked_fill(fresh, 0.0) for t in tensors))
    return carried


def frames_per_update(table: Plan, lengths: torch.Tensor, chunk: int, accumulate: int) -> list[int]:
    """For each batch the number by which its loss is divided: the frames of the ``accumulate`` batches of its update.

    Chunks count as if all streams were active, so that a frame has the same weight in the last, smaller batches. Whole
    utterances count with their own frames.
    """
    if chunk:
        return [table.utt.shape[1] * chunk * accumulate] * len(table)
    frames = torch.where(table.utt >= 0, lengths[table.utt.clamp(min=0)], 0).sum(1)
    return [int(frames[i - i % accumulate:i - i % accumulate + accumulate].sum()) for i in range(len(table))]
