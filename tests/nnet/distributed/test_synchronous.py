"""Several processes, one update: the loss and the weights of one process with the same streams."""

import json

import pytest
import torch
from helpers.torchrun_training import torchrun

from lstmp.errors import UserError
from lstmp.nnet import checkpoint
from lstmp.nnet.train import train


def run(world, cfg, out, **options):
    train(cfg, world.data, world.ali, world.valid, world.path / out, **options)
    return world.path / out


def weights(folder):
    return checkpoint.read(folder / "final.safetensors", hint="")[0]


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_alike(a, b, tolerance=1e-4):
    """Same curve, same frames, same weights, to rounding."""
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
    ({"freq_masks": 1, "gain_db": 3.0}, 2)],
    ids=["sgd", "accumulate", "more streams than utterances", "whole utterances", "masks"])
def test_the_curve_of_one_process(world, small_config, options, nj):
    cfg = small_config(**options)
    assert_alike(run(world, cfg, "one"), run(world, cfg, "several", nj=nj))


def test_accumulated_gradient_is_that_of_the_larger_batch(world, small_config):
    """With utterances of one chunk, two batches of 2 streams hold what one of 4 does, and so does the update."""
    for utt in world.feats:
        world.feats[utt], world.pdfs[utt] = world.feats[utt][:4], world.pdfs[utt][:4]
    world.write()
    options = {"grad_clip": 0.0, "epochs": 1, "label_delay": 0} | SGD | {"lr_final": 0.5}
    four = run(world, small_config(streams=4, **options), "four")
    two = run(world, small_config(streams=2, accumulate=2, **options), "two")
    assert log(four)[0]["batches"] == 3 and log(two)[0]["batches"] == 5  # 10 utterances
    # the last update of both is of 2 utterances and divided by the frames of 4
    for name in ("w_out", "b_out"):
        torch.testing.assert_close(weights(four)[name], weights(two)[name], rtol=1e-4, atol=1e-5)


def test_bf16_gradients_are_near(world, small_config):
    cfg = small_config(**SGD)
    one = run(world, cfg, "one")
    half = run(world, small_config(gradient_precision="bf16", **SGD), "half", nj=2)
    assert log(half)[-1]["loss_train"] == pytest.approx(log(one)[-1]["loss_train"], rel=0.02)
    assert not torch.equal(weights(half)["w_out"], weights(one)["w_out"])


@pytest.mark.parametrize("then", [pytest.param(2, marks=pytest.mark.slow), 1])
def test_interrupted_and_gone_on_with_as_many_or_others(world, small_config, then):
    """The checkpoint of two processes is that of any number: the state of all streams is in it."""
    cfg = small_config(epochs=2, **SGD)
    whole = run(world, cfg, "whole", nj=2)
    out = torchrun(world, small_config(epochs=2, checkpoint_minutes=1e-6, **SGD), "parts", kill={1: 9}, restarts=0)
    assert out.returncode != 0
    assert checkpoint.read(world.path / "parts" / "last.safetensors", hint="")[1]["batch"] in range(5, 10)
    parts = run(world, cfg, "parts", nj=then)
    if then == 2:
        for name, value in weights(whole).items():
            assert torch.equal(weights(parts)[name], value), name
    assert_alike(whole, parts)


def test_more_processes_than_streams(world, small_config):
    with pytest.raises(UserError, match="3 processes for 2 streams; raise `streams`"):
        run(world, small_config(streams=2), "net", nj=3)


def test_a_nan_of_one_process_is_told_with_its_utterances(world, small_config):
    """All see it in the gradient, and go back together."""
    out = torchrun(world, small_config(**SGD), "net", poison={1: 9})
    assert out.returncode == 0, out.stdout
    assert "epoch 1, batch 10: the loss is nan in the batch of a-" in out.stdout
    header = checkpoint.read(world.path / "net" / "last.safetensors", hint="")[1]
    assert header["retries"] == 1 and header["rate_scale"] == 0.5
    assert [row["frames"] for row in log(world.path / "net")] == [262, 262]
