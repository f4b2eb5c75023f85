"""The carried state of all streams, each process of a team having some: gathered for a checkpoint, and dealt out."""

import torch

from lstmp.nnet.distributed.team import Team
from lstmp.nnet.model import State
from lstmp.nnet.streams import Plan


def all_states(team: Team, own: State | None) -> State | None:
    """The state of all processes' streams, on the CPU, in the order of their slots; None if no stream is left."""
    own = own and [tuple(t.cpu() for t in layer) for layer in own]
    parts = [state for state in team.gather(own) if state]
    if not parts:
        return None
    return [tuple(torch.cat(tensors) for tensors in zip(*layer, strict=True)) for layer in zip(*parts, strict=True)]


def states_of(table: Plan, batch: int, columns: slice, whole: State, device: str) -> State:
    """Of the state of all streams after the batch before ``batch``, that of the streams in some of the slots."""
    active = table.utt[batch - 1] >= 0
    rows = torch.arange(int(active[:columns.start].sum()), int(active[:columns.stop].sum()))
    return [tuple(t[rows].to(device) for t in layer) for layer in whole]
