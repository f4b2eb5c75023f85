"""Acoustic scores of networks, and errors in loading a model."""

import pytest
import torch
import yaml

from lstmp import config
from lstmp.decode.acoustic_scorer import load_acoustic_scorer
from lstmp.errors import UserError
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.model import StateNetwork

SMALL = {"layers": 1, "cells": 5, "recurrent_projection": 3, "projection": 0, "label_delay": 2, "dropout": 0.0}


@pytest.fixture
def network(tmp_path, request):
    values = config.read_yaml(request.config.rootpath / "conf" / "lstmp.yaml")[0] | SMALL
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    model = StateNetwork(config.build(values, LstmpConfig), 4, 7)
    model.initialize(1)
    log_priors = torch.log_softmax(torch.arange(7.0), 0)
    checkpoint.write(tmp_path / "final.safetensors", dict(model.state_dict()) | {"log_priors": log_priors}, {})
    return tmp_path, model, log_priors


def test_network_scores_are_scaled_likelihoods_without_the_label_delay(network):
    folder, model, log_priors = network
    scorer = load_acoustic_scorer(folder)
    assert (scorer.input_dim, scorer.num_pdfs, scorer.feature.kind) == (4, 7, "fbank")
    feats = [torch.randn(9, 4), torch.randn(1, 4)]
    for x, scores in zip(feats, scorer(feats), strict=True):
        with torch.no_grad():
            expected, _ = model(torch.cat([x, x[-1:], x[-1:]])[:, None], model.zero_state(1))
        assert scores.shape == (len(x), 7) and not scores.requires_grad
        torch.testing.assert_close(scores, expected[2:, 0] - log_priors)
    assert scorer([]) == []


def test_a_missing_or_other_model_and_device_are_errors(tmp_path):
    with pytest.raises(UserError, match="final.safetensors: no such file; give the folder of a trained"):
        load_acoustic_scorer(tmp_path)
    checkpoint.write(tmp_path / "final.safetensors", {"x": torch.zeros(1)}, {})
    with pytest.raises(UserError, match="neither a GMM nor a network"):
        load_acoustic_scorer(tmp_path)
    with pytest.raises(UserError, match="no such device as gpu"):
        load_acoustic_scorer(tmp_path, "gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU that torch can use"):
            load_acoustic_scorer(tmp_path, "cuda")
