"""A small world for the network's tests: a data dir with features, an alignment, a configuration."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lstmp import config
from lstmp.features.ark import ArkWriter, write_int_vectors
from lstmp.nnet.config import LstmpConfig

ROOT = Path(__file__).resolve().parents[2]
DIM, PDFS = 6, 5


@pytest.fixture
def small_config():
    """conf/lstmp.yaml scaled down, without regularization; ``small_config(name=value)`` changes more."""
    cfg = config.load(ROOT / "conf" / "lstmp.yaml", LstmpConfig)
    cfg = replace(
        cfg, feature=replace(cfg.feature, cmvn="none", deltas=0), layers=2, cells=12, recurrent_projection=6,
        projection=0, peepholes=True, cell_clip=50.0, label_delay=3, chunk=7, streams=4, optimizer="adam", epochs=2,
        lr_initial=0.01, lr_final=0.003, grad_clip=1.0, grad_norm_clip=0.0, seed=1, dropout=0.0, dropout_mask="frame",
        weight_decay=0.0, input_noise=0.0, freq_masks=0, freq_mask_width=8, time_masks_per_second=0.0,
        time_mask_width=20, average_last=0, checkpoint_minutes=60.0, divergence_retries=3, divergence_factor=0.5)
    return lambda **changes: replace(cfg, **changes)


class World:
    """Twelve utterances whose frames lie around the mean of their state; the last two are held out."""

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
        """Write features and alignment as they are now."""
        with ArkWriter(self.data / "feats.ark", self.data / "feats.scp") as writer:
            for utt, feats in self.feats.items():
                writer.write(utt, feats)
        (self.data / "utt2spk").write_text("".join(f"{utt} a\n" for utt in self.feats))
        write_int_vectors(self.ali / "pdf.ark", self.pdfs.items())


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)
