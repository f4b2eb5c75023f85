"""Linear discriminant analysis of the stacked input frames: the fixed linear layer below the LSTMP layers (`lda_dim`).

A network that reads one frame of 40 filterbank energies at a time learns slowly: neighbouring energies say nearly the
same, and what distinguishes the states lies in directions of small variance. LDA turns several frames into few numbers
that distinguish the states, uncorrelated and of unit variance. Kaldi's nnet3 recipes begin with such a layer too.
"""

import numpy as np
import torch

from lstmp.errors import UserError
from lstmp.features.output_frames import output_lengths
from lstmp.gmm.lda import LdaStats, estimate
from lstmp.log import say
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import Frames
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.streams import Streams, carry_state, plan_epoch

_FRAMES = 300_000  # output frames, at most, that it is estimated on
_STREAMS, _CHUNK = 64, 50


@torch.no_grad()
def set_lda(cfg: LstmpConfig, model: StateNetwork, frames: Frames) -> None:
    """Estimate the LDA layer of ``model`` on random utterances of its training data, with their states as classes.

    Args:
        cfg: configuration; `lda_dim` is above 0.
        model: its other buffers have their values.
        frames: normalized features and pdf-ids.

    Raises:
        UserError: `lda_dim` is too large, or there is too little data.
    """
    lengths = output_lengths(frames.lengths, model.subsampling)
    order = np.random.default_rng([cfg.seed, 3]).permutation(len(lengths))
    enough = int(np.searchsorted(np.cumsum(lengths.numpy()[order]), _FRAMES)) + 1
    table = plan_epoch(lengths, order[:enough], _STREAMS, _CHUNK, cfg.output_delay)
    streams = Streams(frames, table, _CHUNK, cfg.output_delay, model.subsampling)
    stats, state = LdaStats.zeros(model.num_pdfs, model.lda.shape[1]), None
    for number in range(len(streams)):
        batch = streams.batch(number)
        assert batch is not None
        state = model.zero_state(len(batch.utts)) if state is None else carry_state(state, batch)
        x, new = model.below_lda(batch.features, state, batch.lengths)
        state = [*new, *state[len(new):]]
        stats.add(x.flatten(0, 1), batch.targets.flatten())
    try:
        rows = estimate(stats, cfg.lda_dim)
    except UserError as e:
        raise UserError(f"LDA of the input: {e.what}", hint=e.hint) from None
    total = stats.counts.sum()
    mean = stats.sums.sum(0) / total
    covariance = stats.second / total - torch.outer(mean, mean)
    deviations = torch.einsum("kd,de,ke->k", rows.double(), covariance, rows.double()).sqrt()
    model.lda.copy_(rows / deviations[:, None])
    say(f"LDA of the input: {model.lda.shape[1]} to {cfg.lda_dim} dimensions, from {int(total):,} frames")
