"""Viterbi alignment of many utterances at once, exact: no beam.

The graphs of a batch are laid side by side in one row of states, longest utterance first, so that the states still
alive at a frame are a prefix. Most states can only be entered from themselves or from their left neighbour: two
contiguous additions and a maximum. The few other arcs (word borders, silence) are gathered. Scores of all frames are
kept, and the traceback finds each predecessor again from them, which is cheaper than storing it.
"""

import warnings

import numpy as np
import torch

from lstmp.gmm.training_graph import TrainingGraph

# torch 1.13 says so of `scatter_reduce_`; the releases since have kept it as it was
warnings.filterwarnings("ignore", message="scatter_reduce.. is in beta", category=UserWarning)

NEVER = -1e30  # a log-probability that no path has; unlike −inf it survives subtraction


class _Batch:
    """The graphs of a batch as one.

    Attributes:
        base: int [U + 1], first state of each utterance.
        column: int64 [S], each state's column in the scores of the batch.
        utts_alive, alive: utterances and states that are left at each frame.
        start, stay, step: float32 [S], log-probabilities of beginning in a state, of its self-loop and of coming from
            the state on its left; NEVER where there is no such arc.
        source, into, weight: the other arcs [A], sorted by ``into``; ``arcs_alive`` of them are left at each frame.
        before, before_weight, before_tid: all ways into a state [S, 2 + D]: self-loop, left neighbour, the others,
            padded with NEVER.
    """

    def __init__(self, graphs: list[TrainingGraph], frames: list[int], log_prob: np.ndarray, device):
        self.base = np.concatenate([[0], np.cumsum([len(g.pdf) for g in graphs])])
        total, steps = int(self.base[-1]), frames[0]
        # states alive at frame t: those of the utterances (a prefix) with more than t frames
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
        # of two arcs between the same neighbours `step` takes one, the other goes to the rest
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
        self.before, self.before_tid = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
        self.before_weight = np.full(shape, NEVER, dtype=np.float32)
        self.before[:, 0], self.before[1:, 1] = np.arange(total), np.arange(total - 1)
        self.before_tid[:, 0], self.before_tid[:, 1] = loop, step_tid
        self.before_weight[:, 0], self.before_weight[:, 1] = stay, step
        self.before[into, slot], self.before_tid[into, slot], self.before_weight[into, slot] = source, tid, weight[rest]


@torch.no_grad()
def align_batch(graphs: list[TrainingGraph], loglikes: list[torch.Tensor], log_prob: np.ndarray):
    """Best path of each utterance.

    Args:
        graphs: one per utterance.
        loglikes: float32 [T, S'] acoustic scores, already scaled, with one column per distinct pdf of the graph in
            ascending order (``graph.distinct_pdfs``); T falls, or stays, from each utterance to the next.
        log_prob: float32 [num_tids + 1], arc weights by transition-id (``TransitionModel.graph_log_probs``).

    Returns:
        A list of (transition-ids int32 [T] in Kaldi's reordered form, score) per utterance; None where T is less than
        any path's length.
    """
    device = loglikes[0].device
    frames = [len(x) for x in loglikes]
    batch = _Batch(graphs, frames, log_prob, device)
    acoustic = torch.zeros(frames[0], sum(x.shape[1] for x in loglikes), device=device)
    at = 0
    for x in loglikes:
        acoustic[:len(x), at:at + x.shape[1]] = x
        at += x.shape[1]
    return _traceback(batch, _forward(batch, acoustic).cpu().numpy(), graphs, frames, log_prob)


def _forward(batch: _Batch, acoustic: torch.Tensor) -> torch.Tensor:
    """Score of the best path into every state at every frame: float32 [T, S], undefined beyond an utterance's end."""
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
    leaving = np.zeros((steps, count), dtype=np.int64)  # the id of the arc that leaves each frame
    moved = np.ones((steps, count), dtype=bool)         # False where that arc is a self-loop
    for u, graph in enumerate(graphs):
        last = graph.finals[:, 0] + batch.base[u]
        total = scores[frames[u] - 1, last] + (log_prob[graph.finals[:, 1]] + graph.final_extra)
        k = int(total.argmax())
        best_score[u], state[u], leaving[frames[u] - 1, u] = total[k], last[k], graph.finals[k, 1]
    rows = np.arange(count)
    for t in range(steps - 1, 0, -1):
        n = batch.utts_alive[t]
        here = state[:n]
        sources = batch.before[here]
        k = (scores[t - 1][sources] + batch.before_weight[here]).argmax(1)
        leaving[t - 1, :n], moved[t - 1, :n] = batch.before_tid[here, k], k > 0
        state[:n] = sources[rows[:n], k]
    results: list[tuple[np.ndarray, float] | None] = []
    for u, length in enumerate(frames):
        if best_score[u] <= NEVER / 2:
            results.append(None)
            continue
        results.append((reorder(leaving[:length, u], moved[:length, u]), float(best_score[u])))
    return results


def reorder(tids: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """From "self-loops, then the way out" per visit of a state to Kaldi's "the way out, then the self-loops"."""
    ends = np.flatnonzero(moved)
    heads = np.concatenate([[0], ends[:-1] + 1])
    out = tids.copy()
    inner = np.ones(len(tids), dtype=bool)
    inner[heads] = False
    out[inner] = tids[np.flatnonzero(inner) - 1]
    out[heads] = tids[ends]
    return out.astype(np.int32)
