"""Toy data with an alignment, a graph of a unigram, and a network trained by cross entropy, made once."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.known_gaussians import ali_dir, mono_dir, toy  # noqa: F401
from helpers.mmi_training import MMI, make_denominator, states  # noqa: F401
from helpers.toy_data import run

from lstmp import config
from lstmp.corpus.prepare_lm import prepare_lm
from lstmp.graph.make_graph import make_graph
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.mmi.training import MmiSource
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.training import SequenceSource

SEQUENCE = config.load(ROOT / "conf" / "sequence.yaml", SequenceConfig)


@dataclass
class SequenceToy:
    """As :class:`helpers.toy_data.ToyData`: ``data``, ``ali`` and ``valid`` are the arguments of training."""

    path: Path
    data: Path
    ali: Path
    graph: Path
    initial: Path | None = None

    @property
    def valid(self) -> Path:
        (self.path / "valid.list").write_text("s0-028\ns1-037\ns0-030\ns1-033\n")
        return self.path / "valid.list"

    def source(self, **changes) -> SequenceSource:
        return SequenceSource(replace(SEQUENCE, **changes), self.graph, self.initial)

    def train(self, cfg, out="net", changes=None, **options) -> Path:
        return run(self, cfg, out, source=self.source(**changes or {}), initial=self.initial, **options)


def small(**changes) -> LstmpConfig:
    cfg = config.load(ROOT / "conf" / "lstmp.yaml", LstmpConfig)
    return replace(cfg, **{
        "feature": replace(cfg.feature, cmvn="none"), "cells": 24, "recurrent_projection": 12, "label_delay": 3,
        "chunk": 7, "streams": 8, "epochs": 5, "lr_initial": 0.01, "lr_final": 0.003, "dropout": 0.0, "freq_masks": 0,
        "average_last": 0, "checkpoint_minutes": 60.0} | changes)


def untrained(toy, ali, path) -> SequenceToy:  # noqa: F811
    """The data with an alignment, and the graph of a unigram for its states, in the folder ``path``."""
    prepare_lm(toy.lang, path / "lang_weak", texts=[toy.data / "text"], order=1, skip_id=True)
    make_graph(path / "lang_weak", ali, path / "graph")
    return SequenceToy(path, toy.data, ali, path / "graph")


@pytest.fixture(scope="session")
def trained(toy, ali_dir, tmp_path_factory):  # noqa: F811
    """The data with a network of cross entropy that has not learned everything yet."""
    work = untrained(toy, ali_dir, tmp_path_factory.mktemp("sequence"))
    return replace(work, initial=run(work, small(), "ce"))


@pytest.fixture(scope="session")
def by_lfmmi(toy, states, tmp_path_factory):  # noqa: F811
    """The same with a network of LF-MMI, and states for output every third frame."""
    work = untrained(toy, states, tmp_path_factory.mktemp("sequence_mmi"))
    source = MmiSource(MMI, make_denominator(states, work.path / "denominator", order=2))
    cfg = small(criterion="lfmmi", subsampling=3, chunk=20, epochs=8, lr_initial=0.02)
    return replace(work, initial=run(work, cfg, "lfmmi", source=source))


@pytest.fixture
def work(trained, tmp_path):
    return replace(trained, path=tmp_path)


@pytest.fixture
def smbr():
    """A configuration of sequence training; ``smbr(name=value)`` overrides values."""
    return lambda **changes: small(**{"criterion": "smbr", "chunk": 0, "streams": 6, "epochs": 2, "lr_initial": 1e-3,
                                      "lr_final": 5e-4} | changes)


@pytest.fixture(name="small")
def small_configuration():
    return small
