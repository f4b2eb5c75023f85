"""From the alignment of a GMM to the criterion: states, denominator graph, numerators, and all implementations."""

import dataclasses
import importlib.util

import pytest
import torch
from helpers.mmi_training import MMI as CONFIG
from helpers.mmi_training import make_denominator

from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.graph.numerator import Numerators
from lstmp.nnet.mmi.criterion import LfMmi
from lstmp.nnet.mmi.native import kernel


def test_every_aligned_utterance_has_a_numerator(toy, states, graph):
    numerators = Numerators.read(states, graph, CONFIG.tolerance)
    alignment = read_alignment(states)
    assert len(alignment) == 40 and numerators.left_out == {}
    for utt, tids in alignment.items():
        assert numerators.frames(utt) == -(-len(tids) // 3)
    assert graph.num_pdfs == AcousticModel.load(states).tree.num_pdfs
    assert set(graph.phone[1:].tolist()) <= {*Lang.load(toy.lang).silence, *Lang.load(toy.lang).nonsilence}


def test_the_implementations_agree_on_chunks_of_the_data(states, graph):
    numerators, size = Numerators.read(states, graph, CONFIG.tolerance), 20
    cuts = [numerators.cut(utt, first, size) for utt in sorted(read_alignment(states))
            for first in range(0, numerators.frames(utt), size)]
    begins, chunks = torch.tensor([b for b, _ in cuts]), [c for _, c in cuts]
    scores = torch.randn(size, len(chunks), graph.num_pdfs, generator=torch.Generator().manual_seed(1))
    for leaky in (CONFIG.leaky, 0.0):
        exact = LfMmi(graph, leaky, CONFIG.l2_regularize)(scores.double(), chunks, begins)
        assert exact.left_out == [] and exact.objective < 0 and exact.frames == sum(c.frames for c in chunks)
        k2 = not leaky and importlib.util.find_spec("k2") is not None
        kinds = ["native"] * (kernel() is not None) + ["k2"] * k2
        for kind in kinds:
            x = scores.clone().requires_grad_()
            found = LfMmi(graph, leaky, CONFIG.l2_regularize, kind)(x, chunks, begins)
            found.loss.backward()
            y = scores.double().requires_grad_()
            LfMmi(graph, leaky, CONFIG.l2_regularize)(y, chunks, begins).loss.backward()
            assert found.objective == pytest.approx(exact.objective, rel=1e-5)
            assert float((x.grad - y.grad).abs().max()) < 1e-7


def test_a_few_steps_of_gradient_descent_lower_the_loss(states, graph):
    numerators = Numerators.read(states, graph, CONFIG.tolerance)
    chunks = [numerators.whole(utt) for utt in sorted(read_alignment(states))[:8]]
    scores = torch.zeros(max(c.frames for c in chunks), 8, graph.num_pdfs, requires_grad=True)
    criterion, losses = LfMmi(graph, CONFIG.leaky, CONFIG.l2_regularize), []
    for _ in range(10):
        loss = criterion(scores, chunks).loss
        losses.append(float(loss.detach()))
        (grad,) = torch.autograd.grad(loss, scores)
        scores = (scores - 300 * grad).detach().requires_grad_()
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0] / 3


def test_utterances_that_are_not_in_the_graph_are_named_in_a_warning(states, graph, capsys):
    """A graph of other phone sequences, with two of the utterances."""
    alignment = read_alignment(states)
    model = AcousticModel.load(states)
    from lstmp.gmm.align import segments
    from lstmp.graph.denominator import make_denominator as compose
    from lstmp.graph.phone_lm import PhoneLmConfig, estimate

    phones = {utt: [s.phone for s in segments(tids, model.transitions)] for utt, tids in alignment.items()}
    some = sorted(phones, key=lambda u: -len(phones[u]))[:2]
    other = compose(estimate([phones[u] for u in some], PhoneLmConfig(4, 1000)), model)
    numerators = Numerators.read(states, other, 5)
    assert all(numerators.frames(u) > 0 for u in some) and numerators.left_out
    assert f"{len(numerators.left_out)} of 40 utterances have no numerator graph" in capsys.readouterr().err


def test_a_finished_graph_is_not_made_again(states, denominator_dir, capsys):
    make_denominator(states, denominator_dir)
    assert "is done" in capsys.readouterr().out


def test_bad_input_is_an_error(ali_dir, tmp_path):
    with pytest.raises(UserError, match="its phones may not be as short as one frame; .*--topology chain"):
        make_denominator(ali_dir, tmp_path / "x")
    with pytest.raises(UserError, match="no such model folder"):
        make_denominator(tmp_path / "none", tmp_path / "y")


def test_options_out_of_range_are_errors():
    for changed in ({"leaky": -1.0}, {"leaky": 1.0}, {"tolerance": -1}, {"l2_regularize": -0.1},
                    {"implementation": "cuda"}, {"implementation": "k2", "leaky": 1e-5}):
        with pytest.raises(UserError, match=f"`{next(iter(changed)) if len(changed) == 1 else 'leaky'}` must be"):
            dataclasses.replace(CONFIG, **changed)
