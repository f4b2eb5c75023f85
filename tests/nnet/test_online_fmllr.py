"""Networks with online fMLLR: the input depends on the network's own output, in the same way however frames arrive."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.known_gaussians import adapted  # noqa: F401
from helpers.toy_data import weights

from lstmp import config
from lstmp.errors import UserError
from lstmp.features.ark import write_int_vectors
from lstmp.features.cmvn import compute_cmvn
from lstmp.features.load import FeatureConfig, Features
from lstmp.gmm.align import read_alignment
from lstmp.gmm.make_online_fmllr import make_online_fmllr
from lstmp.gmm.online_fmllr import NAME, Adapter, OnlineFmllrConfig
from lstmp.gmm.train_online_fmllr import PRIORS, read_priors, train_online_fmllr
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.train import train

CONF = replace(config.load(ROOT / "conf/online_fmllr.yaml", OnlineFmllrConfig), period=10, delay=8)


@pytest.fixture(scope="module")
def made(adapted, tmp_path_factory):  # noqa: F811
    """Folders: MFCC data, alignment, what online fMLLR needs, and training data under it."""
    toy, exp = adapted
    compute_cmvn(toy.data)
    path = tmp_path_factory.mktemp("online")
    ali = exp / "tri3b_ali"
    train_online_fmllr(toy.data, ali, ali, exp / "tri3b", toy.lang, path / "needs", CONF)
    make_online_fmllr(toy.data, ali, path / "needs", path / "train", 1)
    valid = path / "valid.list"
    valid.write_text("s0-028\ns1-029\n")
    return SimpleNamespace(path=path, data=toy.data, ali=ali, needs=path / "needs", train=path / "train", valid=valid,
                           model=exp / "tri3b", lang=toy.lang)


@pytest.fixture
def cfg(small_config):
    cfg = small_config(epochs=1)
    return replace(cfg, feature=FeatureConfig("online_fmllr", "none", 0))


def trained(made, cfg, out, **options):
    train(cfg, made.train, made.ali, made.valid, out, **({"online_fmllr": made.needs} | options))
    return out


def mfcc(made):
    features = Features(made.data, FeatureConfig("mfcc", "none", 0))
    return {utt: features.load(utt) for utt in features.utts[:6]}


def test_training_data_are_adapted_with_the_alignment(made):
    """Every second utterance of a speaker begins with what the one before it has left; the prior is that of others."""
    priors, part = read_priors(made.needs / PRIORS, 30)
    whole, pdfs = Adapter.read(made.needs / NAME), read_alignment(made.ali, "pdfs")
    adapter = whole.with_axes(*priors[part["s0"]])
    assert len(priors) == 2 and part["s0"] != part["s1"]
    assert whole.axes.shape == (2, 30) and adapter.axes.shape == (1, 30)
    found, raw = Features(made.train, FeatureConfig("online_fmllr", "none", 0)), mfcc(made)
    assert len(found.utts) == 30 and json.loads((made.train / "feats.json").read_text())["kind"] == "online_fmllr"
    heard = None
    for number, (utt, feats) in enumerate(raw.items()):  # all of speaker s0
        online = adapter.start(heard if number % 2 else None)
        online.hear_states(torch.from_numpy(pdfs[utt].astype(np.int64)))
        expected = torch.cat([*online.parts(feats.numpy()), *online.rest()])
        torch.testing.assert_close(found.load(utt), expected)
        assert found.num_frames(utt) == len(feats)
        heard = online.heard()


@pytest.mark.parametrize("changes", [{}, {"subsampling": 3, "label_delay": 3}])
def test_scores_while_frames_arrive_are_those_of_whole_utterances(made, cfg, tmp_path, changes):
    network = AcousticNetwork.load(trained(made, replace(cfg, **changes), tmp_path / "net"))
    assert network.feature == FeatureConfig("mfcc", "none", 0) and network.live and network.dim == 6
    utts = list(mfcc(made).values())
    heard = network.listen(utts[0].numpy(), None)
    before = [None, heard, None, heard, None, heard]
    whole = network.batch(utts, before)
    assert [len(x) for x in whole] == [-(-len(x) // network.subsampling) for x in utts]
    assert not torch.allclose(whole[1][:3], network(utts[1])[:3], atol=1e-4)
    for x, speaker, expected in zip(utts, before, whole, strict=True):
        for piece in (1, 4, 100):
            stream = NetworkStream(network, speaker)
            scores = torch.cat([stream.accept(part) for part in x.split(piece)] + [stream.finish()])
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(stream.input.heard().fmllr, network.listen(utts[5].numpy(), heard).fmllr, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("has_priors", [True, False])
def test_each_part_of_the_input_depends_on_the_output_for_the_parts_before(made, cfg, tmp_path, has_priors):
    """As a definition: the posteriors of all frames so far, of the network without any state, after each part.

    The scores of a network without priors, as after LF-MMI, become posteriors with the priors of the data.
    """
    network = AcousticNetwork.load(trained(made, cfg, tmp_path / "net"))
    log_priors = torch.zeros(network.num_pdfs)
    if not has_priors:
        network = AcousticNetwork(network.cfg, network.model, log_priors, online_fmllr=str(tmp_path / "net" / NAME))
        log_priors = network.adapter.log_priors
        assert log_priors.std() > 0.1
    feats = max(mfcc(made).values(), key=len)
    online, inputs, told = network.front.adapter.start(), torch.zeros(0, 5), 0
    for part in itertools.chain(online.parts(feats.numpy()), online.rest()):
        inputs = torch.cat([inputs, part])
        x = network.model.normalize(inputs).unsqueeze(1)
        with torch.no_grad():
            log_post, _ = network.model(x, network.model.zero_state(1))
        posteriors = (log_post[cfg.label_delay:, 0] + log_priors).softmax(1)
        online.hear(posteriors[told:])
        told = max(told, len(posteriors))
    torch.testing.assert_close(network.input(feats), inputs, rtol=1e-4, atol=1e-4)
    plain = AcousticNetwork(network.cfg, network.model, network.log_priors)
    torch.testing.assert_close(network(feats), plain(inputs), rtol=1e-4, atol=1e-4)
    assert len(inputs) > 3 * CONF.period


def test_training_from_a_network_keeps_its_file(made, cfg, tmp_path):
    first = trained(made, cfg, tmp_path / "first")
    second = trained(made, replace(cfg, seed=2), tmp_path / "second", initial=first, online_fmllr=None)
    assert (first / NAME).read_bytes() == (second / NAME).read_bytes() == (made.needs / NAME).read_bytes()
    assert not torch.equal(weights(first)["w_out"], weights(second)["w_out"])
    with pytest.raises(UserError, match="has its own i-vectors and online fMLLR"):
        trained(made, cfg, tmp_path / "third", initial=first)


def test_what_does_not_fit_is_refused(made, cfg, tmp_path):
    with pytest.raises(UserError, match="need each other"):
        trained(made, cfg, tmp_path / "net", online_fmllr=None)
    with pytest.raises(UserError, match="`delay` 8, but the network knows a frame's states 11 frames later"):
        trained(made, replace(cfg, subsampling=3, label_delay=8), tmp_path / "net")
    adapter = Adapter.read(made.needs / NAME)
    for name in ("precision", "target", "weight", "log_priors"):
        setattr(adapter, name, getattr(adapter, name)[1:])
    adapter.write(tmp_path / NAME)
    with pytest.raises(UserError, match="states and inputs of 5 values; the network has"):
        trained(made, cfg, tmp_path / "net", online_fmllr=tmp_path)
    with pytest.raises(UserError, match="other than online_fmllr where `bidirectional` is true"):
        replace(cfg, bidirectional=True, label_delay=0, chunk=0)
    with pytest.raises(UserError, match="this model has no LDA, or no speaker adaptation"):
        train_online_fmllr(made.data, made.ali, made.ali, made.model.parent / "mono", made.lang, tmp_path / "x", CONF)
    with pytest.raises(UserError, match="this folder is also the input"):
        make_online_fmllr(made.data, made.ali, made.needs, made.data, 1)


def test_an_utterance_without_alignment_costs_itself(made, tmp_path, capsys):
    pdfs = dict(read_alignment(made.ali, "pdfs"))
    del pdfs["s0-002"]
    pdfs["s1-003"] = pdfs["s1-003"][:-1]
    ali = tmp_path / "ali"
    ali.mkdir()
    write_int_vectors(ali / "pdf.ark", pdfs.items())
    make_online_fmllr(made.data, ali, made.needs, tmp_path / "train", 2)
    error = capsys.readouterr().err
    assert "s0-002 is left out: it has no alignment" in error and "s1-003 is left out: its alignment is of" in error
    assert len(Features(tmp_path / "train", FeatureConfig("online_fmllr", "none", 0)).utts) == 28
