"""The carried state of all streams, each process of a team having some: gathered for a checkpoint, and dealt out."""

import torch

from lstmp.nnet.distributed.team import Team
from lstmp.nnet.model import State
from lstmp.nnet.streams import Plan


def all_states(team: Team, own: State | None) -> State | None:
    """The state of all processes' streams, on the CPU, in the order of their slots; None if no stream is left."""
    own = own and [(r.cpu(), c.cpu()) for r, c in own]
    parts = [state for state in team.gather(own) if state]
    if not parts:
        return None
    return [(torch.cat([r for r, _ in layer]), torch.cat([c for _, c in layer])) for layer in zip(*parts, strict=True)]


def states_of(table: Plan, batch: int, columns: slice, whole: State, device: str) -> State:
    """Of the state of all streams after the batch before ``batch``, that of the streams in some of the slots."""
    active = table.utt[batch - 1] >= 0
    rows = torch.arange(int(active[:columns.start].sum()), int(active[:columns.stop].sum()))
    return [(r[rows].to(device), c[rows].to(device)) for r, c in whole]
