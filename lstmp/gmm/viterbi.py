"""Exact Viterbi alignment (without a beam) of a batch of utterances.

The states of all graphs of a batch form one row, longest utterance first, so that the states that are active at a
frame are a prefix of the row. Most states can only be entered from themselves or from their left neighbour, which takes
two contiguous additions and a maximum. The few other arcs (at word boundaries and silence) are gathered. The scores of
all frames are kept, and the traceback recomputes each predecessor from them, which is cheaper than storing it.
"""

import warnings

import numpy as np
import torch

from lstmp.gmm.training_graph import TrainingGraph

# torch 1.13 gives this warning for `scatter_reduce_`; later releases have not changed the function
warnings.filterwarnings("ignore", message="scatter_reduce.. is in beta", category=UserWarning)

NEVER = -1e30  # log-probability of what is impossible; unlike −inf, differences of it are not NaN


class _Batch:
    """The graphs of a batch as one graph.

    Attributes:
        base: int [U + 1], first state of each utterance.
        column: int64 [S], each state's column in the scores of the batch.
        utts_alive, alive: number of utterances and of states that are active at each frame.
        start, stay, step: float32 [S], log-probabilities of starting in a state, of its self-loop, and of the arc from
            its left neighbour; NEVER if there is no such arc.
        source, into, weight: all other arcs [A], sorted by destination ``into``; the first ``arcs_alive[t]`` of them
            are active at frame t.
        prev, prev_weight, prev_tid: predecessors of each state [S, 2 + D] with weight and transition-id of the arc:
            the state itself, its left neighbour, then the others; unused entries have weight NEVER.
    """

    def __init__(self, graphs: list[TrainingGraph], frames: list[int], log_prob: np.ndarray, device):
        self.base = np.concatenate([[0], np.cumsum([len(g.pdf) for g in graphs])])
        total, steps = int(self.base[-1]), frames[0]
        # active at frame t are the utterances with more than t frames, which are a prefix of the batch
        self.utts_alive = np.searchsorted(-np.array(frames), -np.arange(steps), side="left")
        self.alive = self.base[self.utts_alive].tolist()

        def cat(name):
            return np.concatenate([getattr(g, name) for g in graphs])

        placed = list(zip(graphs, self.base[:-1], strict=True))
        columns = np.concatenate([[0], np.cumsum([len(g.distinct_pdfs) for g in graphs])])
        self.column = torch.from_numpy(np.concatenate(
            [g.column + first for g, first in zip(graphs, columns[:-1], strict=True)])).to(device)

        start = np.full(total, NEVER, dtype=np.float32)
        np.maximum.at(start, np.concatenate([g.starts + b for g, b in placed]), cat("start_extra"))
        loop = cat("self_tid")
        stay = np.where(loop > 0, log_prob[loop], NEVER).astype(np.float32)
        arcs = np.concatenate([g.arcs + np.array([b, b, 0]) for g, b in placed])
        weight = log_prob[arcs[:, 2]] + cat("arc_extra")
        # if there are several arcs from the left neighbour, `step` has the first; the others are treated like all arcs
        near = np.flatnonzero(arcs[:, 1] == arcs[:, 0] + 1)
        near = near[np.unique(arcs[near, 1], return_index=True)[1]]
        step, step_tid = np.full(total, NEVER, dtype=np.float32), np.zeros(total, dtype=np.int64)
        step[arcs[near, 1]], step_tid[arcs[near, 1]] = weight[near], arcs[near, 2]
        rest = np.delete(np.arange(len(arcs)), near)
        rest = rest[np.argsort(arcs[rest, 1], kind="stable")]
        source, into, tid = arcs[rest].T
        self.arcs_alive = np.searchsorted(into, self.alive, side="left").tolist()
        self.start, self.stay, self.step, self.source, self.into, self.weight = (
            torch.from_numpy(np.ascontiguousarray(x)).to(device)
            for x in (start, stay, step, source, into, weight[rest]))

        fan_in = np.bincount(into, minlength=total)
        slot = 2 + np.arange(len(into)) - (np.cumsum(fan_in) - fan_in)[into]
        shape = (total, 2 + int(fan_in.max()))
        self.prev, self.prev_tid = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
        self.prev_weight = np.full(shape, NEVER, dtype=np.float32)
        self.prev[:, 0], self.prev[1:, 1] = np.arange(total), np.arange(total - 1)
        self.prev_tid[:, 0], self.prev_tid[:, 1] = loop, step_tid
        self.prev_weight[:, 0], self.prev_weight[:, 1] = stay, step
        self.prev[into, slot], self.prev_tid[into, slot], self.prev_weight[into, slot] = source, tid, weight[rest]


@torch.no_grad()
def align_batch(graphs: list[TrainingGraph], loglikes: list[torch.Tensor], log_prob: np.ndarray):
    """Find the best path of each utterance.

    Args:
        graphs: one per utterance, longest utterance first.
        loglikes: scaled acoustic scores of each utterance, float32 [T, P], with one column per distinct pdf of the
            graph in ascending order (``graph.distinct_pdfs``).
        log_prob: float32 [num_tids + 1], arc weights by transition-id (``TransitionModel.graph_log_probs``).

    Returns:
        For each utterance (transition-ids int32 [T] in Kaldi's reordered form, score), or None if every path of the
        graph is longer than T.
    """
    device = loglikes[0].device
    frames = [len(x) for x in loglikes]
    batch = _Batch(graphs, frames, log_prob, device)
    acoustic = torch.zeros(frames[0], sum(x.shape[1] for x in loglikes), device=device)
    first = 0
    for x in loglikes:
        acoustic[:len(x), first:first + x.shape[1]] = x
        first += x.shape[1]
    return _traceback(batch, _forward(batch, acoustic).cpu().numpy(), graphs, frames, log_prob)


def _forward(batch: _Batch, acoustic: torch.Tensor) -> torch.Tensor:
    """Score of the best path to every state at every frame: float32 [T, S], undefined after the end of an utterance."""
    scores = torch.empty(len(acoustic), len(batch.column), device=acoustic.device)
    torch.add(batch.start, acoustic[0][batch.column], out=scores[0])
    emit, entered = torch.empty_like(scores[0]), torch.empty_like(scores[0])
    for t in range(1, len(acoustic)):
        n, k = batch.alive[t], batch.arcs_alive[t]
        old, new = scores[t - 1, :n], scores[t, :n]
        torch.add(old, batch.stay[:n], out=new)
        torch.add(old[:-1], batch.step[1:n], out=entered[1:n])
        torch.maximum(new[1:], entered[1:n], out=new[1:])
        others = torch.index_select(old, 0, batch.source[:k]).add_(batch.weight[:k])
        new.scatter_reduce_(0, batch.into[:k], others, "amax")
        torch.index_select(acoustic[t], 0, batch.column[:n], out=emit[:n])
        new.add_(emit[:n])
    return scores


def _traceback(batch: _Batch, scores: np.ndarray, graphs, frames, log_prob):
    count, steps = len(graphs), frames[0]
    best_score, state = np.full(count, NEVER), np.zeros(count, dtype=np.int64)
    leaving = np.zeros((steps, count), dtype=np.int64)  # transition-id of the arc that leaves each frame's state
    moved = np.ones((steps, count), dtype=bool)         # False if that arc is a self-loop
    for u, graph in enumerate(graphs):
        last = graph.finals[:, 0] + batch.base[u]
        total = scores[frames[u] - 1, last] + (log_prob[graph.finals[:, 1]] + graph.final_extra)
        k = int(total.argmax())
        best_score[u], state[u], leaving[frames[u] - 1, u] = total[k], last[k], graph.finals[k, 1]
    rows = np.arange(count)
    for t in range(steps - 1, 0, -1):
        n = batch.utts_alive[t]
        current = state[:n]
        sources = batch.prev[current]
        k = (scores[t - 1][sources] + batch.prev_weight[current]).argmax(1)
        leaving[t - 1, :n], moved[t - 1, :n] = batch.prev_tid[current, k], k > 0
        state[:n] = sources[rows[:n], k]
    results: list[tuple[np.ndarray, float] | None] = []
    for u, length in enumerate(frames):
        if best_score[u] <= NEVER / 2:
            results.append(None)
            continue
        results.append((reorder(leaving[:length, u], moved[:length, u]), float(best_score[u])))
    return results


def reorder(tids: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Convert transition-ids to Kaldi's reordered form, in which a state's forward transition precedes its self-loops.

    Args:
        tids: int [T], in each visit of a state the self-loops and then the forward transition.
        moved: bool [T], True for forward transitions.
    """
    ends = np.flatnonzero(moved)
    heads = np.concatenate([[0], ends[:-1] + 1])
    out = tids.copy()
    inner = np.ones(len(tids), dtype=bool)
    inner[heads] = False
    out[inner] = tids[np.flatnonzero(inner) - 1]
    out[heads] = tids[ends]
    return out.astype(np.int32)
