"""Training by LF-MMI: it learns, resumes exactly, and gives the same with several processes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.mmi_training import MmiToy, make_denominator, make_states
from helpers.toy_data import assert_same, interrupted, log, run, weights

from lstmp import config
from lstmp.corpus.prepare_lm import prepare_lm
from lstmp.decode.config import DecodeConfig
from lstmp.decode.decode import decode
from lstmp.errors import UserError
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import target_pdfs
from lstmp.graph.denominator import Denominator
from lstmp.graph.make_graph import make_graph
from lstmp.graph.numerator import Numerators
from lstmp.nnet.data import FrameSet, offsets_of
from lstmp.nnet.forward import AcousticNetwork, NetworkStream
from lstmp.nnet.model import StateNetwork
from lstmp.nnet.streams import Streams, epoch_frames, plan
from lstmp.nnet.trainer import Trainer


@pytest.fixture
def work(toy, states, denominator_dir, tmp_path):
    return MmiToy(tmp_path, toy.data, states, denominator_dir)


@pytest.fixture
def mmi_config(small_config):
    return lambda **changes: small_config(**{"criterion": "lfmmi", "subsampling": 3, "chunk": 5} | changes)


@pytest.mark.parametrize("topology, epochs", [("chain", 30), ("one_state", 12)])
def test_it_learns_and_recognizes_its_training_utterances(work, mmi_config, toy, ali_dir, topology, epochs):
    ali = work.ali if topology == "chain" else make_states(toy, ali_dir, work.path / "states", topology)
    # so few utterances have few sequences of four phones: others would cost nothing in training
    work = replace(work, ali=ali, denominator=make_denominator(ali, work.path / "denominator", order=2))
    cfg = mmi_config(epochs=epochs, lr_initial=0.02, cells=32, recurrent_projection=16, chunk=20)
    out = run(work, cfg, source=work.source())
    rows, tensors = log(out), weights(out)
    assert rows[-1]["loss_train"] < 0.5 * rows[0]["loss_train"] and rows[-1]["left_out"] == 0
    result = json.loads((out / "train.json").read_text())
    assert result["loss_valid"] == min(row["loss_valid"] for row in rows) > 0 and result["frame_accuracy_train"] > 0.7
    assert "w_second" not in tensors and not tensors["log_priors"].any()
    prepare_lm(toy.lang, work.path / "lang_x", texts=[toy.data / "text"], order=2, skip_id=True)
    make_graph(work.path / "lang_x", out, work.path / "graph")
    cfg = replace(config.load(ROOT / "conf/decode.yaml", DecodeConfig), lm_weights=[10], word_penalties=[0.0])
    decode(out, work.path / "graph", work.data, work.path / "decoded", cfg, 1, "cpu")
    spoken, found = ({line.split()[0]: line.split()[1:] for line in path.read_text().splitlines()}
                     for path in (toy.data / "text", *work.path.glob("decoded/**/10_*")))
    of_words = [utt for utt in read_alignment(work.ali) if spoken[utt] != ["!SIL"]]
    # a word of one phone before the same phone, such as EH AIR, can be mistaken for one that lasts longer
    wrong = [(spoken[utt], found[utt]) for utt in of_words if found[utt] != spoken[utt]]
    assert len(wrong) <= (0.1 if topology == "chain" else 0.15) * len(of_words), wrong


def test_the_scores_are_the_outputs_without_softmax(work, mmi_config):
    network = AcousticNetwork.load(run(work, mmi_config(epochs=1), source=work.source()))
    feats = torch.randn(20, network.dim)
    y, _ = network.model.hidden(network.model.normalize(torch.cat([feats, feats[-1:].expand(4, -1)]).unsqueeze(1)),
                                network.model.zero_state(1))
    expected = 10 * network.model.scores(y)[network.cfg.output_delay:, 0]
    torch.testing.assert_close(network(feats), expected, rtol=1e-4, atol=1e-4)
    stream = NetworkStream(network)
    parts = [*map(stream.accept, feats.split(7)), stream.finish()]
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_training_ends_with_the_same_weights(work, mmi_config, monkeypatch, threads):
    cfg = mmi_config(epochs=2, dropout=0.3, time_masks_per_second=5.0)
    whole = run(work, cfg, "whole", threads=threads, source=work.source())
    parts, kills = interrupted(work, cfg, monkeypatch, threads=threads, source=work.source())
    assert kills > 3
    assert_same(whole, parts)
    for a, b in zip(log(whole), log(parts), strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == {k: v for k, v in b.items() if "second" not in k}


@pytest.mark.parametrize("options", [{"nj": 2}, {"threads": 3}])
def test_processes_and_threads_give_the_curve_of_one(work, mmi_config, options):
    cfg = mmi_config(optimizer="sgd", lr_initial=0.1, lr_final=0.05)
    one = run(work, cfg, "one", source=work.source())
    several = run(work, cfg, "several", source=work.source(), **options)
    for a, b in zip(log(one), log(several), strict=True):
        assert a["frames"] == b["frames"]
        for key in ("loss_train", "loss_valid"):
            assert a[key] == pytest.approx(b[key], rel=1e-4)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(several)[name], value, rtol=1e-3, atol=1e-4)


def test_asynchronous_training_learns(work, mmi_config):
    rows = log(run(work, mmi_config(epochs=4, updates="asynchronous"), nj=2, source=work.source()))
    assert rows[-1]["loss_train"] < 0.8 * rows[0]["loss_train"]


@pytest.mark.parametrize("options", [{"bidirectional": True, "chunk": 0, "label_delay": 0, "streams": 3},
                                     {"subsampling": 1, "chunk": 20, "accumulate": 2}, {"all_phases": False}])
def test_other_networks_learn(work, mmi_config, options):
    rows = log(run(work, mmi_config(epochs=3, **options), source=work.source()))
    assert rows[-1]["loss_train"] < 0.9 * rows[0]["loss_train"]


def test_without_regularization_there_is_no_second_layer(work, mmi_config, monkeypatch):
    monkeypatch.setattr(StateNetwork, "second_scores", None)
    rows = log(run(work, mmi_config(epochs=1), source=work.source(cross_entropy=0.0)))
    assert rows[0]["loss_valid"] > 0


def test_chunks_without_numerator_are_named_and_counted(work, mmi_config, monkeypatch, capfd):
    cut = Numerators.cut

    def without_one(self, utt, *args):
        return None if utt == "s0-002" else cut(self, utt, *args)

    monkeypatch.setattr(Numerators, "cut", without_one)
    rows = log(run(work, mmi_config(), source=work.source()))
    length = len(read_alignment(work.ali)["s0-002"])
    cfg = mmi_config()
    assert all(0 < row["left_out"] <= -(-(-(-length // 3) + cfg.output_delay) // cfg.chunk) for row in rows)
    assert capfd.readouterr().err.count("a chunk of s0-002 is left out") == 1
    monkeypatch.setattr(Numerators, "cut", lambda self, *args: None)
    rows = log(run(work, mmi_config(epochs=1), "none", source=work.source()))
    assert rows[0]["frames"] == rows[0]["loss_train"] == 0


def test_a_nan_returns_to_the_checkpoint(work, mmi_config, monkeypatch, capfd):
    step, calls = Trainer.step, []

    def poisoned_once(self, batch, *args):
        calls.append(0)
        if len(calls) == 5:
            batch = replace(batch, features=batch.features * float("nan"))
        return step(self, batch, *args)

    monkeypatch.setattr(Trainer, "step", poisoned_once)
    run(work, mmi_config(), source=work.source())
    assert "the loss is nan in the batch of s" in capfd.readouterr().err


def test_numerators_have_the_states_of_the_targets(states, graph, mmi_config):
    """With no tolerance, the numerator of a chunk allows in each output frame only the state that cross entropy has as
    its target, in all phases."""
    transitions = AcousticModel.load(states).transitions
    pdfs = {utt: torch.from_numpy(target_pdfs(tids, transitions)) for utt, tids in read_alignment(states).items()}
    lengths = torch.tensor([len(p) for p in pdfs.values()])
    no_features, of_all = torch.zeros(int(lengths.sum()), 1), torch.cat(list(pdfs.values()))
    frames = FrameSet(list(pdfs), offsets_of(lengths), no_features, of_all)
    numerators, cfg, compared = Numerators.read(states, graph, 0), mmi_config(), 0
    for epoch in range(3):
        phases, outputs = epoch_frames(cfg, frames, epoch)
        table = plan(outputs, cfg.streams, cfg.chunk, cfg.output_delay, cfg.seed, epoch)
        streams = Streams(frames, table, cfg.chunk, cfg.output_delay, cfg.subsampling, phases)
        for number in range(len(streams)):
            batch = streams.batch(number)
            for n, u in enumerate(batch.utts.tolist()):
                cut = numerators.cut(frames.utts[u], int(batch.first[n]), cfg.chunk, int(batch.phases[n]))
                if cut is None:
                    continue
                begin, numerator = cut
                used = batch.targets[begin:begin + numerator.frames, n].tolist()
                assert [i for i, p in enumerate(batch.targets[:, n].tolist()) if p >= 0] == list(
                    range(begin, begin + numerator.frames))
                phone = [int(np.flatnonzero((numerator.first <= t) & (t <= numerator.last)).item())
                         for t in range(numerator.frames)]
                inside = numerator.start_inside[phone[0]] > numerator.start[phone[0]]
                # the first output of an utterance stands for its fourth frame, if its groups begin with the third
                inside = inside or int(batch.first[n]) + begin == 0 and int(batch.phases[n]) == 2
                assert used == [int((numerator.loop_pdf if k == before else numerator.pdf)[k])
                                for before, k in zip([phone[0] if inside else None, *phone[:-1]], phone, strict=True)]
                compared += len(used)
    assert compared > 1000


def test_training_from_a_network_of_cross_entropy(work, mmi_config, small_config):
    """Its outputs without priors are a good start, and its output layer is the second one."""
    first = run(work, small_config(subsampling=3, chunk=5, epochs=6), "first")
    fresh = run(work, mmi_config(epochs=1), "fresh", source=work.source())
    then = run(work, mmi_config(epochs=1), "then", source=work.source(), initial=first)
    assert log(then)[0]["accuracy_train"] > log(fresh)[0]["accuracy_train"] + 0.2
    assert log(then)[0]["loss_train"] < log(fresh)[0]["loss_train"]
    again = run(work, small_config(subsampling=3, chunk=5, epochs=1, lr_initial=1e-9, lr_final=1e-9), "again",
                initial=first)
    torch.testing.assert_close(weights(again)["w_out"], weights(first)["w_out"])
    with pytest.raises(UserError, match="and .* in the new network; give --init a network with the same input"):
        run(work, mmi_config(cells=13), "wider", source=work.source(), initial=first)


def test_bad_input_is_one_line(work, mmi_config, small_config, ali_dir):
    for cfg, source in ((mmi_config(), None), (small_config(), work.source())):
        with pytest.raises(UserError, match="`criterion: lfmmi` and a denominator graph need each other"):
            run(work, cfg, source=source)
    with pytest.raises(UserError, match="`repeat_scores` must be false where `criterion` is lfmmi"):
        mmi_config(repeat_scores=True)
    with pytest.raises(UserError, match="no such file"):
        run(work, mmi_config(), source=replace(work.source(), denominator=work.path / "none"))
    graph = Denominator.read(work.denominator)
    replace(graph, num_pdfs=graph.num_pdfs + 1).write(work.path / "other" / "denominator.safetensors")
    with pytest.raises(UserError, match=rf"a graph of {graph.num_pdfs + 1} states for an alignment with"):
        run(work, mmi_config(), source=replace(work.source(), denominator=work.path / "other"))
    several = MmiToy(work.path, work.data, ali_dir, work.denominator)
    with pytest.raises(UserError, match="its phones have several states|a graph of"):
        run(several, mmi_config(), "several", source=work.source())
