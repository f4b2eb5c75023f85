"""The acoustic model: parameter counts of the papers, dropout, state."""

import pytest
import torch

from lstmp.errors import UserError
from lstmp.nnet.model import StateNetwork

# Table of Sak, Senior, Beaufays (Interspeech 2014): cells, recurrent projection, layers, millions of parameters
TABLE = [(840, 0, 5, 37.52), (440, 0, 5, 13.32), (600, 0, 2, 12.97), (385, 0, 7, 13.26), (750, 0, 1, 13.06),
         (6000, 800, 1, 36.38), (2048, 512, 2, 22.31), (1024, 512, 3, 19.53), (1024, 512, 2, 14.80),
         (800, 512, 2, 13.16), (2048, 512, 1, 12.87)]


def formula(cells, rec, proj, layers, inputs, outputs):
    """Weights without biases: 4·nc·nr + 4·ni·nc + 3·nc + nc·(nr+np) per layer, (nr+np)·no for the output layer."""
    total = 0
    for _ in range(layers):
        total += 4 * cells * (rec or cells) + 4 * inputs * cells + 3 * cells + (cells * (rec + proj) if rec else 0)
        inputs = (rec or cells) + proj
    return total + inputs * outputs


@pytest.mark.parametrize("cells,projection,layers,millions", TABLE)
def test_parameter_counts_of_the_paper(small_config, cells, projection, layers, millions):
    cfg = small_config(cells=cells, recurrent_projection=projection, layers=layers)
    count = StateNetwork(cfg, 40, 14247).num_params
    assert round(count / 1e6, 2) == millions
    assert count == formula(cells, projection, 0, layers, 40, 14247)


def test_parameter_count_with_both_projections(small_config):
    cfg = small_config(cells=30, recurrent_projection=7, projection=4, layers=3)
    assert StateNetwork(cfg, 10, 50).num_params == formula(30, 7, 4, 3, 10, 50)
    without = small_config(cells=30, recurrent_projection=7, projection=4, layers=3, peepholes=False)
    assert StateNetwork(without, 10, 50).num_params == formula(30, 7, 4, 3, 10, 50) - 3 * 3 * 30


@pytest.mark.parametrize("rec,proj,peepholes", [(0, 0, True), (5, 0, True), (5, 3, True), (5, 3, False)])
def test_chunked_with_carried_state_equals_the_whole_utterance(small_config, rec, proj, peepholes):
    cfg = small_config(recurrent_projection=rec, projection=proj, peepholes=peepholes)
    model = StateNetwork(cfg, 6, 9).double()
    model.initialize(3)
    x = torch.randn(50, 3, 6, dtype=torch.float64)
    whole, last = model(x, model.zero_state(3))
    state, parts = model.zero_state(3), []
    for chunk in x.split(20):
        part, state = model(chunk, state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole)
    for a, b in zip(sum(state, ()), sum(last, ()), strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(whole.exp().sum(2), torch.ones(50, 3, dtype=torch.float64))


def test_initialization_depends_on_the_seed_alone(small_config):
    models = []
    for seed in (1, 1, 2):
        models.append(StateNetwork(small_config(), 6, 9))
        models[-1].initialize(seed)
    first, same, other = (torch.cat([p.flatten() for p in m.parameters()]) for m in models)
    assert torch.equal(first, same) and not torch.equal(first, other) and torch.isfinite(first).all()


@pytest.mark.parametrize("mask,rows", [("frame", 20), ("chunk", 1)])
def test_dropout_masks(small_config, mask, rows):
    model = StateNetwork(small_config(dropout=0.4, dropout_mask=mask, layers=1, recurrent_projection=200), 6, 9)
    model.initialize(1)
    x, state = torch.randn(20, 3, 6), model.zero_state(3)
    clean, clean_state = model.hidden(x, state)
    dropped, state = model.hidden(x, state, torch.Generator().manual_seed(1))
    kept = dropped != 0
    assert abs(kept[:rows].float().mean() - 0.6) < 0.05
    torch.testing.assert_close(dropped[kept], clean[kept] / 0.6)
    if mask == "chunk":
        assert (kept == kept[:1]).all() and not (kept[0, 0] == kept[0, 1]).all()
    else:
        assert not (kept[0] == kept[1]).all()
    assert torch.equal(state[0][0], clean_state[0][0])  # dropout never applies to the recurrent state


@pytest.mark.parametrize("change", [{"cells": 0}, {"projection": 4, "recurrent_projection": 0}, {"dropout": 1.0},
                                    {"optimizer": "adagrad"}, {"lr_final": 1.0}, {"dropout_mask": "batch"},
                                    {"average_last": -1}])
def test_configuration_out_of_range(small_config, change):
    with pytest.raises(UserError, match=next(iter(change))):
        small_config(**change)
