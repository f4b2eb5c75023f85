"""A grid of networks on the toy data of the tests of lstmp.nnet."""

import sys
from pathlib import Path

import pytest
import yaml
from helpers.toy_data import ToyData

from lstmp.experiment import rates, run
from lstmp.paths import ROOT

COMMON = {"feature": {"cmvn": "none"}, "cells": 8, "recurrent_projection": 4, "label_delay": 2, "chunk": 7,
          "streams": 4, "epochs": 2, "lr_initial": 0.02, "lr_final": 0.01, "dropout": 0.0, "freq_masks": 0,
          "average_last": 0}


class ToyGrid:
    """A grid.yaml and the data that it refers to. ``write(key=value)`` writes the file with other values."""

    def __init__(self, path: Path):
        toy = ToyData(path)
        (toy.data / "utt2num_frames").write_text("".join(f"{u} {len(f)}\n" for u, f in toy.feats.items()))
        self.path, self.file = path, path / "grid.yaml"
        self.values = {
            "exp": str(path / "exp"), "page": str(path / "page/README.md"), "title": "Sizes", "note": "A trial.",
            "sets": [], "seeds": [1, 2],
            "sources": {"tied": {"train": str(toy.data), "ali": str(toy.ali), "valid": str(toy.valid),
                                 "graph": "none", "decode": {}}},
            "common": COMMON, "networks": {"small": {}, "large": {"cells": 16}, "once": {"layers": 1, "seeds": [3]}},
            "claims": [{"text": "Larger is better.", "comparisons": [
                {"first": "large", "second": "small", "measure": "accuracy"}]},
                {"text": "It flies.", "untested": "it has no wings"}]}

    def write(self, **changed) -> Path:
        self.file.write_text(yaml.safe_dump({**self.values, **changed}, sort_keys=False))
        return self.file


@pytest.fixture
def toy_grid(tmp_path) -> ToyGrid:
    return ToyGrid(tmp_path)


@pytest.fixture
def steps(monkeypatch):
    """The scripts of steps/, with the package of this checkout."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def python_steps(monkeypatch, steps):
    """The same steps without their shell scripts, which need .venv."""
    def in_python(step):
        return [sys.executable, "-m", modules[step[0]], *step[1:]] if step[0] in modules else step
    modules = {"steps/train_lstmp.sh": "lstmp.nnet.train", "steps/train_sequence.sh": "lstmp.sequence.train",
               "steps/find_rate.sh": "lstmp.nnet.find_rate"}
    commands, call = run.commands, rates._call
    monkeypatch.setattr(run, "commands", lambda *args: list(map(in_python, commands(*args))))
    monkeypatch.setattr(rates, "_call", lambda step: call(in_python(step)))
