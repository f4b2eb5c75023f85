"""Fixtures for the tests of networks: a small configuration, and toy data with an alignment."""

from dataclasses import replace

import pytest
from helpers import ROOT
from helpers.toy_data import ToyData

from lstmp import config
from lstmp.nnet.config import LstmpConfig


@pytest.fixture
def small_config():
    """conf/lstmp.yaml scaled down, without regularization; ``small_config(name=value)`` overrides fields."""
    cfg = config.load(ROOT / "conf" / "lstmp.yaml", LstmpConfig)
    cfg = replace(
        cfg, feature=replace(cfg.feature, cmvn="none", deltas=0), layers=2, cells=12, recurrent_projection=6,
        projection=0, peepholes=True, cell_clip=50.0, label_delay=3, chunk=7, streams=4, optimizer="adam", epochs=2,
        lr_initial=0.01, lr_final=0.003, grad_clip=1.0, grad_norm_clip=0.0, seed=1, dropout=0.0, dropout_mask="frame",
        weight_decay=0.0, input_noise=0.0, freq_masks=0, freq_mask_width=8, time_masks_per_second=0.0,
        time_mask_width=20, average_last=0, checkpoint_minutes=60.0, divergence_retries=3, divergence_factor=0.5)
    return lambda **changes: replace(cfg, **changes)


@pytest.fixture
def toy(tmp_path) -> ToyData:
    """Features, alignment and held-out list in the folder of the test; a network trains on them in seconds."""
    return ToyData(tmp_path)
