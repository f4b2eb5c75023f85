"""Networks with online CMVN and i-vectors: the same input in training, for whole utterances, and as frames arrive."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.toy_data import run, weights

from lstmp.errors import UserError
from lstmp.features.cmvn import compute_cmvn
from lstmp.features.load import Features
from lstmp.gmm.ivector import IvectorConfig
from lstmp.gmm.train_ivectors import train_ivectors
from lstmp.nnet.augment import Augment
from lstmp.nnet.export_onnx import PlainNetwork
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.layers import FrameStack
from lstmp.nnet.streams import Streams, plan
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
    names, history = sorted(data.feats), features.history(network.listen)
    for some in (frames, held_out):
        for u, utt in enumerate(some.utts):
            begin, end = some.offsets[u], some.offsets[u + 1]
            x = some.features[begin:end] if memory == 1.0 else some.read(u)[0]
            number = names.index(utt)
            before = history.before(utt) if number == 1 else history.pair(utt)
            expected = network.model.normalize(network.input(features.load(utt), before))
            torch.testing.assert_close(x, expected)
            assert (before is None) == (number % 2 == 0)
    assert torch.equal(model.get_buffer("cmvn_mean"), weights(folder)["cmvn_mean"])


def test_scores_while_frames_arrive_are_those_of_whole_utterances(data, config):
    network = AcousticNetwork.load(run(data, config))
    features = Features(data.data, config.feature)
    utts = features.utts[:5]
    history = features.history(network.listen)
    feats, before = [features.load(u) for u in utts], [history.before(u) for u in utts]
    with_history, without = network.batch(feats, before), network.batch(feats)
    assert not torch.allclose(with_history[2][:3], without[2][:3], atol=1e-3)
    for x, speaker, expected in zip(feats, before, with_history, strict=True):
        for piece in (1, 4, 100):
            stream = NetworkStream(network, speaker)
            scores = torch.cat([stream.accept(part) for part in x.split(piece)] + [stream.finish()])
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    after = stream.input.heard(), history.before(features.utts[5])
    for name in ("cmvn", "counts", "linear"):
        np.testing.assert_allclose(*(getattr(heard, name) for heard in after), rtol=1e-6)


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
    with pytest.raises(UserError, match="networks without online CMVN, i-vectors and online fMLLR are exported"):
        PlainNetwork(AcousticNetwork.load(run(data, config)))


IVECTORS = IvectorConfig(cepstra=4, context=1, pca_dim=5, gaussians=4, best_gaussians=2, dim=3, ubm_frames=10**6,
                         ubm_iterations=3, iterations=3, posterior_scale=0.5, max_count=50.0, period=4, window=15,
                         speaker_frames=10, global_frames=5, utterances=100, seed=1)


@pytest.fixture
def with_ivectors(data, config):
    """(configuration of a network with i-vectors, folder of their extractor)."""
    train_ivectors(data.data, data.path / "ivectors", IVECTORS)
    return replace(config, ivector_dim=3, freq_masks=2, time_masks_per_second=3.0), data.path / "ivectors"


@pytest.mark.parametrize("memory", [1.0, 1e-9])
@pytest.mark.parametrize("nj", [1, 2])
def test_ivectors_are_the_same_in_training_and_in_use(data, with_ivectors, memory, nj):
    cfg, ivectors = with_ivectors
    network = AcousticNetwork.load(run(data, cfg, ivectors=ivectors, nj=nj, memory=memory))
    assert network.dim == 6 and len(network.model.feature_mean) == 9
    features = Features(data.data, cfg.feature)
    history = features.history(network.listen)
    _, frames, _ = prepare(cfg, data.data, data.ali, data.valid, ivectors=ivectors)
    for u, utt in enumerate(frames.utts):
        x = network.model.normalize(network.input(features.load(utt), history.pair(utt)))
        torch.testing.assert_close(frames.features[frames.offsets[u]:frames.offsets[u + 1]], x)
    feats, before = features.load("a-05"), history.before("a-05")
    expected = network.batch([feats], [before])[0]
    assert not torch.allclose(expected, network(feats), atol=1e-3)
    stream = NetworkStream(network, before)
    scores = torch.cat([stream.accept(part) for part in feats.split(7)] + [stream.finish()])
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)


def test_ivectors_are_not_masked(data, with_ivectors):
    cfg, ivectors = with_ivectors
    _, frames, _ = prepare(cfg, data.data, data.ali, data.valid, ivectors=ivectors)
    table = plan(frames.lengths, 4, 20, 0, 1, 0)
    batch = Streams(frames, table, 20, 0).batch(0)
    x = Augment(replace(cfg, time_masks_per_second=50.0), frames, 0)(batch, torch.Generator())
    assert torch.equal(x[:, :, 6:], batch.features[:, :, 6:]) and (x[:, :, :6] == 0).float().mean() > 0.3


def test_only_the_newest_ivector_is_beside_stacked_frames(data, with_ivectors):
    stack = FrameStack(5, 3, 2, ivectors=2)
    x = torch.arange(40.0).view(8, 1, 5)
    y, r, _ = stack(x[:4], torch.zeros(1, 6), None)
    later, *_ = stack(x[4:], r, None)
    rows = torch.cat([torch.zeros(2, 3), x[:, 0, :3]])
    for t, row in enumerate(torch.cat([y, later])[:, 0]):
        assert torch.equal(row, torch.cat([rows[2 * t:2 * t + 4].flatten(), x[2 * t + 1, 0, 3:]]))
    cfg, ivectors = with_ivectors
    network = AcousticNetwork.load(run(data, replace(cfg, stack=3, lda_dim=8), ivectors=ivectors))
    feats, stream = torch.from_numpy(data.feats["a-05"]), NetworkStream(network)
    scores = torch.cat([stream.accept(part) for part in feats.split(7)] + [stream.finish()])
    torch.testing.assert_close(scores, network(feats), rtol=1e-4, atol=1e-5)


def test_wrong_ivectors_are_one_line(data, with_ivectors, config):
    cfg, ivectors = with_ivectors
    for wrong, options, message in (
            (cfg, {}, "need each other"), (config, {"ivectors": ivectors}, "need each other"),
            (replace(cfg, ivector_dim=2), {"ivectors": ivectors}, "the network takes 2 of 6"),
            (cfg, {"ivectors": data.path}, "no such file")):
        with pytest.raises(UserError, match=message):
            run(data, wrong, "wrong", **options)
    unnormalized = replace(cfg.feature, cmvn="none")
    for changes in ({"gain_db": 3.0, "feature": unnormalized}, {"conv_maps": [2]},
                    {"feature": replace(cfg.feature, cmvn="mean")}):
        with pytest.raises(UserError, match="ivector_dim"):
            replace(cfg, **changes)


def test_training_from_a_network_keeps_its_ivectors(data, with_ivectors):
    cfg, ivectors = with_ivectors
    first = run(data, cfg, ivectors=ivectors)
    second = run(data, cfg, "second", initial=first)
    assert (first / "ivectors.safetensors").read_bytes() == (second / "ivectors.safetensors").read_bytes()


def test_lda_of_the_input_separates_the_states(toy, small_config):
    """Outputs of the layer are uncorrelated with unit variance; the first one has the largest ratio of the variances
    between and within the states. It is kept in the network, and used in the same way as frames arrive."""
    cfg = small_config(stack=4, lda_dim=3, label_delay=2)
    folder = run(toy, cfg)
    network = AcousticNetwork.load(folder)
    model, frames, _ = prepare(cfg, toy.data, toy.ali, toy.valid)
    assert torch.equal(model.lda, network.model.lda) and model.lda.shape == (3, 24)
    outputs, classes = [], []
    for u in range(len(frames.utts)):
        x = frames.features[frames.offsets[u]:frames.offsets[u + 1]]
        x = torch.cat([torch.zeros(3, 6), x, x[-1:].expand(2, 6)])  # zeros before, the last frame again after it
        stacked = torch.stack([x[t:t + 4].flatten() for t in range(len(x) - 3)])
        outputs.append((stacked @ model.lda.t())[2:])  # the state of frame t is predicted two frames later
        classes.append(frames.pdfs[frames.offsets[u]:frames.offsets[u + 1]])
    x, pdfs = torch.cat(outputs), torch.cat(classes)
    torch.testing.assert_close(torch.cov(x.t(), correction=0), torch.eye(3), atol=1e-3, rtol=0)
    within = sum(((x[pdfs == p] - x[pdfs == p].mean(0)) ** 2).sum(0) for p in range(5)) / len(x)
    assert within[0] < within[1] < within[2]
    feats = torch.from_numpy(toy.feats["a-05"])
    stream = NetworkStream(network)
    scores = torch.cat([stream.accept(part) for part in feats.split(7)] + [stream.finish()])
    torch.testing.assert_close(scores, network(feats), rtol=1e-4, atol=1e-5)
    second = run(toy, cfg, "second", initial=folder)
    assert torch.equal(weights(second)["lda"], weights(folder)["lda"])
    with pytest.raises(UserError, match="LDA of the input: `lda_dim` is 25, but the spliced features have 24"):
        run(toy, small_config(stack=4, lda_dim=25), "wrong")
