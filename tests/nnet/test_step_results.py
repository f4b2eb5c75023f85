"""Losses that are read some batches later: as on a GPU, but on the CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.toy_data import assert_same, interrupted, log, run

from lstmp.nnet import trainer
from lstmp.nnet.optimizer import clip_gradients, clip_without_waiting
from lstmp.nnet.snapshot import empty_sums
from lstmp.nnet.step_results import Diverged, StepResult, StepResults
from lstmp.nnet.trainer import Trainer


def result(batch: int, loss=1.0, norm=1.0, **changes) -> StepResult:
    values = {"epoch": 2, "batch": batch, "names": lambda: [f"utt{batch}"], "loss": loss, "summed": None, "frames": 3,
              "correct": 2, "norm": norm, "divisor": 10, "checks_loss": True}
    return StepResult(**values | changes)


@pytest.mark.parametrize("number", [float, torch.tensor])
def test_they_are_read_together(number):
    results, sums = StepResults(3), empty_sums()
    for batch in range(2):
        results.add(result(batch, number(0.5), number(1.0)), sums)
    assert sums == empty_sums()
    results.add(result(2, number(1.0), None, summed=4.0, frames=5), sums)
    assert (sums["loss"], sums["correct"], sums["frames"]) == (14.0, 6, 11)
    results.add(result(3), sums)
    results.forget()
    results.read(sums)
    assert sums["loss"] == 14.0


@pytest.mark.parametrize("bad, problem", [
    ({"loss": torch.tensor(np.nan)}, "the loss is nan"), ({"norm": np.inf}, "the gradient's norm is inf"),
    ({"loss": np.nan, "norm": np.nan, "checks_loss": False}, "the loss is nan")])
def test_the_first_bad_one_is_named(bad, problem):
    results, sums = StepResults(4), empty_sums()
    with pytest.raises(Diverged) as raised:
        for batch in range(4):
            results.add(result(batch, **(bad if batch >= 2 else {})), sums)
    e = raised.value
    assert (e.problem, e.epoch, e.batch, e.utts) == (problem, 2, 2, ["utt2"]) and sums["loss"] == 20.0
    results.read(sums)  # nothing is left


def later(monkeypatch, every: int = 5):
    monkeypatch.setattr(trainer, "StepResults", lambda _: StepResults(every))
    monkeypatch.setattr(trainer, "clip_gradients",
                        lambda model, *a: clip_without_waiting([p.grad for p in model.parameters()], *a))


def test_training_ends_with_the_same_weights(toy, small_config, monkeypatch):
    cfg = small_config(grad_clip=0.01, grad_norm_clip=0.5, epochs=3)
    at_once = run(toy, cfg)
    later(monkeypatch)
    some_later = run(toy, cfg, "later")
    assert_same(at_once, some_later)
    for a, b in zip(log(at_once), log(some_later), strict=True):
        assert [a[k] for k in a if "second" not in k] == pytest.approx([b[k] for k in a if "second" not in k])
    parts, kills = interrupted(toy, cfg, monkeypatch)
    assert kills > 1
    assert_same(at_once, parts)


def test_a_batch_that_diverges_is_named_later_and_training_returns(toy, small_config, monkeypatch, capsys):
    later(monkeypatch)
    step, broken = Trainer.step, []

    def step_with_one_bad_batch(self, batch, augment, number, *args):
        if not broken and self.state.epoch == 1 and number == 2:
            broken.append([self.train.utts[u] for u in batch.utts])
            batch = replace(batch, features=batch.features * float("nan"))
        return step(self, batch, augment, number, *args)

    monkeypatch.setattr(Trainer, "step", step_with_one_bad_batch)
    folder = run(toy, small_config(epochs=3))
    message = capsys.readouterr().err
    assert "epoch 2, batch 3: the loss is nan in the batch of " + " ".join(broken[0]) in message
    assert "back to epoch 2, batch 1" in message and len(log(folder)) == 3
    assert all(np.isfinite(row["loss_train"]) for row in log(folder))


@pytest.mark.parametrize("element, norm", [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.5, 1.0), (100.0, 100.0)])
def test_clipping_without_waiting_is_clipping(element, norm):
    model, other = torch.nn.Linear(7, 5), torch.nn.Linear(7, 5)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.clone()
    before = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    clip_gradients(model, element, norm)
    total = clip_without_waiting([q.grad for q in other.parameters()], element, norm)
    assert float(total) == pytest.approx(float(before))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_an_infinite_gradient_shows_before_its_elements_are_clipped():
    assert float(clip_without_waiting([torch.tensor([1.0, np.inf])], 1.0, 0.0)) == np.inf
