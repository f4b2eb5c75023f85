"""Viterbi alignment of many utterances at once, exact: no beam.

The graphs of a batch are laid side by side in one row of states, longest utterance first, so that the states still
alive at a frame are a prefix. Most states can only be entered from themselves or from their left neighbour: two
contiguous additions and a maximum. The few others (word borders, silence) are gathered. Scores of all frames are kept,
and the traceback finds each predecessor again from them, which is cheaper than storing it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from lstmp.gmm.training_graph import TrainingGraph

NEVER = -1e30  # a log-probability that no path has; unlike −inf it survives subtraction


@dataclass
class _Group:
    """Entries of some states from elsewhere than the left neighbour, padded to the same number D of sources."""

    into: torch.Tensor     # int64 [n], ascending
    source: torch.Tensor   # int64 [n, D]
    weight: torch.Tensor   # float32 [n, D], NEVER where padded
    tid: torch.Tensor      # int64 [n, D]
    alive: list            # rows alive at each frame


class _Batch:
    def __init__(self, graphs: list[TrainingGraph], frames: list[int], log_prob: np.ndarray, device):
        sizes = np.array([len(g.pdf) for g in graphs])
        self.base = np.concatenate([[0], sizes.cumsum()])
        total, steps = int(self.base[-1]), frames[0]
        # states alive at frame t: those of the utterances (a prefix) with more than t frames
        utts_alive = np.searchsorted(-np.array(frames), -np.arange(steps), side="left")
        self.alive = self.base[utts_alive].tolist()
        self.utts_alive = utts_alive.tolist()

        def cat(name, shift=False):
            return np.concatenate([getattr(g, name) + (b if shift else 0) for g, b in
                                   zip(graphs, self.base, strict=False)])

        arcs = np.concatenate([g.arcs + np.array([b, b, 0]) for g, b in zip(graphs, self.base, strict=False)])
        weight = log_prob[arcs[:, 2]] + cat("arc_extra")
        loop = cat("self_tid")
        stay = np.where(loop > 0, log_prob[loop], NEVER).astype(np.float32)
        chain = arcs[:, 1] == arcs[:, 0] + 1
        # of two arcs between the same neighbours the chain keeps one, the other goes to the groups
        _, firsts = np.unique(arcs[chain, 1], return_index=True)
        keep = np.flatnonzero(chain)[firsts]
        chain[:] = False
        chain[keep] = True
        step = np.full(total, NEVER, dtype=np.float32)
        step_tid = np.zeros(total, dtype=np.int64)
        step[arcs[chain, 1]] = weight[chain]
        step_tid[arcs[chain, 1]] = arcs[chain, 2]
        rest, rest_weight = arcs[~chain], weight[~chain]
        self.groups, row_of = [], np.full(total, -1)
        group_of = np.full(total, -1)
        counts = np.bincount(rest[:, 1], minlength=total)
        for low, high in ((1, 2), (3, 4), (5, 8), (9, 1 << 30)):
            into = np.flatnonzero((counts >= low) & (counts <= high))
            if len(into):
                self._add_group(into, rest, rest_weight, counts, device)
                row_of[into], group_of[into] = np.arange(len(into)), len(self.groups) - 1
        self.stay, self.step = (torch.from_numpy(x).to(device) for x in (stay, step))
        self.loop, self.step_tid = torch.from_numpy(loop).to(device), torch.from_numpy(step_tid).to(device)
        self.row_of, self.group_of = torch.from_numpy(row_of).to(device), torch.from_numpy(group_of).to(device)
        start = np.full(total, NEVER, dtype=np.float32)
        np.maximum.at(start, cat("starts", True), cat("start_extra"))
        self.start = torch.from_numpy(start).to(device)

    def _add_group(self, into, rest, rest_weight, counts, device):
        mine = np.flatnonzero(np.isin(rest[:, 1], into))
        mine = mine[np.argsort(rest[mine, 1], kind="stable")]
        rows = np.repeat(np.arange(len(into)), counts[into])
        columns = np.arange(len(mine)) - np.repeat(np.cumsum(counts[into]) - counts[into], counts[into])
        shape = (len(into), int(counts[into].max()))
        source, tid = np.repeat(into[:, None], shape[1], 1), np.zeros(shape, dtype=np.int64)
        weight = np.full(shape, NEVER, dtype=np.float32)
        source[rows, columns], tid[rows, columns] = rest[mine, 0], rest[mine, 2]
        weight[rows, columns] = rest_weight[mine]
        alive = np.searchsorted(into, np.array(self.alive), side="left").tolist()
        self.groups.append(_Group(*(torch.from_numpy(x).to(device) for x in (into, source, weight, tid)), alive))


@torch.no_grad()
def align_batch(graphs: list[TrainingGraph], loglikes: list[torch.Tensor], log_prob: np.ndarray):
    """Best path of each utterance.

    Args:
        graphs: one per utterance.
        loglikes: float32 [T, S'] acoustic scores, already scaled, with one column per distinct pdf of the graph in
            ascending order (``np.unique(graph.pdf)``); T falls, or stays, from each utterance to the next.
        log_prob: float32 [num_tids + 1], arc weights by transition-id (``TransitionModel.graph_log_probs``).

    Returns:
        A list of (transition-ids int32 [T] in Kaldi's reordered form, score) per utterance; None where T is less than
        any path's length.
    """
    device = loglikes[0].device
    frames = [len(x) for x in loglikes]
    batch = _Batch(graphs, frames, log_prob, device)
    columns, offset = [], 0
    for graph in graphs:
        distinct, inverse = np.unique(graph.pdf, return_inverse=True)
        columns.append(inverse + offset)
        offset += len(distinct)
    column = torch.from_numpy(np.concatenate(columns)).to(device)
    acoustic = torch.zeros(frames[0], offset, device=device)
    at = 0
    for x in loglikes:
        acoustic[:len(x), at:at + x.shape[1]] = x
        at += x.shape[1]
    scores = _forward(batch, acoustic, column, frames[0])
    return _traceback(batch, scores, graphs, frames, log_prob)


def _forward(batch, acoustic, column, steps):
    total = len(column)
    scores = torch.empty(steps, total, device=acoustic.device)
    torch.add(batch.start, acoustic[0][column], out=scores[0])
    emit, entered = torch.empty_like(scores[0]), torch.empty_like(scores[0])
    for t in range(1, steps):
        n = batch.alive[t]
        old, new = scores[t - 1, :n], scores[t, :n]
        torch.add(old, batch.stay[:n], out=new)
        torch.add(old[:-1], batch.step[1:n], out=entered[1:n])
        torch.maximum(new[1:], entered[1:n], out=new[1:])
        for group in batch.groups:
            k = group.alive[t]
            if k:
                best = old[group.source[:k]].add_(group.weight[:k]).amax(1)
                into = group.into[:k]
                new[into] = torch.maximum(new[into], best)
        torch.index_select(acoustic[t], 0, column[:n], out=emit[:n])
        new.add_(emit[:n])
    return scores


def _traceback(batch, scores, graphs, frames, log_prob):
    device = scores.device
    count = len(graphs)
    best_score, state, last_tid = np.full(count, NEVER), np.zeros(count, dtype=np.int64), np.zeros(count, np.int64)
    for u, graph in enumerate(graphs):
        leave = torch.from_numpy(log_prob[graph.finals[:, 1]] + graph.final_extra).to(device)
        total = scores[frames[u] - 1, torch.from_numpy(graph.finals[:, 0] + batch.base[u]).to(device)] + leave
        k = int(total.argmax())
        best_score[u], state[u], last_tid[u] = float(total[k]), graph.finals[k, 0] + batch.base[u], graph.finals[k, 1]
    state = torch.from_numpy(state).to(device)
    steps = frames[0]
    leaving = torch.zeros(steps, count, dtype=torch.int64, device=device)  # the id of the arc that leaves each frame
    moved = torch.ones(steps, count, dtype=torch.bool, device=device)      # False where that arc is a self-loop
    leaving[torch.tensor(frames, device=device) - 1, torch.arange(count, device=device)] = \
        torch.from_numpy(last_tid).to(device)
    for t in range(steps - 1, 0, -1):
        n = batch.utts_alive[t]
        here, old = state[:n], scores[t - 1]
        source = torch.stack([here, (here - 1).clamp(min=0)])
        value = old[source] + torch.stack([batch.stay[here], batch.step[here]])
        tid = torch.stack([batch.loop[here], batch.step_tid[here]])
        which = value.argmax(0, keepdim=True)
        best, tid = value.gather(0, which)[0], tid.gather(0, which)[0]
        came, stayed = source.gather(0, which)[0], which[0] == 0
        for g, group in enumerate(batch.groups):
            mine = (batch.group_of[here] == g).nonzero()[:, 0]
            if len(mine) == 0:
                continue
            rows = batch.row_of[here[mine]]
            value = old[group.source[rows]] + group.weight[rows]
            top, k = value.max(1, keepdim=True)
            better = top[:, 0] > best[mine]
            mine, rows, k = mine[better], rows[better], k[better]
            came[mine] = group.source[rows].gather(1, k)[:, 0]
            tid[mine] = group.tid[rows].gather(1, k)[:, 0]
            stayed[mine] = False
        leaving[t - 1, :n], moved[t - 1, :n] = tid, ~stayed
        state[:n] = came
    leaving, moved = leaving.cpu().numpy(), moved.cpu().numpy()
    results = []
    for u, length in enumerate(frames):
        if best_score[u] <= NEVER / 2:
            results.append(None)
            continue
        results.append((_reorder(leaving[:length, u], moved[:length, u]), float(best_score[u])))
    return results


def _reorder(tids: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """From "self-loops, then the way out" per visit of a state to Kaldi's "the way out, then the self-loops"."""
    ends = np.flatnonzero(moved)
    heads = np.concatenate([[0], ends[:-1] + 1])
    out = tids.copy()
    inner = np.ones(len(tids), dtype=bool)
    inner[heads] = False
    out[inner] = tids[np.flatnonzero(inner) - 1]
    out[heads] = tids[ends]
    return out.astype(np.int32)
