"""Forward-backward over the denominator graph in torch, on any device: the reference of mmi.cpp.

The leaky HMM (Povey et al. 2016) allows a jump between two frames of a chunk, from any state to state j
with the probability ``leaky`` · initial(j), so that the limited context of a chunk matters less.
"""

from dataclasses import dataclass

import torch

from lstmp.graph.denominator import Denominator


def rows_of(scores: torch.Tensor, begins: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """[longest, N, P]: the rows of each sequence, moved to the first frame; those after its end are repeated.

    Args:
        scores: [T, N, P].
        begins, lengths: int64 [N], the sequence is in rows begins[n] … begins[n] + lengths[n] − 1.
    """
    time = torch.arange(int(lengths.max()), device=scores.device).unsqueeze(1)
    time = begins.to(scores.device) + torch.minimum(time, lengths.to(scores.device) - 1)
    return scores[time, torch.arange(scores.shape[1], device=scores.device)]


def add_decay(gradient: torch.Tensor, scores: torch.Tensor, begins: torch.Tensor, lengths: torch.Tensor,
              decay: float) -> torch.Tensor:
    """Add decay · scores to the gradient in the rows of the sequences.

    Returns:
        the sums of their squared scores, float64 [N]. Scores that are not finite count as 0.
    """
    time = torch.arange(len(scores), device=scores.device).unsqueeze(1)
    begins, lengths = begins.to(scores.device), lengths.to(scores.device)
    inside = ((begins <= time) & (time < begins + lengths)).unsqueeze(2)
    y = torch.where(inside & scores.isfinite(), scores, torch.zeros_like(scores))
    gradient.add_(y, alpha=decay)
    return torch.linalg.vector_norm(y, dim=(0, 2), dtype=torch.float64).square()


@dataclass(frozen=True)
class _Tensors:
    """The graph: probabilities and pdfs of states, arcs from phone to phone with their probabilities."""

    initial: torch.Tensor
    stay: torch.Tensor
    pdf: torch.Tensor
    loop_pdf: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor
    prob: torch.Tensor

    def to(self, x: torch.Tensor) -> "_Tensors":
        """The same on the device of ``x``, with probabilities of its dtype."""
        return _Tensors(*(y.to(x) if y.is_floating_point() else y.to(x.device) for y in vars(self).values()))


class PlainDenominator:
    """Log-probability of all paths through the denominator graph, and posteriors of pdfs.

    Args:
        graph: the denominator graph, of S states.
        leaky: coefficient of the leaky HMM.
    """

    def __init__(self, graph: Denominator, leaky: float):
        self.leaky = leaky
        initial, stay, prob = (torch.from_numpy(x).exp() for x in (graph.initial, graph.stay, graph.weight))
        pdf, loop_pdf, source, target = (torch.from_numpy(x) for x in (graph.pdf, graph.loop_pdf, graph.source,
                                                                       graph.target))
        self._exact = _Tensors(initial, stay, pdf, loop_pdf, source, target, prob)
        self._copies: dict[tuple, _Tensors] = {}  # (dtype, device) → the same there

    def __call__(self, scores: torch.Tensor, begins: torch.Tensor, lengths: torch.Tensor, factor: float = 1.0,
                 decay: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute a batch.

        Args:
            scores: [T, N, P] outputs of the network, of any floating-point dtype.
            begins, lengths: int64 [N], see :func:`rows_of`; each length is at least 1.
            factor, decay: factors on the posteriors, and on the scores.

        Returns:
            log-probabilities float64 [N], NaN or infinite for a sequence whose posteriors have no meaning;
            factor · posteriors + decay · scores [T, N, P], 0 in rows that belong to no sequence; and the sums of the
            squared scores, float64 [N]. Scores that are not finite count as 0 in the last two.
        """
        x, lengths = rows_of(scores, begins, lengths), lengths.to(scores.device)
        if (x.dtype, x.device) not in self._copies:
            self._copies[x.dtype, x.device] = self._exact.to(x)
        graph = self._copies[x.dtype, x.device]
        entered, stayed, last = self._forward(graph, x, lengths)
        log_prob = torch.logsumexp(last, 1)
        posteriors = torch.zeros_like(scores)
        streams = torch.arange(x.shape[1], device=x.device)
        beta = torch.zeros_like(last)
        for t in reversed(range(len(x))):
            here = (t < lengths).unsqueeze(1)
            of_pdfs = torch.zeros_like(x[t])
            for alpha, pdf in ((entered[t], graph.pdf), (stayed[t], graph.loop_pdf)):
                gamma = torch.where(here, (alpha + beta - log_prob.unsqueeze(1)).exp(), 0.0)
                of_pdfs.index_add_(1, pdf, gamma * factor)
            rows = (begins.to(x.device) + t).clamp(max=len(scores) - 1)
            posteriors[rows, streams] += torch.where(here, of_pdfs, 0.0)
            beta = torch.where(here, self._backward(graph, x[t], beta, leaks=t > 0), beta)
        log_prob = torch.where(posteriors.sum((0, 2)).isfinite(), log_prob, torch.nan)
        return log_prob.double(), posteriors, add_decay(posteriors, scores, begins, lengths, decay)

    def _forward(self, graph: _Tensors, x: torch.Tensor,
                 lengths: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Log-probability of the scores up to each frame, and the state after it, [N, S] each: if it was entered in
        this frame, and if it was entered before. Then the sum of both after the last frame of each sequence."""
        alpha = graph.initial.log().expand(len(lengths), -1)
        entered, stayed = list[torch.Tensor](), list[torch.Tensor]()
        for t, frame in enumerate(x):
            prob, top = _scaled(alpha)
            if t > 0:
                prob = prob + self.leaky * prob.sum(1, keepdim=True) * graph.initial
            into = torch.zeros_like(prob).index_add_(1, graph.target, prob[:, graph.source] * graph.prob)
            entered.append(into.log() + top + frame[:, graph.pdf])
            stayed.append((prob * graph.stay).log() + top + frame[:, graph.loop_pdf])
            alpha = torch.where((t < lengths).unsqueeze(1), torch.logaddexp(entered[-1], stayed[-1]), alpha)
        return entered, stayed, alpha

    def _backward(self, graph: _Tensors, frame: torch.Tensor, beta: torch.Tensor, leaks: bool) -> torch.Tensor:
        """Log-probability of the rest from each state before a frame; ``beta`` is that after it."""
        both, top = _scaled(torch.stack([beta + frame[:, graph.pdf], beta + frame[:, graph.loop_pdf]], 1).flatten(1))
        entering, staying = both.unflatten(1, (2, -1)).unbind(1)
        out = torch.zeros_like(entering).index_add_(1, graph.source, entering[:, graph.target] * graph.prob)
        out = out + staying * graph.stay
        if leaks:
            out = out + self.leaky * (out * graph.initial).sum(1, keepdim=True)
        return out.log() + top


def _scaled(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """exp(x − top) and top, the maximum of each row; a maximum that is not finite counts as 0."""
    top = x.amax(1, keepdim=True)
    top = torch.where(top.isfinite(), top, torch.zeros_like(top))
    return (x - top).exp(), top
