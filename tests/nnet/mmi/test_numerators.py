"""Forward-backward over numerators, compared with the sum over all of their paths."""

import pytest
import torch
from helpers.small_denominators import SmallSystem, numerator_paths, total
from helpers.small_graphs import NEEDS_K2

from lstmp.graph.numerator import Numerators
from lstmp.nnet.mmi.numerators import forward_backward

SYSTEMS = [SmallSystem(3, 2), SmallSystem(3, 2, chain=True)]


def cuts(seed):
    """Numerators of whole utterances and of chunks, and scores with unused rows before and after them."""
    system = SYSTEMS[seed % 2]
    numerators = Numerators(system.denominator, tolerance=4)
    for number in range(len(system.sequences)):
        numerators.add(str(number), system.aligned(number, longest=5))
    chunks = [cut[1] for utt in "012345" for first in range(6) if (cut := numerators.cut(utt, first, 4 + first))]
    g = torch.Generator().manual_seed(seed)
    begins = torch.randint(0, 3, (len(chunks),), generator=g)
    rows = max(int(b) + c.frames for b, c in zip(begins, chunks, strict=True)) + 1
    return chunks, begins, 3 * torch.randn(rows, len(chunks), system.denominator.num_pdfs, generator=g).double()


@pytest.mark.parametrize("seed", range(4))
def test_values_and_posteriors_equal_the_sum_over_all_paths(seed):
    chunks, begins, scores = cuts(seed)
    assert len(chunks) > 10
    log_prob, posteriors = forward_backward(scores, begins, chunks)
    dense = torch.zeros_like(scores)
    posteriors.add_to(dense, 1.0)
    for n, (chunk, begin) in enumerate(zip(chunks, begins.tolist(), strict=True)):
        rows = slice(begin, begin + chunk.frames)
        paths = [(pdfs, weight) for _, pdfs, weight in numerator_paths(chunk)]
        expected, of_pdfs = total(paths, scores[rows, n].numpy())
        assert float(log_prob[n]) == pytest.approx(expected, abs=1e-9)
        assert dense[rows, n].numpy() == pytest.approx(of_pdfs, abs=1e-9)
        assert float(dense[:, n].sum()) == pytest.approx(chunk.frames)


@NEEDS_K2
def test_k2_gives_the_same():
    import k2

    from lstmp.nnet.mmi import k2_graphs

    chunks, begins, scores = cuts(7)
    log_prob, posteriors = forward_backward(scores, begins, chunks)
    dense = torch.zeros_like(scores)
    posteriors.add_to(dense, 1.0)
    fsas = k2.create_fsa_vec([k2_graphs.numerator_fsa(c) for c in chunks])
    found = k2_graphs.forward_backward(fsas, scores, begins, torch.tensor([c.frames for c in chunks]))
    assert found[0].numpy() == pytest.approx(log_prob.numpy(), rel=1e-6, abs=1e-3)
    assert float((found[1] - dense).abs().max()) < 1e-3
