"""A recognizer for five words with an untrained network: its output has no meaning, but is always the same."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml

from helpers import ROOT
from helpers.small_recognizer import small_recognizer
from lstmp import config
from lstmp.decode.live import Segment
from lstmp.gmm.fmllr import SpeakerStats
from lstmp.gmm.ivector import Extractor, IvectorConfig
from lstmp.gmm.online_fmllr import Adapter, OnlineFmllrConfig
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.model import StateNetwork
from lstmp.transcribe.folder import ModelFolder
from lstmp.transcribe.transcribe import LiveModel


def make_parts(folder: Path, kind: str = "fbank", **changes) -> Path:
    """Make net/, hmm/, graph_x/ and lang_x/, which steps/export_model.sh exports.

    Args:
        kind: of the features; online_fmllr: with a random adapter.
        changes: of conf/lstmp.yaml.
    """
    tree = small_recognizer(folder, "hmm", "graph_x")
    shutil.copytree(folder / "hmm", folder / "net")
    cfg = config.load(ROOT / "conf/lstmp.yaml", LstmpConfig)
    feature = replace(cfg.feature, kind=kind, cmvn="none")
    cfg = replace(cfg, feature=feature, cells=24, recurrent_projection=12, **changes)
    network = StateNetwork(cfg, 40, tree.num_pdfs)
    network.initialize(1)
    with torch.no_grad():
        network.w_out.mul_(60)
        if kind == "fbank":
            network.feature_mean.fill_(12.0), network.feature_std.fill_(3.0)
    if kind == "online_fmllr":
        random_adapter(tree.num_pdfs).write(folder / "net/online_fmllr.safetensors")
    checkpoint.write(folder / "net/final.safetensors",
                     {**network.state_dict(), "log_priors": torch.full((tree.num_pdfs,), -3.0)}, {"epochs": [1]})
    (folder / "net/config.yaml").write_text(yaml.safe_dump(config.to_dict(cfg)))
    (folder / "net/train.json").write_text(json.dumps({
        "params": network.num_params, "num_pdfs": tree.num_pdfs, "seed": 1, "config": config.to_dict(cfg),
        "frame_accuracy_train": 0.5, "frame_accuracy_valid": 0.4}))
    decoded = folder / "net/decode_x_dev"
    decoded.mkdir()
    (decoded / "score.json").write_text(json.dumps({"wer": 12.5, "ci": [10.0, 15.0], "words": 100, "lmwt": 0.5,
                                                    "wip": 0.25, "chosen_here": True}))
    return folder


def export_options(parts, out, *more):
    return ["--model", str(parts / "net"), "--graph", str(parts / "graph_x"), "--lang", str(parts / "lang_x"),
            "--conf", str(ROOT / "conf"), "--out", str(out), *more]


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Make bursts of noise with varying spectrum and volume, with pauses: float32, ±32768, 16 kHz."""
    rng, out = np.random.default_rng(seed), []
    while sum(map(len, out)) < seconds * 16000:
        burst = rng.normal(size=int(rng.integers(1600, 8000)))
        width = int(rng.integers(1, 30))
        burst = np.convolve(burst, np.ones(width) / np.sqrt(width), "same") * rng.uniform(300, 3000)
        out += [burst, rng.normal(size=int(rng.integers(800, 12000)))]
    return np.concatenate(out)[:round(seconds * 16000)].astype(np.float32)


def one_segment(model: Path, samples: np.ndarray, pieces: int) -> tuple[LiveModel, Segment]:
    """Recognize samples live, in so many pieces, without a pause that ends a segment: the model and the one segment."""
    live = LiveModel(ModelFolder.load(model))
    live.live = replace(live.live, pause_seconds=100.0, max_seconds=101.0, hard_max_seconds=102.0,
                        short_pause_seconds=100.0, no_speech_seconds=100.0)
    (segment,) = [s for s in live.segments(np.array_split(samples, pieces)) if s.final]
    return live, segment


def random_ivectors(filters: int) -> Extractor:
    cfg = replace(config.load(ROOT / "conf/ivector.yaml", IvectorConfig), cepstra=4, context=1, pca_dim=5,
                              gaussians=4, best_gaussians=2, dim=3)
    rng = np.random.default_rng(0)
    means, variances, loading = rng.normal(size=(4, 5)), np.ones((4, 5)), rng.normal(size=(4, 5, 3))
    return Extractor(cfg, rng.normal(size=(3 * filters, 5)), np.zeros(5), np.full(4, 0.25), means, variances, -means,
                     2 * variances, loading, np.zeros(filters), np.ones(filters))


def random_adapter(pdfs: int, dim: int = 40, cepstra: int = 13, context: int = 3) -> Adapter:
    """An adapter for MFCCs; the average speaker has frames of the states' Gaussians."""
    cfg = replace(config.load(ROOT / "conf/online_fmllr.yaml", OnlineFmllrConfig), period=20, frame_weight=1.0)
    rng = np.random.default_rng(1)
    means, states = rng.normal(size=(pdfs, dim)).astype(np.float32), torch.arange(10 * pdfs) % pdfs
    target, weight = torch.from_numpy(means), torch.ones(pdfs)
    frames = target[states] + torch.from_numpy(rng.normal(size=(len(states), dim)).astype(np.float32))
    stats = SpeakerStats.zeros(dim)
    stats.add(frames, torch.ones(pdfs, dim)[states], target[states], weight[states])
    axes = np.linalg.qr(rng.normal(size=(dim * (dim + 1), 5)))[0].T.astype(np.float32)
    transform = 0.02 * rng.normal(size=(dim, cepstra * (1 + 2 * context)))
    return Adapter(cfg, torch.from_numpy(transform.astype(np.float32)), torch.ones(pdfs, dim), target, weight,
                   torch.full((pdfs,), 1 / pdfs).log(), stats.second / stats.beta, stats.linear / stats.beta,
                   torch.zeros(cepstra), torch.ones(cepstra), torch.from_numpy(axes.copy()), torch.linspace(1, 0.1, 5))


def with_front(parts: Path, folder: Path, ivectors: bool, mean: float = 0.0, **changes) -> Path:
    """A copy of :func:`make_parts` whose network has online CMVN, and i-vectors with weights 0.

    Args:
        mean: of the energies of its training data.
        changes: of config.yaml.
    """
    shutil.copytree(parts, folder)
    config_file, weights_file = folder / "net/config.yaml", folder / "net/final.safetensors"
    values = yaml.safe_load(config_file.read_text())
    values["feature"]["cmvn"] = "online_mean"
    values |= changes
    weights, header = checkpoint.read(weights_file, "")
    dim = len(weights["feature_mean"])
    if ivectors:
        values["ivector_dim"] = 3
        random_ivectors(dim).write(folder / "net/ivectors.safetensors")
        for name, value in (("feature_mean", 0.0), ("feature_std", 1.0), ("layers.0.w_x", 0.0)):
            weights[name] = torch.nn.functional.pad(weights[name], (0, 3), value=value)
    config_file.write_text(yaml.safe_dump(values))
    new = {"cmvn_mean": torch.full((dim,), mean), "cmvn_variance": torch.ones(dim)}
    checkpoint.write(weights_file, weights | new, header)
    return folder
