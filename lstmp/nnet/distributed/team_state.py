"""Gathers the recurrent states of all streams from the processes for a checkpoint, and distributes them again."""

import torch

from lstmp.nnet.distributed.team import Team
from lstmp.nnet.model import RecurrentState
from lstmp.nnet.streams import Plan


def gather_states(team: Team, own: RecurrentState | None) -> RecurrentState | None:
    """The states of all processes' streams, on the CPU, in the order of the streams; None if all streams have ended."""
    own = own and [(r.cpu(), c.cpu()) for r, c in own]
    parts = [state for state in team.gather(own) if state]
    if not parts:
        return None
    return [(torch.cat([r for r, _ in layer]), torch.cat([c for _, c in layer])) for layer in zip(*parts, strict=True)]


def select_states(table: Plan, batch: int, streams: slice, all_states: RecurrentState, device: str) -> RecurrentState:
    """Select the states of some ``streams`` from the states of all streams that were active before ``batch``."""
    active = table.utt[batch - 1] >= 0
    rows = torch.arange(int(active[:streams.start].sum()), int(active[:streams.stop].sum()))
    return [(r[rows].to(device), c[rows].to(device)) for r, c in all_states]
