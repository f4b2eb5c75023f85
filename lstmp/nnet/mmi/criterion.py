"""The criterion of lattice-free MMI for a batch of chunks.

For the outputs y of a network, without softmax, the objective of a sequence is

    log Σ over paths of the numerator, of weight · exp(Σ y_t(pdf_t))  −  the same over paths of the denominator,

minus ½ · l2_regularize · Σ y². Its derivative by y_t(j) is the posterior of pdf j in frame t given the numerator, minus
that given the denominator (Povey et al. 2016, "Purely sequence-trained neural networks for ASR based on lattice-free
MMI"). Networks minimize its negative, divided by a number of frames.
"""

from collections.abc import Callable

import torch

from lstmp.errors import UserError
from lstmp.graph.denominator import Denominator
from lstmp.graph.numerator import Numerator
from lstmp.nnet.mmi import native
from lstmp.nnet.mmi.numerators import forward_backward
from lstmp.nnet.mmi.plain import PlainDenominator
from lstmp.nnet.posteriors import Posteriors, Result, WithGradient


class LfMmi:
    """Computes the criterion.

    Args:
        graph: the denominator graph.
        leaky: coefficient of the leaky HMM.
        l2_regularize: factor on half of the squared scores.
        implementation: of the denominator: native, torch, k2, or auto: native for float32 on the CPU, otherwise torch.
        threads: number of threads of the native one that share a batch.

    Raises:
        UserError: the implementation is not available here.
    """

    def __init__(self, graph: Denominator, leaky: float, l2_regularize: float, implementation: str = "auto",
                 threads: int = 1):
        self.num_pdfs, self.l2_regularize = graph.num_pdfs, l2_regularize
        self._plain = PlainDenominator(graph, leaky)
        self._fast: Callable | None = None
        if implementation == "k2":
            if leaky:
                raise UserError("`leaky` must be 0 with k2", hint="set leaky: 0, or implementation: auto")
            try:
                from lstmp.nnet.mmi.k2_graphs import K2Denominator
            except ImportError:
                raise UserError("k2 is not installed", hint="set implementation: auto") from None
            self._fast = K2Denominator(graph)
        elif implementation != "torch" and native.kernel() is not None:
            self._fast = native.NativeDenominator(graph, leaky, threads)
        elif implementation == "native":
            raise UserError("the criterion cannot be compiled here", hint="install a C++ compiler, or set "
                            "implementation: auto")

    def denominator_for(self, scores: torch.Tensor) -> Callable:
        """The implementation of the denominator for such scores, by their dtype and device."""
        fast = scores.dtype == torch.float32 and scores.device.type == "cpu"
        return self._fast if self._fast is not None and fast else self._plain

    def __call__(self, scores: torch.Tensor, numerators: list[Numerator | None], begins: torch.Tensor | None = None,
                 divisor: float | None = None) -> Result:
        """Compute the criterion of N sequences.

        Args:
            scores: [T, N, P] outputs of the network.
            numerators: for each sequence its numerator, None if it has no loss.
            begins: int64 [N], the row of ``scores`` of each sequence's first frame; default: 0. Rows before it, and
                those after the frames of the numerator, do not count.
            divisor: the loss is divided by this; default: the number of frames.

        Raises:
            ValueError: the scores have another number of pdfs than the graph, or too few rows.
        """
        used = [n for n, numerator in enumerate(numerators) if numerator is not None]
        chosen = [numerator for numerator in numerators if numerator is not None]
        begins = torch.zeros(len(numerators), dtype=torch.int64) if begins is None else begins.cpu().long()
        lengths = torch.tensor([n.frames for n in chosen], dtype=torch.int64)
        if scores.shape[1:] != (len(numerators), self.num_pdfs) or used and (
                int((begins[used] + lengths).max()) > len(scores) or int(begins[used].min()) < 0):
            raise ValueError(f"scores {tuple(scores.shape)} do not fit {len(numerators)} numerators, their frames, and "
                             f"{self.num_pdfs} pdfs")
        if not used:
            nothing = torch.zeros(0, dtype=torch.int64, device=scores.device)
            return Result(scores.sum() * 0.0, 0.0, 0, [], Posteriors(nothing, nothing, nothing, nothing.double()))
        divisor = float(lengths.sum()) if divisor is None else divisor
        part = scores if len(used) == len(numerators) else scores[:, used]
        value, gradient, objective, bad, posteriors = self._compute(
            part.detach(), begins[used], lengths, chosen, divisor)
        sequence = torch.tensor(used, device=scores.device)[posteriors.sequence]
        return Result(WithGradient.apply(part, value, gradient), objective, int(lengths[~bad].sum()),
                      [used[i] for i in bad.nonzero()[:, 0].tolist()],
                      Posteriors(posteriors.frame, sequence, posteriors.pdf, posteriors.value))

    def _compute(self, scores, begins, lengths, numerators, divisor):
        """Loss, its gradient, objective, which sequences are left out (bool [n]), and posteriors of the numerators."""
        over, gradient, squares = self.denominator_for(scores)(
            scores, begins, lengths, 1.0 / divisor, self.l2_regularize / divisor)
        log_prob, posteriors = forward_backward(scores, begins, numerators)
        difference, squares = log_prob - over.cpu(), squares.cpu()
        bad = ~difference.isfinite()
        if bad.any():
            gradient[:, bad] = 0.0
            posteriors = posteriors.without(bad.to(scores.device))
        posteriors.add_to(gradient, -1.0 / divisor)
        objective = float(difference[~bad].sum())
        loss = (0.5 * self.l2_regularize * float(squares[~bad].sum()) - objective) / divisor
        return scores.new_tensor(loss), gradient, objective, bad, posteriors
