"""Asynchronous training: exact if only one worker has streams, close to synchronous training otherwise."""

import pytest
import torch
from helpers.torchrun_training import torchrun
from helpers.toy_data import log, run, weights

from lstmp.errors import UserError
from lstmp.nnet import checkpoint
from lstmp.nnet.distributed.asynchronous import choose_servers
from lstmp.nnet.distributed.parameter_server import parts

SGD = {"optimizer": "sgd", "lr_initial": 0.5, "lr_final": 0.1}


def assert_alike(a, b):
    for x, y in zip(log(a), log(b), strict=True):
        assert x["frames"] == y["frames"] and x["loss_train"] == pytest.approx(y["loss_train"], rel=1e-4)
    for name, value in weights(a).items():
        torch.testing.assert_close(weights(b)[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [
    {}, pytest.param(SGD, marks=pytest.mark.slow), {"exchange_every": 3, "accumulate": 2},
    {"subsampling": 3, "chunk": 3}],
    ids=["adam", "sgd", "seldom", "low frame rate"])
def test_a_warm_start_as_long_as_the_training_equals_one_process(toy, small_config, options):
    of_one = {name: value for name, value in options.items() if name != "exchange_every"}
    one = run(toy, small_config(epochs=1, **of_one), "one")
    two = run(toy, small_config(epochs=1, updates="asynchronous", warm_start=1000, **options), "two", nj=2)
    assert_alike(one, two)


def test_a_long_warm_start_shows_its_progress(toy, small_config):
    """Also of a worker that has no frames during the warm start."""
    cfg = small_config(epochs=1, updates="asynchronous", warm_start=1000, **SGD)
    out = torchrun(toy, cfg, "slow", pause=0.1)
    assert out.returncode == 0, out.stdout
    assert log(toy.path / "slow")[0]["frames"] == 262


@pytest.mark.parametrize("servers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_one_worker_with_servers_equals_one_process(toy, small_config, servers):
    one = run(toy, small_config(**SGD), "one")
    served = run(toy, small_config(updates="asynchronous", parameter_servers=servers, **SGD), "served",
                 nj=1 + servers)
    assert_alike(one, served)
    row = log(served)[-1]
    assert (row["processes"], row["staleness_max"], row["server_staleness_max"]) == (1, 0, 0)


@pytest.mark.parametrize("options", [{}, {"exchange_every": 2, "warm_start": 5, "max_staleness": 1}])
def test_workers_learn_as_well_as_one_process(toy, small_config, options):
    # the loss of three workers that exchange seldom depends on their speeds: up to 0.31 was seen after 30 epochs
    cfg = {"epochs": 45, "streams": 6, "lr_initial": 0.02, "cells": 24, "recurrent_projection": 12}
    one = run(toy, small_config(**cfg), "one")
    rows = log(run(toy, small_config(updates="asynchronous", **cfg, **options), "three", nj=3))
    assert [r["frames"] for r in rows] == [r["frames"] for r in log(one)]  # every utterance once per epoch
    assert rows[-1]["loss_train"] < 1.3 * log(one)[-1]["loss_train"] + 0.1 < rows[0]["loss_train"]
    assert all(r["processes"] == 3 for r in rows) and max(r["staleness_max"] for r in rows) > 0
    if options:  # two others, each at most 1 batch ahead or behind: at most 3 batches, 2 exchanges, in one's 2 batches
        assert max(r["staleness_max"] for r in rows[1:]) <= 2 * (2 + 2 * 1)


def test_servers_and_workers_on_two_machines(toy, small_config):
    """Two agents of torchrun, each with a worker and a server."""
    cfg = {"epochs": 15, "streams": 6, "lr_initial": 0.02, "cells": 24, "recurrent_projection": 12}
    one = run(toy, small_config(**cfg), "one")
    out = torchrun(toy, small_config(updates="asynchronous", parameter_servers=2, **cfg), "net", nodes=2)
    assert out.returncode == 0, out.stdout
    rows = log(toy.path / "net")
    assert [r["frames"] for r in rows] == [r["frames"] for r in log(one)]
    assert rows[-1]["loss_train"] < 1.3 * log(one)[-1]["loss_train"] + 0.1 < rows[0]["loss_train"]
    assert rows[-1]["processes"] == 2 and rows[-1]["server_bytes"] > 0


@pytest.mark.parametrize("servers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_after_a_nan_in_one_worker_all_return_to_the_checkpoint(toy, small_config, servers):
    cfg = small_config(updates="asynchronous", parameter_servers=servers, **SGD)
    out = torchrun(toy, cfg, "net", nproc=2 + servers, poison={1: 9})
    assert out.returncode == 0, out.stdout
    assert "batch 10: the loss is nan" in out.stdout and "with 0.5 of the learning rate" in out.stdout
    header = checkpoint.read(toy.path / "net" / "last.safetensors", hint="")[1]
    assert header["retries"] == 1
    assert all(torch.isfinite(t).all() for t in weights(toy.path / "net").values())


@pytest.mark.parametrize("killed", [pytest.param(0, marks=pytest.mark.slow), 2], ids=["worker", "server"])
def test_after_a_process_is_killed_training_resumes(toy, small_config, killed):
    """torchrun restarts all processes, which resume from the last checkpoint."""
    cfg = small_config(updates="asynchronous", parameter_servers=1, checkpoint_minutes=1e-6, **SGD)
    out = torchrun(toy, cfg, "net", nproc=3, kill={killed: 9}, restarts=1)
    assert out.returncode == 0, out.stdout
    assert "resuming from epoch 1, batch" in out.stdout
    frames = [r["frames"] for r in log(toy.path / "net")]
    assert frames == [262, 262]  # none is lost or used twice


def test_servers_are_distributed_over_the_machines():
    machines = ["a", "a", "a", "b", "b", "b"]
    assert [choose_servers(machines, n) for n in (0, 1, 2, 3, 4)] == [[], [2], [2, 5], [1, 2, 5], [1, 2, 4, 5]]
    with pytest.raises(UserError, match="5 parameter servers, but only 6 processes on 2 machines"):
        choose_servers(machines, 5)
    assert [(p.start, p.stop) for p in parts(10, 3)] == [(0, 3), (3, 6), (6, 10)]


def test_impossible_configurations_are_refused(toy, small_config):
    with pytest.raises(UserError, match="asynchronous training with one process; start several"):
        run(toy, small_config(updates="asynchronous"), "net")
    with pytest.raises(UserError, match="3 workers for 2 streams"):
        run(toy, small_config(updates="asynchronous", streams=2), "net", nj=3)
    out = torchrun(toy, small_config(updates="asynchronous"), "net", nproc=1, nodes=2)
    assert out.returncode and "on several machines without a parameter server; set `parameter_servers`" in out.stdout
