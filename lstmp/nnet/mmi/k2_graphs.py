"""Denominator and numerators by k2's ``intersect_dense``, whose gradients are the posteriors. It needs no leaks.

In k2 a label L reads column L of the scores, so pdf p has the label p + 1, and column 0 is not used. k2 has one start
state; the arcs that leave it are those of the first frame, with the initial probabilities. k2 starts a thread in its
first search, so processes must be forked before it.
"""

import k2
import numpy as np
import torch

from lstmp.graph.denominator import Denominator
from lstmp.graph.numerator import Numerator
from lstmp.nnet.mmi.plain import add_decay, rows_of

OUTPUT_BEAM = 1e6  # paths are not pruned


def denominator_fsa(graph: Denominator) -> k2.Fsa:
    """The graph as an epsilon-free acceptor: state s of the graph is state s + 1."""
    source, target, pdf, weight = graph.arcs()
    entering, staying = np.full(len(graph.pdf), -np.inf), graph.initial + graph.stay
    np.logaddexp.at(entering, graph.target, graph.initial[graph.source] + graph.weight)
    first = np.concatenate([entering, staying])
    states, pdfs = np.tile(np.arange(len(graph.pdf)), 2), np.concatenate([graph.pdf, graph.loop_pdf])
    used = first > -np.inf
    return _fsa(np.concatenate([np.zeros(used.sum(), np.int64), source + 1]),
                np.concatenate([states[used], target]) + 1, np.concatenate([pdfs[used], pdf]),
                np.concatenate([first[used], weight]), 1 + np.arange(1, len(graph.pdf)))


def numerator_fsa(n: Numerator) -> k2.Fsa:
    """A numerator as an acceptor with one state for each frame and phone that it allows."""
    number = {key: i + 1 for i, key in enumerate(
        (t, k) for t in range(n.frames) for k in range(len(n.pdf)) if n.first[k] <= t <= n.last[k])}
    arcs = [(0, number[0, k], pdf[k], start[k]) for pdf, start in ((n.pdf, n.start), (n.loop_pdf, n.start_inside))
            for t, k in number if t == 0 and start[k] > -np.inf]
    for (t, k), state in number.items():
        arcs += [(number[before], state, pdf, weight) for before, pdf, weight in (
            ((t - 1, k), n.loop_pdf[k], n.stay[k]), ((t - 1, k - 1), n.pdf[k], n.enter[k])) if before in number]
    source, target, pdf, weight = map(np.array, zip(*arcs, strict=True))
    return _fsa(source, target, pdf, weight, np.array([s for (t, _), s in number.items() if t == n.frames - 1]))


def _fsa(source, target, pdf, weight, finals) -> k2.Fsa:
    last = int(max(source.max(), target.max(), finals.max())) + 1
    source, target = np.concatenate([source, finals]), np.concatenate([target, np.full(len(finals), last)])
    label = np.concatenate([pdf + 1, np.full(len(finals), -1)])
    weight = np.concatenate([weight, np.zeros(len(finals))]).astype(np.float32)
    order = np.lexsort([label, source])
    arcs = np.stack([x[order] for x in (source, target, label)] + [weight.view(np.int32)[order]], 1)
    return k2.Fsa(torch.from_numpy(arcs.astype(np.int32)))


def forward_backward(fsas: k2.Fsa, scores: torch.Tensor, begins: torch.Tensor,
                     lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities float64 [N] and posteriors [T, N, P] of a batch.

    Args:
        fsas: an FsaVec with one graph for all sequences, or one for each.
        scores: float32 [T, N, P]; begins, lengths: int64 [N], as in :mod:`lstmp.nnet.mmi.plain`.
    """
    order = torch.argsort(lengths, descending=True, stable=True)
    assert int(fsas.arcs.values()[:, 2].max()) <= scores.shape[2]
    with torch.enable_grad():
        x = scores.detach().float().requires_grad_()
        columns = torch.cat([x.new_full((*x.shape[:2], 1), -torch.inf), x], 2).transpose(0, 1).contiguous()
        where = torch.stack([torch.arange(len(lengths)), begins.cpu(), lengths.cpu()], 1)[order].int()
        dense = k2.DenseFsaVec(columns, where)
        # k2 needs a graph for each sequence; the one denominator graph is copied
        graphs = k2.index_fsa(fsas, (order if fsas.shape[0] > 1 else order * 0).int())
        lattice = k2.intersect_dense(graphs, dense, OUTPUT_BEAM, a_to_b_map=torch.arange(len(order), dtype=torch.int32))
        log_prob = lattice.get_tot_scores(log_semiring=True, use_double_scores=True)
        log_prob[log_prob.isfinite()].sum().backward()
    result = torch.empty(len(order), dtype=torch.float64)
    result[order] = log_prob.detach().double()
    assert x.grad is not None
    return result, x.grad


class K2Denominator:
    """The same as :class:`lstmp.nnet.mmi.plain.PlainDenominator` without leaks."""

    def __init__(self, graph: Denominator):
        self._fsa = k2.create_fsa_vec([denominator_fsa(graph)])

    def __call__(self, scores: torch.Tensor, begins: torch.Tensor, lengths: torch.Tensor, factor: float = 1.0,
                 decay: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`lstmp.nnet.mmi.plain.PlainDenominator.__call__`."""
        bad = ~(rows_of(scores, begins, lengths) < torch.inf).all(2).all(0)  # NaN or infinite: k2 would fail
        log_prob, posteriors = forward_backward(self._fsa, scores.masked_fill(bad.view(1, -1, 1), 0.0), begins, lengths)
        log_prob = torch.where(bad, torch.nan, log_prob)
        gradient = posteriors.mul_(factor)
        return log_prob, gradient, add_decay(gradient, scores, begins, lengths, decay)
