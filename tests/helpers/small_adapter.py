"""A small adapter for online fMLLR: cepstra of 3 values, frames of 4, 6 states of which the first is silence."""

import numpy as np
import torch

from lstmp.gmm.fmllr import SpeakerStats
from lstmp.gmm.online_fmllr import Adapter, OnlineFmllrConfig

CFG = OnlineFmllrConfig(period=10, delay=4, axes=3, least_variance=0.01, frame_weight=0.5, max_frames=50.0,
                        silence_weight=0.1, rounds=3, window=60, speaker_frames=60, global_frames=20, frames=1000)
C, D, PDFS = 3, 4, 6


def make(cfg=CFG, seed=1, context=1) -> Adapter:
    """Random Gaussians of the states; the average speaker is 400 frames of them."""
    rng = np.random.default_rng(seed)
    transform = torch.from_numpy(rng.normal(size=(D, C * (1 + 2 * context))).astype(np.float32))
    means, variances = rng.normal(size=(PDFS, D)), rng.uniform(0.5, 2, (PDFS, D))
    weight = np.array([cfg.silence_weight, 1, 1, 1, 1, 1])
    precision, target = weight[:, None] / variances, weight[:, None] * means / variances
    stats = SpeakerStats.zeros(D)
    states = rng.integers(0, PDFS, 400)
    x = means[states] + rng.normal(size=(400, D)) * np.sqrt(variances[states])
    p, t, w, frames = (torch.from_numpy(a.astype(np.float32)) for a in (precision, target, weight, x))
    stats.add(frames, p[states], t[states], w[states])
    beta = float(stats.beta)
    axes = np.linalg.qr(rng.normal(size=(D * (D + 1), cfg.axes)))[0].T.astype(np.float32)
    return Adapter(cfg, transform, p, t, w, torch.full((PDFS,), 1 / PDFS).log(), stats.second / beta,
                   stats.linear / beta, torch.from_numpy(rng.normal(size=C).astype(np.float32)), torch.ones(C),
                   torch.from_numpy(axes.copy()), torch.linspace(1, 0.05, cfg.axes))
