"""Networks with online CMVN: their input is the same in training, for whole utterances, and while frames arrive."""

from dataclasses import replace

import pytest
import torch
from helpers.toy_data import run, weights

from lstmp.errors import UserError
from lstmp.features.cmvn import compute_cmvn
from lstmp.features.load import Features
from lstmp.nnet.export_onnx import PlainNetwork
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.train import prepare


@pytest.fixture
def config(small_config):
    cfg = small_config(cmvn_window=15, cmvn_speaker_frames=10, cmvn_global_frames=5)
    return replace(cfg, feature=replace(cfg.feature, cmvn="online_mean_var"))


@pytest.fixture
def data(toy):
    compute_cmvn(toy.data)
    return toy


@pytest.mark.parametrize("memory", [1.0, 1e-9])
def test_training_has_the_input_of_use(data, config, memory):
    folder = run(data, config)
    network, features = AcousticNetwork.load(folder), Features(data.data, config.feature)
    model, frames, held_out = prepare(config, data.data, data.ali, data.valid, memory=memory)
    names = sorted(data.feats)
    for some in (frames, held_out):
        for u, utt in enumerate(some.utts):
            begin, end = some.offsets[u], some.offsets[u + 1]
            x = some.features[begin:end] if memory == 1.0 else some.read(u)[0]
            number = names.index(utt)
            before = features.history.before(utt) if number == 1 else features.history.pair(utt)
            expected = network.model.normalize(network.normalized(features.load(utt), before))
            torch.testing.assert_close(x, expected)
            assert (before is None) == (number % 2 == 0)
    assert torch.equal(model.get_buffer("cmvn_mean"), weights(folder)["cmvn_mean"])


def test_scores_while_frames_arrive_are_those_of_whole_utterances(data, config):
    network = AcousticNetwork.load(run(data, config))
    features = Features(data.data, config.feature)
    utts = features.utts[:5]
    feats, before = [features.load(u) for u in utts], [features.history.before(u) for u in utts]
    with_history, without = network.batch(feats, before), network.batch(feats)
    assert not torch.allclose(with_history[2][:3], without[2][:3], atol=1e-3)
    for x, speaker, expected in zip(feats, before, with_history, strict=True):
        for piece in (1, 4, 100):
            stream = NetworkStream(network, speaker)
            scores = torch.cat([stream.accept(part) for part in x.split(piece)] + [stream.finish()])
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.from_numpy(stream.cmvn.speaker()), torch.from_numpy(
        features.history.before(features.utts[5])))


def test_training_from_a_network_keeps_its_normalization(data, config):
    first = run(data, config)
    data.feats = {utt: x + 3 for utt, x in data.feats.items()}
    data.write()
    compute_cmvn(data.data)
    second = run(data, config, "second", initial=first)
    assert torch.equal(weights(first)["cmvn_mean"], weights(second)["cmvn_mean"])
    without = run(data, replace(config, feature=replace(config.feature, cmvn="none")), "without")
    with pytest.raises(UserError, match="the network has no online_mean_var"):
        run(data, config, "third", initial=without)


def test_two_processes_have_the_same_normalization(data, config):
    one, two = run(data, config), run(data, config, "two", nj=2)
    for name in ("cmvn_mean", "cmvn_variance", "feature_mean", "feature_std"):
        assert torch.equal(weights(one)[name], weights(two)[name])


def test_what_online_cmvn_cannot_be_used_with(config, small_config, data):
    for changes, message in (({"deltas": 1}, "deltas"), ({"kind": "fmllr"}, "cmvn")):
        with pytest.raises(UserError, match=message):
            replace(config, feature=replace(config.feature, **changes))
    with pytest.raises(UserError, match="networks without online CMVN are exported"):
        PlainNetwork(AcousticNetwork.load(run(data, config)))
