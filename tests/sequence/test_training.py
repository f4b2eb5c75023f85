"""Training by sMBR and MMI: it learns, resumes exactly, and gives the same with several processes."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import ROOT
from helpers.toy_data import assert_same, interrupted, log, run, weights

from lstmp import config
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import decode
from lstmp.errors import UserError
from lstmp.nnet.forward import AcousticNetwork
from lstmp.nnet.network_stage import result_settings
from lstmp.nnet.trainer import Trainer
from lstmp.sequence import criterion, train

NO_CHANGE = {"lr_initial": 1e-12, "lr_final": 1e-12, "epochs": 1}


def wrong_words(work, network):
    """Number of utterances of which not all words are right."""
    cfg = replace(config.load(ROOT / "conf/decode.yaml", DecodeConfig), lm_weights=[10], word_penalties=[0.0])
    out = work.path / f"decoded_{network.name}"
    decode(network, work.graph, work.data, out, cfg, 1, "cpu")
    spoken, found = ({line.split()[0]: line.split()[1:] for line in path.read_text().splitlines()}
                     for path in (work.data / "text", *out.glob("**/10_*")))
    return sum(found[utt] != words for utt, words in spoken.items())


@pytest.mark.parametrize("name", ["smbr", "mmi"])
def test_it_raises_the_held_out_objective_and_no_errors(work, smbr, name):
    before = log(work.train(smbr(criterion=name, **NO_CHANGE), "before"))[0]
    out = work.train(smbr(criterion=name, epochs=3), "after")
    rows, result = log(out), json.loads((out / "train.json").read_text())
    assert result["loss_valid"] == min(row["loss_valid"] for row in rows) < before["loss_valid"] - 0.01
    assert rows[-1]["loss_train"] < before["loss_train"] - 0.01
    assert all(row["left_out"] == 0 for row in rows) and {"outside", "accuracy_valid"} <= rows[0].keys()
    assert wrong_words(work, out) <= wrong_words(work, work.initial) + 1
    if name == "smbr":
        assert all(-1 < row["loss_valid"] < 0 for row in rows)


def test_the_network_is_used_as_one_of_cross_entropy(work, smbr):
    """With the priors of the network that training started from, and a softmax."""
    out = work.train(smbr(**NO_CHANGE))
    assert torch.equal(weights(out)["log_priors"], weights(work.initial)["log_priors"])
    first, second = (AcousticNetwork.load(x) for x in (work.initial, out))
    feats = torch.randn(30, first.dim)
    torch.testing.assert_close(first(feats), second(feats), rtol=1e-4, atol=1e-5)


def test_it_continues_a_training_by_lfmmi(by_lfmmi, tmp_path, capsys):
    """The scores keep their scale and have no priors, and there is no cross entropy."""
    work = replace(by_lfmmi, path=tmp_path)
    training = {"criterion": "smbr", "chunk": 0, "streams": 6, "epochs": 3, "lr_initial": 1e-3, "lr_final": 5e-4}
    cfg = train.configuration(work.initial, training, ROOT / "conf/sequence.yaml")
    assert cfg.acoustic_factor == 10.0 and cfg.subsampling == 3
    same = work.train(replace(cfg, **NO_CHANGE), "same")
    assert "has no priors, as its training began with LF-MMI: without cross entropy" in capsys.readouterr().out
    assert not weights(same)["log_priors"].any()
    before, after = (AcousticNetwork.load(x) for x in (work.initial, same))
    feats = torch.randn(31, before.dim)
    difference = before(feats) - after(feats)  # the same number for all states of a frame
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=1e-4, atol=1e-3)
    rows = log(work.train(cfg, "after"))
    assert rows[-1]["loss_train"] < log(same)[0]["loss_train"] - 0.01
    assert wrong_words(work, tmp_path / "after") <= wrong_words(work, work.initial) + 1
    again = replace(work, initial=tmp_path / "after")
    for first in (work, again):
        with pytest.raises(UserError, match="have the factor 10, those of the new one 3; set `acoustic_factor: 10` in"):
            first.train(replace(cfg, acoustic_factor=0.0), "other")
    cfg = train.configuration(again.initial, {**training, "criterion": "mmi", "epochs": 1}, ROOT / "conf/sequence.yaml")
    assert cfg.acoustic_factor == 10.0
    assert again.train(cfg, "again") and "began with LF-MMI" in capsys.readouterr().out


def test_the_factor_of_the_scores_is_a_setting_of_the_training(smbr, small):
    for cfg, depends in ((smbr(), True), (small(), False)):
        settings = result_settings(replace(cfg, acoustic_factor=10.0))
        assert (settings != result_settings(cfg)) == depends


def test_the_held_out_accuracy_is_that_of_the_lattices_of_a_decoding(work, smbr):
    """Objective and scores are those of the network as it is used, label delay and priors included."""
    out = work.train(smbr(**NO_CHANGE), changes={"cross_entropy": 0.0})
    network, source = AcousticNetwork.load(out), work.source()
    lattices = source.prepare(smbr(), [], work.ali, network.num_pdfs, "cpu", True).lattices
    from lstmp.features.load import Features
    from lstmp.nnet.load_frames import load_frames

    held_out = set(work.valid.read_text().split())
    frames = load_frames(work.data, work.ali, network.feature, network.num_pdfs, 0.5, "held out", only=held_out)
    total, features = 0.0, Features(work.data, network.feature)
    for n, utt in enumerate(frames.utts):
        pdfs = frames.pdfs[frames.offsets[n]:frames.offsets[n + 1]].numpy()
        total += lattices.of_utterance(lattices.scale * network(features.load(utt)).numpy(), pdfs).objective
    assert -log(out)[0]["loss_valid"] == pytest.approx(total / frames.num_frames, abs=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_training_ends_with_the_same_weights(work, smbr, monkeypatch, threads):
    cfg, options = smbr(dropout=0.3), {"source": work.source(), "initial": work.initial, "threads": threads}
    whole = run(work, cfg, "whole", **options)
    parts, kills = interrupted(work, cfg, monkeypatch, **options)
    assert kills > 0
    assert_same(whole, parts)
    for a, b in zip(log(whole), log(parts), strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == {k: v for k, v in b.items() if "second" not in k}


@pytest.mark.parametrize("name, options", [
    ("smbr", {"nj": 2}), ("mmi", {"threads": 3}), ("smbr", {"changes": {"search_threads": 2}})])
def test_processes_and_threads_give_the_curve_of_one(work, smbr, name, options):
    cfg = smbr(criterion=name, optimizer="sgd", lr_initial=0.1, lr_final=0.05)
    one, several = work.train(cfg, "one"), work.train(cfg, "several", **options)
    for a, b in zip(log(one), log(several), strict=True):
        assert a["frames"] == b["frames"] and a["left_out"] == b["left_out"]
        for key in ("loss_train", "loss_valid"):
            assert a[key] == pytest.approx(b[key], rel=1e-3)
    for key, value in weights(one).items():
        if "changes" in options:
            assert torch.equal(weights(several)[key], value)
        torch.testing.assert_close(weights(several)[key], value, rtol=1e-2, atol=1e-3)


def test_asynchronous_training_learns(work, smbr):
    before = log(work.train(smbr(**NO_CHANGE), "before"))[0]
    rows = log(work.train(smbr(epochs=2, updates="asynchronous"), "after", nj=2))
    assert rows[-1]["loss_train"] < before["loss_train"] - 0.01


@pytest.mark.parametrize("options", [
    {"changes": {"accuracy": "phone", "one_silence_class": False}},
    {"changes": {"reference": "add", "boost": 0.1}, "criterion": "mmi"}, {"accumulate": 2}])
def test_other_options_learn(work, smbr, options):
    options = dict(options)
    changes = options.pop("changes", {})
    before = log(work.train(smbr(**options, **NO_CHANGE), "before", changes))[0]
    rows = log(work.train(smbr(**options), "after", changes))
    assert rows[-1]["loss_train"] < before["loss_train"] - 0.005


def test_utterances_without_lattice_are_named_and_counted(work, smbr, monkeypatch, capfd):
    make, searched = criterion.make_lattice, []

    def without_some(graph, rows, cfg):
        searched.append(len(rows))
        return None if len(rows) == searched[0] else make(graph, rows, cfg)

    monkeypatch.setattr(criterion, "make_lattice", without_some)
    rows = log(work.train(smbr()))
    assert all(row["left_out"] > 0 for row in rows)
    assert 0 < rows[0]["frames"] < sum(searched)
    assert " is left out: no path survives the search" in capfd.readouterr().err
    monkeypatch.setattr(criterion, "make_lattice", lambda *args: None)
    rows = log(work.train(smbr(epochs=1), "none"))
    assert rows[0]["frames"] == rows[0]["loss_train"] == 0
    assert capfd.readouterr().err.count("is left out: no path survives the search") == 5  # the others are counted


def test_a_nan_returns_to_the_checkpoint(work, smbr, monkeypatch, capfd):
    step, calls = Trainer.step, []

    def poisoned_once(self, batch, *args):
        calls.append(0)
        if len(calls) == 5:
            batch = replace(batch, features=batch.features * float("nan"))
        return step(self, batch, *args)

    monkeypatch.setattr(Trainer, "step", poisoned_once)
    work.train(smbr())
    assert "the loss is nan in the batch of s" in capfd.readouterr().err


def test_the_step_takes_its_numbers_from_the_first_network(work, capsys):
    text = (ROOT / "conf/sequence.yaml").read_text().replace("  epochs: 2\n", "  epochs: 1\n")
    (work.path / "sequence.yaml").write_text(text)
    arguments = ["--train", str(work.data), "--ali", str(work.ali), "--valid", str(work.valid), "--threads", "1",
                 "--init", str(work.initial), "--graph", str(work.graph), "--device", "cpu",
                 "--sequence-config", str(work.path / "sequence.yaml"), "--out", str(work.path / "step")]
    train.main.__wrapped__(arguments)
    cfg = config.read_yaml(work.path / "step" / "config.yaml")[0]
    assert (cfg["cells"], cfg["criterion"], cfg["chunk"], cfg["lr_initial"]) == (24, "smbr", 0, 1e-4)
    capsys.readouterr()
    (work.path / "sequence.yaml").write_text(text.replace("search_threads: 0", "search_threads: 2"))
    train.main.__wrapped__(arguments)
    assert "is done" in capsys.readouterr().out  # threads do not change the result
    (work.path / "sequence.yaml").write_text(text.replace("  epochs: 1\n", "  epoch: 1\n"))
    with pytest.raises(UserError, match=r"`epoch`|key"):
        train.main.__wrapped__(arguments)
    with pytest.raises(UserError, match="no such network"):
        train.main.__wrapped__([*arguments, "--init", str(work.path / "none")])


def test_bad_input_is_one_line(work, smbr, small):
    with pytest.raises(UserError, match="`chunk` must be 0, whole utterances, where `criterion` is mmi"):
        smbr(criterion="mmi", chunk=20)
    for cfg, source in ((smbr(), None), (small(), work.source())):
        with pytest.raises(UserError, match="steps/train_sequence.sh trains by smbr and mmi"):
            run(work, cfg, source=source)
    with pytest.raises(UserError, match="no such file"):
        run(work, smbr(), source=replace(work.source(), graph=work.path), initial=work.initial)
    with pytest.raises(UserError, match="in the new network; give --init a network with the same input"):
        work.train(smbr(cells=13))
    for changed in ({"accuracy": "word"}, {"reference": "keep"}, {"boost": -1.0}, {"cross_entropy": 1.0},
                    {"search_threads": -1}, {"weak_lm_order": 0}):
        with pytest.raises(UserError, match=f"`{next(iter(changed))}` must be"):
            work.source(**changed)
