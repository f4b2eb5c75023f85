"""Computes the loss and the frame accuracy of a network over a set of utterances, without masks and without dropout."""

import numpy as np
import torch

from lstmp.features.output_frames import output_lengths
from lstmp.nnet.criterion import Criterion, Targets
from lstmp.nnet.data import Frames
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.streams import Streams, carry_state, plan_epoch, plan_in_order

_STREAMS, _CHUNK = 64, 50  # the state is carried from chunk to chunk: these change only speed and memory
_STREAMS_OF_WHOLE_UTTERANCES = 8  # for bidirectional networks, and criteria of whole utterances


def evaluate(model: StateNetwork, frames: Frames, delay: int, team: Team,
             device: str = "cpu", criterion: Criterion | None = None) -> tuple[float, float]:
    """Compute the loss per output frame, and the fraction whose most probable state is the aligned one.

    Args:
        frames: normalized features and pdf-ids.
        delay: label delay in output frames.
        team: its processes, and the threads of each process, divide the utterances among themselves.
        criterion: default: frame cross entropy. What a criterion leaves out does not count.

    Returns: (loss in nats, frame accuracy from 0 to 1). The loss is the cross entropy, or the negative of another
        objective, without regularization. With LF-MMI the accuracy is that of the second output layer.
    """
    lengths = output_lengths(frames.lengths, model.subsampling)
    order = np.argsort(-lengths.numpy(), kind="stable")
    parts = team.workers.count * team.size
    whole = model.bidirectional or criterion is not None and criterion.whole_utterances
    num_streams, chunk = (_STREAMS_OF_WHOLE_UTTERANCES, 0) if whole else (_STREAMS, _CHUNK)

    @torch.no_grad()
    def run(part: int) -> tuple[float, int, int]:
        mine = order[part::parts]
        table = plan_epoch(lengths, mine, num_streams, chunk, delay) if chunk \
            else plan_in_order(mine, num_streams)
        streams = Streams(frames, table, chunk, delay, model.subsampling)
        state, loss_sum, correct_sum, count = None, 0.0, 0, 0
        for number in range(len(streams)):
            batch = streams.batch(number)
            assert batch is not None
            fresh = state is None or not chunk
            state = model.zero_state(len(batch.utts)) if fresh else carry_state(state, batch)
            targets = criterion.targets(batch, frames.utts, device) if criterion else batch.targets.to(device)
            loss, correct, state = model.loss(batch.features.to(device), state, targets, 1, None, batch.lengths)
            value, used = float(loss), int((batch.targets >= 0).sum())
            if isinstance(targets, Targets):
                objective, used, *_ = targets.sums()
                value = -objective if np.isfinite(value) else np.nan
            loss_sum, correct_sum, count = loss_sum + value, correct_sum + int(correct), count + used
        return loss_sum, correct_sum, count

    mine = range(team.rank * team.workers.count, (team.rank + 1) * team.workers.count)
    results = team.workers.map(run, [part for part in mine if part < len(order)])
    loss, correct, count = team.sum([sum(r[i] for r in results) for i in range(3)])
    return loss / max(count, 1), correct / max(count, 1)


def subset(frames: Frames, count: int, seed: int) -> Frames:
    """``count`` random utterances, or all if there are fewer; a copy, if the frames are in memory."""
    rng = np.random.default_rng([seed, 2])
    return frames.subset(sorted(rng.permutation(len(frames.utts))[:count].tolist()))
