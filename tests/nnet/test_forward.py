"""The acoustic scores that the decoder gets from a network."""

import pytest
import torch
import yaml

from lstmp import config
from lstmp.errors import UserError
from lstmp.nnet import checkpoint, forward
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.train import train


@pytest.fixture
def network(small_config):
    cfg = small_config(projection=3, dropout=0.5)
    model = StateNetwork(cfg, 6, 9)
    model.initialize(1)
    model.feature_mean.uniform_(-1, 1)
    model.feature_std.uniform_(1, 2)
    return AcousticNetwork(cfg, model, torch.randn(9).log_softmax(0))


def test_scores_are_posteriors_over_priors_without_the_delay(network):
    feats = 3 * torch.randn(130, 6)
    model = network.model
    x = (torch.cat([feats, feats[-1:].repeat(3, 1)]) - model.feature_mean) / model.feature_std
    log_post, _ = model(x.unsqueeze(1), model.zero_state(1))
    scores = network(feats)
    assert scores.shape == (130, 9) and not scores.requires_grad
    torch.testing.assert_close(scores, log_post[3:, 0] - network.log_priors)


def test_a_batch_gives_the_scores_of_single_utterances(network):
    utterances = [torch.randn(length, 6) for length in (1, 130, 50, 7)]
    for one, many in zip(map(network, utterances), network.batch(utterances), strict=True):
        torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)


def low_rate(small_config, **changes) -> AcousticNetwork:
    cfg = small_config(**{"subsampling": 3, "label_delay": 5, "stack": 3} | changes)
    model = StateNetwork(cfg, 6, 9)
    model.initialize(1)
    return AcousticNetwork(cfg, model, torch.randn(9).log_softmax(0), frame_shift=0.01)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 40])
def test_a_low_frame_rate_gives_a_row_for_each_group(small_config, frames):
    """The definition, written out: groups of 3, 2 frames before each, the last frame repeated, a delay of 2 groups."""
    network, feats = low_rate(small_config), torch.randn(frames, 6)
    rows, model = -(-frames // 3), network.model
    padded = torch.cat([torch.zeros(2, 6), feats, feats[-1:].expand(3 * (rows + 2) - frames, 6)])
    stacked = torch.stack([padded[3 * t:3 * t + 5].flatten() for t in range(rows + 2)])
    alone = StateNetwork(small_config(label_delay=0), 30, 9)
    alone.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("feature")}, strict=False)
    log_post, _ = alone(stacked.unsqueeze(1), alone.zero_state(1))
    assert network.subsampling == 3 and network(feats).shape == (rows, 9)
    torch.testing.assert_close(network(feats), 3 * (log_post[2:, 0] - network.log_priors))


def test_the_acoustic_factor_multiplies_the_scores(small_config):
    feats = torch.randn(20, 6)
    torch.manual_seed(1)
    three = low_rate(small_config)(feats)
    torch.manual_seed(1)
    torch.testing.assert_close(low_rate(small_config, acoustic_factor=1.0)(feats), three / 3)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 41])
def test_repeated_scores_are_those_of_the_group_for_each_of_its_frames(small_config, frames):
    network, feats = low_rate(small_config), torch.randn(frames, 6)
    repeated = AcousticNetwork(small_config(subsampling=3, label_delay=5, stack=3, repeat_scores=True), network.model,
                               network.log_priors)
    assert repeated.subsampling == 1 and repeated(feats).shape == (frames, 9)
    rows = network(feats) / 3
    for t, scores in enumerate(repeated(feats)):
        torch.testing.assert_close(scores, rows[t // 3])


@pytest.mark.parametrize("changes", [{}, {"bidirectional": True, "label_delay": 0, "stack": 1}])
def test_a_batch_of_a_low_frame_rate_gives_the_scores_of_single_utterances(small_config, changes):
    network = low_rate(small_config, **changes)
    utterances = [torch.randn(length, 6) for length in (1, 2, 3, 200, 50, 7)]
    for one, many in zip(map(network, utterances), network.batch(utterances), strict=True):
        torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 7), (0, 6), (6,)])
def test_other_features_are_refused(network, shape):
    with pytest.raises(UserError, match=r"the network takes \[T, 6\]"):
        network(torch.zeros(shape))


@pytest.fixture
def saved(network, tmp_path):
    """The folder of ``network``, which can be loaded before a test changes it."""
    tensors = {**network.model.state_dict(), "log_priors": network.log_priors}
    checkpoint.write(tmp_path / "final.safetensors", tensors, {"epochs": [1]})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.to_dict(network.cfg)))
    feats = torch.randn(8, 6)
    torch.testing.assert_close(AcousticNetwork.load(tmp_path)(feats), network(feats), rtol=0, atol=0)
    return tmp_path


@pytest.mark.parametrize("changes", [
    {"cells": 10**9}, {"recurrent_projection": 10**9}, {"layers": 10**9}, {"stack": 10**9}, {"bottleneck": 10**9},
    {"label_delay": 10**9}, {"subsampling": 10**9}])
def test_sizes_that_the_file_does_not_have_are_not_allocated(saved, network, changes, monkeypatch):
    monkeypatch.setattr(forward, "StateNetwork", lambda *_: pytest.fail("a network of that size is made"))
    does_not_fit(saved, network, changes)


@pytest.mark.parametrize("changes", [{"cells": 8}, {"layers": 9}, {"layer_norm": True}, {"peepholes": False}])
def test_a_configuration_of_another_network(saved, network, changes):
    does_not_fit(saved, network, changes)


def does_not_fit(saved, network, changes):
    values = config.to_dict(network.cfg) | changes
    (saved / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="final.safetensors: does not fit config.yaml in the same folder"):
        AcousticNetwork.load(saved)


@pytest.mark.parametrize("change", [
    lambda t: t["w_out"][0, 0].fill_(float("nan")), lambda t: t["log_priors"][:1].fill_(float("inf")),
    lambda t: t.update(log_priors=t["log_priors"].double()), lambda t: t.pop("log_priors"),
    lambda t: t.update(feature_mean=t["feature_mean"][None]), lambda t: t.update(w_out=t["w_out"][:, :2].clone())])
def test_files_with_invalid_tensors_are_refused(saved, change):
    tensors, header = checkpoint.read(saved / "final.safetensors", "")
    tensors = {name: t.clone() for name, t in tensors.items()}
    change(tensors)
    checkpoint.write(saved / "final.safetensors", tensors, header)
    with pytest.raises(UserError, match="final.safetensors: does not fit config.yaml in the same folder"):
        AcousticNetwork.load(saved)


def test_a_trained_network_is_loaded_and_damaged_files_are_refused(toy, small_config):
    out = toy.path / "net"
    cfg = small_config(epochs=20, lr_initial=0.02, cells=24, recurrent_projection=12, average_last=1)
    train(cfg, toy.data, toy.ali, toy.valid, out)
    network = AcousticNetwork.load(out)
    assert network.num_pdfs == 5 and network.feature.kind == "fbank" and network.frame_shift == 0.01
    config.write_text(out / "frame_shift", "0.0125\n")
    assert AcousticNetwork.load(out).frame_shift == 0.0125
    right = total = 0
    for utt in list(toy.feats)[:-2]:  # training utterances; with the delay removed, the best state is the aligned one
        scores = network(torch.from_numpy(toy.feats[utt])) + network.log_priors
        right += int((scores.argmax(1) == torch.from_numpy(toy.pdfs[utt])).sum())
        total += len(scores)
    assert right / total > 0.9
    final = out / "final.safetensors"
    whole = final.read_bytes()
    final.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="final.safetensors: the checkpoint is cut off.*train the network again"):
        AcousticNetwork.load(out)
    final.write_bytes(whole)
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("cells: 24", "cells: 25"))
    with pytest.raises(UserError, match="does not fit config.yaml"):
        AcousticNetwork.load(out)
    final.unlink()
    with pytest.raises(UserError, match="no such checkpoint"):
        AcousticNetwork.load(out)


@pytest.mark.parametrize("network_type", ["lstmp", "dnn", "low frame rate", "repeated"])
def test_online_scores_equal_those_of_the_whole_utterance(network, small_config, network_type):
    if network_type == "dnn":
        cfg = small_config(kind="dnn", recurrent_projection=0, stack=5)
        model = StateNetwork(cfg, 6, 9)
        model.initialize(1)
        network = AcousticNetwork(cfg, model, torch.randn(9).log_softmax(0))
    if network_type in ("low frame rate", "repeated"):
        network = low_rate(small_config, repeat_scores=network_type == "repeated")
    for length in (1, 2, 3, 4, 5, 131, 300):
        feats = torch.randn(length, 6)
        stream, position, got = NetworkStream(network), 0, []
        while position < length:
            size = int(torch.randint(0, 60, ()))
            got.append(stream.accept(feats[position:position + size]))
            position += size
        got.append(stream.finish())
        torch.testing.assert_close(torch.cat(got), network(feats), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", ["fp32", "int8"])
def test_a_batch_gives_each_utterance_the_scores_that_it_has_alone(small_config, weights):
    cfg = small_config(label_delay=3)
    model = StateNetwork(cfg, 6, 9)
    model.initialize(1)
    network = AcousticNetwork(cfg, model, torch.randn(9).log_softmax(0), weights=weights)
    utterances = [torch.randn(length, 6) for length in (47, 1, 120, 50, 3, 46, 48, 131)]
    for feats, scores in zip(utterances, network.batch(utterances), strict=True):
        assert scores.shape == (len(feats), 9)
        torch.testing.assert_close(scores, network(feats), rtol=1e-4, atol=1e-5)
    assert network.batch([]) == []


def test_no_frames_give_no_scores_and_bidirectional_networks_are_refused(network, small_config):
    stream = NetworkStream(network)
    assert stream.accept(torch.zeros(0, 6)).shape == (0, 9) and stream.finish().shape == (0, 9)
    cfg = small_config(bidirectional=True, chunk=0, label_delay=0)
    both = AcousticNetwork(cfg, StateNetwork(cfg, 6, 9), torch.zeros(9))
    with pytest.raises(UserError, match="bidirectional"):
        NetworkStream(both)
