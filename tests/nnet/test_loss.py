"""Output layer with cross entropy: against torch's own, and its gradient."""

import pytest
import torch

from lstmp.nnet.loss import FrameCrossEntropy

TARGETS = torch.tensor([3, -1, 0, 2, 4, -1, 0])


@pytest.fixture
def args():
    g = torch.Generator().manual_seed(0)
    shapes = (7, 4), (5, 4), (5,)
    return [torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_gradcheck(args):
    assert torch.autograd.gradcheck(lambda *a: FrameCrossEntropy.apply(*a, TARGETS, 3)[0], args)


def test_equals_torch(args):
    y, weight, bias = args
    loss, correct = FrameCrossEntropy.apply(y, weight, bias, TARGETS, 11)
    logits = y @ weight.T + bias
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, TARGETS, ignore_index=-1,
                                                                       reduction="sum") / 11)
    assert int(correct) == int(((logits.argmax(1) == TARGETS) & (TARGETS >= 0)).sum())


def test_frames_without_target_get_no_gradient(args):
    y, weight, bias = args
    FrameCrossEntropy.apply(y, weight, bias, TARGETS, 1)[0].backward()
    assert (y.grad[TARGETS < 0] == 0).all() and (y.grad[TARGETS >= 0].abs().sum(1) > 0).all()


def test_large_scores_stay_finite():
    y = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    weight, bias = torch.tensor([[1.0], [-1.0]], requires_grad=True), torch.zeros(2, requires_grad=True)
    loss, correct = FrameCrossEntropy.apply(y, weight, bias, torch.tensor([0, 0]), 1)
    loss.backward()
    assert loss == 2e4 and correct == 1 and torch.isfinite(y.grad).all()
