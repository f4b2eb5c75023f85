"""Forward-backward over the numerators of a batch in torch: all sequences at once, frame by frame, in float64.

A numerator has some three states that are active in a frame, so this takes a small part of the time of the denominator.
"""

import numpy as np
import torch

from lstmp.graph.numerator import Numerator
from lstmp.nnet.posteriors import Posteriors


def forward_backward(scores: torch.Tensor, begins: torch.Tensor,
                     numerators: list[Numerator]) -> tuple[torch.Tensor, Posteriors]:
    """Log-probability of each numerator, float64 [N], and the posteriors.

    Args:
        scores: [T, N, P].
        begins: int64 [N]; sequence n has its first frame in row begins[n].
        numerators: one for each sequence.

    A sequence whose log-probability is not finite has posteriors without meaning.
    """
    lengths = torch.tensor([n.frames for n in numerators])
    width = max(len(n.pdf) for n in numerators)
    pdf, loop_pdf, first, last = (_padded(numerators, name, width, fill, np.int64)
                                  for name, fill in (("pdf", 0), ("loop_pdf", 0), ("first", 1), ("last", 0)))
    start, start_inside, stay, enter = (_padded(numerators, name, width, -np.inf, np.float64)
                                        for name in ("start", "start_inside", "stay", "enter"))
    longest = int(lengths.max())
    time = torch.arange(longest).view(-1, 1, 1)
    inside = (first <= time) & (time <= last)
    emitted, repeated = (_emitted(scores, begins, lengths, pdfs, longest).masked_fill_(~inside, -torch.inf)
                         for pdfs in (pdf, loop_pdf))
    entered, stayed = [start + emitted[0]], [start_inside + repeated[0]]  # entered in frame t, entered before it
    alphas = [torch.logaddexp(entered[0], stayed[0])]
    nowhere = torch.full((len(lengths), 1), -torch.inf, dtype=torch.float64)
    for t in range(1, longest):
        entered.append(torch.cat([nowhere, alphas[-1][:, :-1]], 1) + enter + emitted[t])
        stayed.append(alphas[-1] + stay + repeated[t])
        new = torch.logaddexp(entered[-1], stayed[-1])
        alphas.append(torch.where((t < lengths).unsqueeze(1), new, alphas[-1]))
    log_prob = torch.logsumexp(alphas[-1], 1)
    betas = [torch.zeros_like(start)]
    for t in range(longest - 1, 0, -1):
        entering = torch.cat([(betas[-1] + enter + emitted[t])[:, 1:], nowhere], 1)
        new = torch.logaddexp(betas[-1] + stay + repeated[t], entering)
        betas.append(torch.where((t < lengths).unsqueeze(1), new, betas[-1]))
    rest = torch.stack(betas[::-1]) - log_prob.unsqueeze(1)
    frame, sequence, state = inside.nonzero(as_tuple=True)
    gammas = [(torch.stack(part) + rest).exp()[frame, sequence, state] for part in (entered, stayed)]
    pdfs = [x[sequence, state] for x in (pdf, loop_pdf)]
    return log_prob, Posteriors(*(i.to(scores.device) for i in (
        (frame + begins.cpu()[sequence]).repeat(2), sequence.repeat(2), torch.cat(pdfs), torch.cat(gammas))))


def _emitted(scores: torch.Tensor, begins: torch.Tensor, lengths: torch.Tensor, pdf: torch.Tensor,
             longest: int) -> torch.Tensor:
    """The scores of the pdfs int64 [N, K] in each frame of the sequences: float64 [longest, N, K] on the CPU."""
    time = begins.cpu() + torch.minimum(torch.arange(longest).unsqueeze(1), lengths - 1)
    index = (time.unsqueeze(2), torch.arange(len(pdf)).view(1, -1, 1), pdf.unsqueeze(0))
    return scores.detach()[tuple(i.to(scores.device) for i in index)].double().cpu()


def _padded(numerators: list[Numerator], name: str, width: int, fill, dtype) -> torch.Tensor:
    """An array of each numerator [K] as a row of [N, width]."""
    out = np.full((len(numerators), width), fill, dtype)
    for row, numerator in zip(out, numerators, strict=True):
        array = getattr(numerator, name)
        row[:len(array)] = array
    return torch.from_numpy(out)
