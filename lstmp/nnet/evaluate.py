"""Loss and frame accuracy of a network over a set of utterances, nothing masked and nothing dropped."""

import numpy as np
import torch

from lstmp.nnet.data import FrameSet
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.streams import Streams, carry_state, in_turn, plan_epoch

_SLOTS, _CHUNK = 64, 50  # the state is carried, so that these change speed and memory only
_WHOLE_SLOTS = 8  # of a network that hears whole utterances


def evaluate(model: StateNetwork, frames: FrameSet, delay: int, team: Team,
             device: str = "cpu") -> tuple[float, float]:
    """(cross entropy per frame, share of frames whose most probable state is the aligned one).

    Args:
        frames: normalized features and pdf-ids.
        delay: label delay in frames.
        team: each of its processes takes some of the utterances, and of these each thread some.
    """
    order = np.argsort(-frames.lengths.numpy(), kind="stable")
    parts = team.workers.count * team.size
    slots, chunk = (_WHOLE_SLOTS, 0) if model.bidirectional else (_SLOTS, _CHUNK)

    @torch.no_grad()
    def run(part: int) -> tuple[float, int]:
        mine = order[part::parts]
        plan = plan_epoch(frames.lengths, mine, slots, chunk, delay) if chunk else in_turn(mine, slots)
        streams = Streams(frames, plan, chunk, delay)
        state, loss_sum, correct_sum = None, 0.0, 0
        for number in range(len(streams)):
            batch = streams.batch(number)
            assert batch is not None
            fresh = state is None or not chunk
            state = model.zero_state(len(batch.utts)) if fresh else carry_state(state, batch)
            loss, correct, state = model.loss(batch.features.to(device), state, batch.targets.to(device), 1, None,
                                              batch.lengths)
            loss_sum, correct_sum = loss_sum + float(loss), correct_sum + int(correct)
        return loss_sum, correct_sum

    mine = range(team.rank * team.workers.count, (team.rank + 1) * team.workers.count)
    found = team.workers.map(run, [part for part in mine if part < len(order)])
    loss, correct = team.sum([sum(loss for loss, _ in found), sum(correct for _, correct in found)])
    return loss / len(frames.pdfs), correct / len(frames.pdfs)


def subset(frames: FrameSet, count: int, seed: int) -> FrameSet:
    """``count`` utterances at random (all, if there are no more), with the memory of their frames copied."""
    rng = np.random.default_rng([seed, 2])
    chosen = sorted(rng.permutation(len(frames.utts))[:count].tolist())
    rows = torch.cat([torch.arange(int(frames.offsets[u]), int(frames.offsets[u + 1])) for u in chosen])
    offsets = torch.zeros(len(chosen) + 1, dtype=torch.int64)
    offsets[1:] = frames.lengths[chosen].cumsum(0)
    return FrameSet([frames.utts[u] for u in chosen], offsets, frames.features[rows], frames.pdfs[rows],
                    frames.frame_shift)
