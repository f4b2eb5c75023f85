"""Training that is interrupted, or whose files have changed: it resumes exactly, starts again, or says what to do."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from helpers.toy_data import assert_same, cut, interrupted, run, weights

from lstmp import config
from lstmp.errors import UserError
from lstmp.nnet import checkpoint
from lstmp.nnet.trainer import Trainer


@pytest.mark.parametrize("options", [
    {"dropout": 0.3, "input_noise": 0.1, "freq_masks": 1, "time_masks_per_second": 5.0},
    {"optimizer": "sgd", "lr_initial": 0.5, "lr_final": 0.1, "grad_clip": 0.0, "grad_norm_clip": 0.5,
     "weight_decay": 0.01, "average_last": 2},
    {"kind": "dnn", "recurrent_projection": 0, "stack": 3}, {"streams": 9, "epochs": 6},
    {"bidirectional": True, "chunk": 0, "label_delay": 0, "streams": 2, "epochs": 8},
    {"bidirectional": True, "chunk": 9, "label_delay": 0},
    {"subsampling": 3, "stack": 2, "chunk": 3, "epochs": 5, "time_masks_per_second": 5.0, "dropout": 0.3}])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_training_ends_with_the_same_weights(toy, small_config, monkeypatch, options, threads):
    cfg = small_config(**{"epochs": 3} | options)
    whole = run(toy, cfg, "whole", threads=threads)
    parts, kills = interrupted(toy, cfg, monkeypatch, threads=threads)
    assert kills > 3
    assert_same(whole, parts)
    logs = [[json.loads(line) for line in (p / "log.jsonl").read_text().splitlines()] for p in (whole, parts)]
    for a, b in zip(*logs, strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == {k: v for k, v in b.items() if "second" not in k}


@pytest.mark.slow
def test_kill_dash_nine_and_resume(toy, small_config):
    cfg = small_config(epochs=15, dropout=0.2, checkpoint_minutes=1e-3)
    path = toy.path / "lstmp.yaml"
    path.write_text(yaml.safe_dump(config.to_dict(cfg)))
    command = [sys.executable, "-m", "lstmp.nnet.train", "--config", path, "--train", toy.data, "--ali", toy.ali,
               "--valid", toy.valid, "--threads", "1", "--out"]
    subprocess.run([*command, toy.path / "whole"], check=True, capture_output=True)
    rng, kills = np.random.default_rng(), 0
    while True:
        job = subprocess.Popen([*command, toy.path / "parts"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        last = toy.path / "parts" / "last.safetensors"
        while kills < 5 and job.poll() is None and not last.exists():
            time.sleep(0.02)
        try:
            code = job.wait(rng.uniform(1.5, 4) if kills < 5 else 300)
        except subprocess.TimeoutExpired:
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
            kills += 1
            continue
        assert code == 0
        break
    assert_same(toy.path / "whole", toy.path / "parts")


def test_changed_features_start_training_from_scratch(toy, small_config):
    first = weights(run(toy, small_config()))
    toy.feats["a-03"] += 1
    toy.write()
    assert not torch.equal(weights(run(toy, small_config()))["w_out"], first["w_out"])


def test_the_best_weights_are_of_an_epoch_of_the_checkpoint(toy, small_config, monkeypatch):
    """Killed between the weights of an epoch and the checkpoint, training repeats that epoch."""
    best, cfg = toy.path / "parts" / "best.safetensors", small_config(epochs=2, average_last=0)
    save, adopt = Trainer.save, Trainer._adopt_best
    monkeypatch.setattr("lstmp.nnet.trainer.is_best", lambda history: True)

    def killed(method, epoch):
        def instead(trainer):
            if trainer.state.epoch == epoch and not trainer.state.batch:
                raise KeyboardInterrupt
            method(trainer)
        return instead

    for name, method, kept in (("save", save, None), ("_adopt_best", adopt, None), ("save", save, 1)):
        epoch = 1 if kept is None else 2
        with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
            m.setattr(Trainer, name, killed(method, epoch))
            run(toy, cfg, "parts")
        assert (best.with_name("best.next.safetensors")).is_file()
        assert best.is_file() == (kept is not None)
        if kept:
            assert checkpoint.read(best, hint="")[1]["epoch"] == kept
    assert_same(run(toy, cfg, "whole"), run(toy, cfg, "parts"))
    assert best.is_file() and not best.with_name("best.next.safetensors").exists()


def test_a_cut_off_checkpoint_says_what_to_do(toy, small_config):
    out = run(toy, small_config())
    (out / "final.safetensors").unlink()
    cut(out / "last.safetensors")
    with pytest.raises(UserError, match="last.safetensors: the checkpoint is cut off.*; delete it to train from the"):
        run(toy, small_config())
    (out / "last.safetensors").unlink()
    run(toy, small_config())
    assert (out / "final.safetensors").is_file()


def test_a_deleted_result_is_written_again_without_training(toy, small_config, monkeypatch):
    out = run(toy, small_config(average_last=1))
    before = (out / "final.safetensors").read_bytes()
    (out / "final.safetensors").unlink()
    monkeypatch.setattr(Trainer, "step", None)
    run(toy, small_config(average_last=1))
    assert (out / "final.safetensors").read_bytes() == before


def test_a_full_disk_does_not_end_an_epoch(toy, small_config, monkeypatch, capfd):
    """In the middle of an epoch a checkpoint may fail; at the end of the epoch it must be written."""
    write, full = checkpoint.write, []

    def no_room(path, tensors, header):
        if path.name == "last.safetensors" and header["batch"] and len(full) < 3:
            full.append(header["batch"])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, tensors, header)

    monkeypatch.setattr(checkpoint, "write", no_room)
    with_full_disk = run(toy, small_config(checkpoint_minutes=1e-6), "full")
    assert len(full) == 3 and capfd.readouterr().err.count("no checkpoint is written; free some space") == 3
    assert_same(with_full_disk, run(toy, small_config(), "roomy"))
    monkeypatch.setattr(checkpoint, "write", lambda path, *args: no_room(path, args[0], {"batch": 1}))
    full.clear()
    with pytest.raises(OSError, match="No space left on device"):
        run(toy, small_config(seed=2), "never")
