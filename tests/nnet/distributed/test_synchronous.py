"""Synchronous training: loss and weights equal those of one process with the same streams."""

import pytest
import torch
from helpers.torchrun_training import torchrun
from helpers.toy_data import log, run, weights

from lstmp.errors import UserError
from lstmp.nnet import checkpoint


def assert_alike(a, b, tolerance=1e-4):
    """Same losses, same frames, same weights, up to rounding."""
    for x, y in zip(log(a), log(b), strict=True):
        assert x["frames"] == y["frames"]
        for name in ("loss_train", "loss_valid"):
            assert x[name] == pytest.approx(y[name], rel=tolerance)
    for name, value in weights(a).items():
        torch.testing.assert_close(weights(b)[name], value, rtol=10 * tolerance, atol=tolerance)


SGD = {"optimizer": "sgd", "lr_initial": 0.5, "lr_final": 0.1}


@pytest.mark.parametrize(("options", "nj"), [
    (SGD, 2), ({"streams": 6, "accumulate": 3}, 3), ({"streams": 64} | SGD, 3),
    ({"bidirectional": True, "chunk": 0, "label_delay": 0, "accumulate": 2}, 2),
    ({"freq_masks": 1, "gain_db": 3.0}, 2), ({"subsampling": 3, "chunk": 3, "time_masks_per_second": 5.0}, 2)],
    ids=["sgd", "accumulate", "more streams than utterances", "whole utterances", "masks", "low frame rate"])
def test_several_processes_give_the_curve_of_one(toy, small_config, options, nj):
    cfg = small_config(**options)
    assert_alike(run(toy, cfg, "one"), run(toy, cfg, "several", nj=nj))


def test_an_accumulated_gradient_equals_that_of_the_larger_batch(toy, small_config):
    """With utterances of one chunk, two batches of 2 streams contain the same as one batch of 4."""
    for utt in toy.feats:
        toy.feats[utt], toy.pdfs[utt] = toy.feats[utt][:4], toy.pdfs[utt][:4]
    toy.write()
    options = {"grad_clip": 0.0, "epochs": 1, "label_delay": 0} | SGD | {"lr_final": 0.5}
    four = run(toy, small_config(streams=4, **options), "four")
    two = run(toy, small_config(streams=2, accumulate=2, **options), "two")
    assert log(four)[0]["batches"] == 3 and log(two)[0]["batches"] == 5  # 10 utterances
    # the last update of both has 2 utterances, and is divided by the frames of 4
    for name in ("w_out", "b_out"):
        torch.testing.assert_close(weights(four)[name], weights(two)[name], rtol=1e-4, atol=1e-5)


def test_bf16_gradients_change_the_loss_only_slightly(toy, small_config):
    cfg = small_config(**SGD)
    one = run(toy, cfg, "one")
    half = run(toy, small_config(gradient_precision="bf16", **SGD), "half", nj=2)
    assert log(half)[-1]["loss_train"] == pytest.approx(log(one)[-1]["loss_train"], rel=0.02)
    assert not torch.equal(weights(half)["w_out"], weights(one)["w_out"])


@pytest.mark.parametrize("then", [pytest.param(2, marks=pytest.mark.slow), 1])
def test_resuming_with_the_same_or_another_number_of_processes(toy, small_config, then):
    """A checkpoint has the recurrent state of all streams, so any number of processes can resume from it."""
    cfg = small_config(epochs=2, **SGD)
    whole = run(toy, cfg, "whole", nj=2)
    out = torchrun(toy, small_config(epochs=2, checkpoint_minutes=1e-6, **SGD), "parts", kill={1: 9}, restarts=0)
    assert out.returncode != 0
    assert checkpoint.read(toy.path / "parts" / "last.safetensors", hint="")[1]["batch"] in range(5, 10)
    parts = run(toy, cfg, "parts", nj=then)
    if then == 2:
        for name, value in weights(whole).items():
            assert torch.equal(weights(parts)[name], value), name
    assert_alike(whole, parts)


def test_more_processes_than_streams_are_refused(toy, small_config):
    with pytest.raises(UserError, match="3 processes for 2 streams; raise `streams`"):
        run(toy, small_config(streams=2), "net", nj=3)


def test_a_nan_in_one_process_is_reported_with_its_utterances(toy, small_config):
    """All processes see it in the gradient, and return to the checkpoint together."""
    out = torchrun(toy, small_config(**SGD), "net", poison={1: 9})
    assert out.returncode == 0, out.stdout
    assert "epoch 1, batch 10: the loss is nan in the batch of a-" in out.stdout
    header = checkpoint.read(toy.path / "net" / "last.safetensors", hint="")[1]
    assert header["retries"] == 1 and header["rate_scale"] == 0.5
    assert [row["frames"] for row in log(toy.path / "net")] == [262, 262]
