"""Training from data dir to network folder: it learns, and reports bad input. test_resume.py is about resuming."""

import gzip
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from helpers.toy_data import assert_same, cut, run, weights

from lstmp import config
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError
from lstmp.gmm.tree import Tree
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.kernels import fused
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.train import main, train
from lstmp.nnet.trainer import Trainer, clip_gradients, learning_rate


def test_it_overfits_a_few_utterances(toy, small_config):
    for utt in toy.valid.read_text().split():  # the held-out utterances repeat a training utterance
        toy.feats[utt], toy.pdfs[utt] = toy.feats["a-05"], toy.pdfs["a-05"]
    toy.write()
    out = run(toy, small_config(epochs=40, lr_initial=0.02, cells=24, recurrent_projection=12))
    result = json.loads((out / "train.json").read_text())
    assert result["frame_accuracy_train"] > 0.99 and result["frame_accuracy_valid"] > 0.99
    assert len(result["epochs"]) == 40 and result["epochs"][-1]["loss_train"] < 0.1 < result["epochs"][0]["loss_train"]


def test_a_bidirectional_network_treats_its_chunks_as_utterances(toy, small_config, monkeypatch):
    seen = []

    def loss(self, x, state, *args, do=StateNetwork.loss):
        seen.append([float(part.abs().max()) for layer in state for part in layer])
        return do(self, x, state, *args)

    monkeypatch.setattr(StateNetwork, "loss", loss)
    run(toy, small_config(epochs=1), "unidirectional")
    assert any(max(starts) > 0 for starts in seen)
    seen.clear()
    run(toy, small_config(epochs=1, bidirectional=True, chunk=9, label_delay=0), "bidirectional")
    assert len(seen) > 5 and not any(max(starts) > 0 for starts in seen)


def test_a_network_folder_has_everything_that_the_decoder_needs(toy, small_config, capfd):
    out = run(toy, small_config())
    tensors = weights(out)
    assert abs(tensors["log_priors"].double().exp().sum() - 1) < 1e-6
    assert (out / "tree.json").read_text() == "{}\n"
    assert (out / "transitions.safetensors").read_bytes() == b"as it came"
    result = json.loads((out / "train.json").read_text())
    assert result["system"] == "net" and result["seed"] == 1 and result["minutes"] >= 0
    assert result["params"] == sum(t.numel() for n, t in tensors.items() if n.startswith(("layers", "w_out"))
                                   and "bias" not in n)
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert result["config"] == yaml.safe_load((out / "config.yaml").read_text())
    best = max(result["epochs"], key=lambda e: e["accuracy_valid"])
    assert result["frame_accuracy_valid"] == best["accuracy_valid"]
    # it is not trained again, unless a setting changes that affects the result
    before = (out / "final.safetensors").stat().st_mtime_ns
    capfd.readouterr()
    run(toy, small_config(checkpoint_minutes=1.0))
    assert "is done" in capfd.readouterr().out and (out / "final.safetensors").stat().st_mtime_ns == before
    run(toy, small_config(seed=2))
    said = capfd.readouterr().out
    assert "kept here until the new one is done (" in said and "training starts from scratch" not in said
    assert not torch.equal(weights(out)["w_out"], tensors["w_out"])


def test_held_out_data_dir_equals_held_out_list(toy, small_config):
    by_list = run(toy, small_config(), "by_list")
    held_out = toy.path / "held_out"
    held_out.mkdir()
    ids = toy.valid.read_text().split()
    for name in ("feats.scp", "utt2spk"):
        lines = (toy.data / name).read_text().splitlines(keepends=True)
        (held_out / name).write_text("".join(line for line in lines if line.split()[0] in ids))
    train(small_config(), toy.data, toy.ali, held_out, toy.path / "by_dir")
    assert_same(by_list, toy.path / "by_dir")


def test_the_average_of_the_last_epochs(toy, small_config):
    out = run(toy, small_config(epochs=4, average_last=3))
    parts = [checkpoint.read(out / f"epoch{e}.safetensors", hint="")[0] for e in (2, 3, 4)]
    torch.testing.assert_close(weights(out)["w_out"], sum(p["w_out"] for p in parts) / 3)
    assert json.loads((out / "train.json").read_text())["chosen_epochs"] == [2, 3, 4]
    out = run(toy, small_config(epochs=2, average_last=3), "short")  # averages all epochs if there are fewer
    assert json.loads((out / "train.json").read_text())["chosen_epochs"] == [1, 2]


def test_one_thread_is_one_torch_thread(toy, small_config, monkeypatch):
    seen = set()

    def loss(self, *args, do=StateNetwork.loss):
        seen.add(torch.get_num_threads())
        return do(self, *args)

    monkeypatch.setattr(StateNetwork, "loss", loss)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run(toy, small_config(epochs=1), threads=1)
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


def test_threads_share_a_batch_without_changing_the_result(toy, small_config):
    one, two = (weights(run(toy, small_config(), f"net{n}", threads=n)) for n in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)


def test_after_a_single_nan_training_returns_with_a_smaller_rate(toy, small_config, monkeypatch, capfd):
    step, calls = Trainer.step, []

    def poisoned_once(self, batch, *args):
        calls.append(0)
        if len(calls) == 20:
            batch = replace(batch, features=batch.features * float("nan"))
        return step(self, batch, *args)

    monkeypatch.setattr(Trainer, "step", poisoned_once)
    out = run(toy, small_config())
    err = capfd.readouterr().err
    assert "the loss is nan in the batch of a-" in err and "with 0.5 of the learning rate" in err
    header = checkpoint.read(out / "last.safetensors", hint="")[1]
    assert header["rate_scale"] == 0.5 and header["retries"] == 1
    assert all(torch.isfinite(t).all() for t in weights(out).values())


def test_a_recurring_nan_names_the_utterances_and_keeps_the_checkpoint(toy, small_config, monkeypatch):
    step = Trainer.step

    def poisoned(self, batch, *args):
        rows = (batch.utts == self.train.utts.index("a-05")).nonzero().flatten().tolist()
        batch.features[:, rows] = float("inf")
        return step(self, batch, *args)

    monkeypatch.setattr(Trainer, "step", poisoned)
    with pytest.raises(UserError, match=r"training diverges, epoch 1, batch .* in the batch of .*a-05") as e:
        run(toy, small_config())
    assert "\n" not in str(e.value)
    tensors, header = checkpoint.read(toy.path / "net" / "last.safetensors", hint="")
    assert header["retries"] == 3 and header["rate_scale"] == 0.125
    assert all(torch.isfinite(t).all() for t in tensors.values())


def test_products_have_reduced_precision_in_training_only(toy, small_config, monkeypatch):
    seen = set()

    def loss(self, *args, do=StateNetwork.loss):
        seen.add((torch.is_grad_enabled(), torch.get_float32_matmul_precision()))
        return do(self, *args)

    monkeypatch.setattr(StateNetwork, "loss", loss)
    out = run(toy, small_config(epochs=1, streams=9))
    assert (True, "high") in seen and (True, "highest") not in seen
    assert torch.get_float32_matmul_precision() == "highest"
    assert (False, "highest") in seen  # the final evaluation
    known = json.loads((out / "train.json").read_text())["factors"]
    assert known == ("bf16x3" if fused.kernels("bf16x3") else fused.current_precision(False))


def test_the_rate_decays_exponentially(small_config):
    cfg = small_config(lr_initial=0.1, lr_final=0.001)
    assert [round(learning_rate(cfg, p), 6) for p in (0, 0.5, 1)] == [0.1, 0.01, 0.001]


def test_gradient_clipping():
    layer = torch.nn.Linear(2, 2, bias=False)
    layer.weight.grad = torch.tensor([[3.0, -0.5], [0.25, -2.0]])
    clip_gradients(layer, 1.0, 0.0)
    assert torch.equal(layer.weight.grad, torch.tensor([[1.0, -0.5], [0.25, -1.0]]))
    clip_gradients(layer, 0.0, 0.6)
    torch.testing.assert_close(layer.weight.grad.norm(), torch.tensor(0.6))
    layer.weight.grad[0, 0] = float("inf")
    assert clip_gradients(layer, 1.0, 1.0) == float("inf")


def kaldi_folder(toy):
    """The alignment of the toy data in Kaldi's formats, a one-state phone per pdf; written again at every change."""
    folder, count = toy.path / "kaldi", int((toy.ali / "num_pdfs").read_text())
    folder.mkdir()
    phones = range(1, count + 1)
    (folder / "tree").write_text(f"ContextDependency 1 0 ToPdf TE 0 {count + 1} ( NULL "
                                 + "".join(f"TE -1 1 ( CE {p - 1} ) " for p in phones) + ") EndContextDependency ")
    (folder / "final.mdl").write_text(
        f"<TransitionModel> <Topology> <TopologyEntry> <ForPhones> {' '.join(map(str, phones))} </ForPhones> <State> 0 "
        "<PdfClass> 0 <Transition> 0 0.5 <Transition> 1 0.5 </State> <State> 1 </State> </TopologyEntry> </Topology> "
        f"<Triples> {count} " + "".join(f"{p} 0 {p - 1} " for p in phones) + "</Triples> <LogProbs> [ 0 "
        + "-0.693 " * 2 * count + "] </LogProbs> </TransitionModel> ")
    lines = []
    for utt, pdfs in toy.pdfs.items():
        changes = np.append(True, pdfs[1:] != pdfs[:-1])
        lines.append(f"{utt} " + "".join(f"{2 * p + 1 + int(new)} " for p, new in zip(pdfs, changes, strict=True)))
    (folder / "ali.1.gz").write_bytes(gzip.compress("".join(line + "\n" for line in lines).encode()))
    return folder


def test_a_kaldi_alignment_is_imported_and_trains_the_same_network(toy, small_config, capsys):
    ours = run(toy, small_config(), "ours")
    toy.ali = kaldi_folder(toy)
    theirs = run(toy, small_config(), "theirs", valid_ali=toy.ali)
    assert_same(ours, theirs)
    assert Tree.load(theirs / "tree.json").num_pdfs == 5
    assert {p.name for p in toy.ali.iterdir()} == {"ali.1.gz", "tree", "final.mdl"}
    capsys.readouterr()
    run(toy, small_config(), "theirs", valid_ali=toy.ali)
    said = capsys.readouterr().out
    assert "import is done" in said and "lstmp is done" in said
    other = run(toy, small_config(seed=2), "theirs", valid_ali=toy.ali)  # the import goes with the previous network
    assert json.loads((other / "train.json").read_text())["seed"] == 2 and (other / "kaldi_ali" / "ali.ark").is_file()
    (toy.ali / "tree").write_text((toy.ali / "tree").read_text().replace("CE 0", "CE 9"))
    with pytest.raises(UserError, match="final.mdl: 5 pdfs, but the tree in the same folder has 10"):
        run(toy, small_config(), "theirs")


BAD = {
    "no list": (lambda w: w.valid.unlink(), r"valid.list: no such data dir or list"),
    "empty list": (lambda w: w.valid.write_text("\n"), r"valid.list: no utterance in it"),
    "list of others": (lambda w: w.valid.write_text("b-01\n"), r"no utterance for held out"),
    "list in Latin-1": (lambda w: w.valid.write_bytes(b"\xe9\xff"), r"valid.list:1: not UTF-8"),
    "no alignment": (lambda w: [(w.ali / n).unlink() for n in ("pdf.scp", "pdf.ark")], r"pdf.scp: no such file; run"),
    "no num_pdfs": (lambda w: (w.ali / "num_pdfs").unlink(), r"num_pdfs: no such file; run the alignment"),
    "no tree": (lambda w: (w.ali / "tree.json").unlink(), r"tree.json: no such file; check --align-model"),
    "alignment cut off": (lambda w: cut(w.ali / "pdf.ark"), r"pdf.ark.*(cut off|damaged)"),
    "features cut off": (lambda w: cut(w.data / "feats.ark"), r"utterances have no usable features"),
    "no features": (lambda w: (w.data / "feats.scp").unlink(), r"feats.scp: no such file; run"),
    "unknown key": (lambda w: edit(w, "cells:", "celss:"), r":\d+: unknown key `celss`; did you mean `cells`"),
    "wrong type": (lambda w: edit(w, "epochs: 2", "epochs: two"), r"lstmp.yaml:\d+: `epochs` must be a whole number"),
    "out of range": (lambda w: edit(w, "dropout: 0.0", "dropout: 1.5"), r"lstmp.yaml:\d+: `dropout` must be at least"),
}


def edit(toy, old, new):
    path = toy.path / "lstmp.yaml"
    assert old in (text := path.read_text())
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(toy, small_config, capfd, name):
    damage, message = BAD[name]
    (toy.path / "lstmp.yaml").write_text(yaml.safe_dump(config.to_dict(small_config())))
    damage(toy)
    with pytest.raises(SystemExit) as e:
        main(["--config", str(toy.path / "lstmp.yaml"), "--train", str(toy.data), "--ali", str(toy.ali),
              "--valid", str(toy.valid), "--out", str(toy.path / "net"), "--threads", "1"])
    err = capfd.readouterr().err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert e.value.code == 1 and len(errors) == 1 and "Traceback" not in err
    assert re.search(message, errors[0]), errors[0]


def test_decay_on_plateau_and_early_stop(toy, small_config):
    cfg = small_config(epochs=60, decay="plateau", plateau_factor=0.1, lr_initial=0.02, lr_final=0.001, average_last=2)
    out = run(toy, cfg)
    epochs = json.loads((out / "train.json").read_text())["epochs"]
    assert len(epochs) < 60
    best, rate = float("inf"), 0.02
    for h in epochs:
        assert h["learning_rate"] == pytest.approx(rate)
        rate *= 1 if h["loss_valid"] <= best else 0.1
        best = min(best, h["loss_valid"])
    assert rate < 0.001
    assert sorted(p.name for p in out.glob("epoch*")) == [f"epoch{len(epochs) - k}.safetensors" for k in (1, 0)]
    patient = run(toy, small_config(epochs=60, lr_initial=0.02, lr_final=0.02, patience=3), "patient")
    losses = [h["loss_valid"] for h in json.loads((patient / "train.json").read_text())["epochs"]]
    assert len(losses) < 60 and np.argmin(losses) == len(losses) - 4


@pytest.mark.parametrize(("options", "states", "warned"), [
    ({}, 3, False), ({"subsampling": 3}, 3, True), ({"subsampling": 3}, 1, False),
    ({"subsampling": 3, "repeat_scores": True}, 3, False)])
def test_phones_that_last_too_long_with_subsampling_give_a_warning(toy, small_config, capfd, options, states, warned):
    Topology.bakis(nonsilence=[2, 3], silence=[1], nonsilence_states=states, silence_states=states).write(
        toy.ali / "topo")
    run(toy, small_config(epochs=1, **options))
    assert ("a phone of 3 states lasts at least 9 frames" in capfd.readouterr().err) == warned


def test_options_for_decoding_are_changed_without_training(toy, small_config, monkeypatch):
    before = weights(run(toy, small_config(subsampling=3)))
    monkeypatch.setattr(Trainer, "step", None)

    def write_and_die(path, text):
        path.write_text(text)
        if path.name == "train.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(config, "write_text", write_and_die)
        run(toy, small_config(subsampling=3, repeat_scores=True, acoustic_factor=2.0))
    for _ in range(2):
        out = run(toy, small_config(subsampling=3, repeat_scores=True, acoustic_factor=2.0))
        cfg = config.load(out / "config.yaml", LstmpConfig)
        assert (cfg.repeat_scores, cfg.acoustic_factor) == (True, 2.0)
        assert json.loads((out / "train.json").read_text())["config"] == config.to_dict(cfg)
        assert all(torch.equal(x, before[name]) for name, x in weights(out).items())
