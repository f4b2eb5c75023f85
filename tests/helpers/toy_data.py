"""Toy data for training networks in seconds: random features around a mean for each pdf, and their alignment."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lstmp.features.ark import ArkWriter, write_int_vectors
from lstmp.nnet import checkpoint
from lstmp.nnet.train import train
from lstmp.nnet.trainer import Trainer

DIM, PDFS = 6, 5


class ToyData:
    """Twelve utterances of one speaker, the last two held out. A frame is the mean of its pdf plus Gaussian noise.

    Attributes:
        path: the folder of everything; ``data``, ``ali`` and ``valid`` are the arguments of training.
        pdfs: utterance → int64 [T], the pdf-id of each frame.
        feats: utterance → float32 [T, DIM].
    """

    def __init__(self, path: Path, lengths=(31, 12, 45, 7, 22, 60, 18, 25, 33, 9, 28, 40)):
        self.path, self.data, self.ali, self.valid = path, path / "train", path / "ali", path / "valid.list"
        rng = np.random.default_rng(1)
        means = 2 * rng.normal(size=(PDFS, DIM))
        self.pdfs, self.feats = {}, {}
        for n, length in enumerate(lengths):
            states = np.repeat(rng.integers(0, PDFS, length), rng.integers(2, 6, length))[:length]
            self.pdfs[f"a-{n:02d}"] = states
            self.feats[f"a-{n:02d}"] = (means[states] + 0.5 * rng.normal(size=(length, DIM))).astype(np.float32)
        self.data.mkdir()
        self.ali.mkdir()
        self.valid.write_text("".join(f"{utt}\n" for utt in list(self.pdfs)[-2:]))
        (self.ali / "num_pdfs").write_text(f"{PDFS}\n")
        (self.ali / "tree.json").write_text("{}\n")
        (self.ali / "transitions.safetensors").write_bytes(b"as it came")
        self.write()

    def write(self):
        """Write the current features and alignment."""
        with ArkWriter(self.data / "feats.ark", self.data / "feats.scp") as writer:
            for utt, feats in self.feats.items():
                writer.write(utt, feats)
        (self.data / "utt2spk").write_text("".join(f"{utt} a\n" for utt in self.feats))
        write_int_vectors(self.ali / "pdf.ark", self.pdfs.items())


def run(toy, cfg, out="net", **options):
    train(cfg, toy.data, toy.ali, toy.valid, toy.path / out, **options)
    return toy.path / out


def weights(folder):
    return checkpoint.read(folder / "final.safetensors", hint="")[0]


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same(a, b):
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def interrupted(toy, cfg, monkeypatch, **options):
    """Train in folder `parts`, interrupted and restarted after every eighth batch; returns the folder and the number of
    interruptions."""
    step, calls = Trainer.step, []

    def interrupted_now_and_then(self, *args):
        calls.append(0)
        if len(calls) % 8 == 0:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(Trainer, "step", interrupted_now_and_then)
    cfg, kills = replace(cfg, checkpoint_minutes=1e-6), 0  # after nearly every batch
    while True:
        try:
            return run(toy, cfg, "parts", **options), kills
        except KeyboardInterrupt:
            kills += 1


def cut(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
