"""Alignment with a network: trained on the states of a known HMM, it finds the path of that HMM."""


import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.known_gaussians import aligned, make, mono  # noqa: E402
from helpers.mmi_training import make_states
from helpers.small_graphs import NEEDS_COMPILER

from lstmp.corpus.lang import Lang
from lstmp.corpus.topology import Topology
from lstmp.errors import UserError
from lstmp.gmm import shard
from lstmp.gmm.align import read_alignment, segments  # noqa: E402
from lstmp.gmm.beam_align import BeamAligner
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.transition import TransitionModel, target_pdfs
from lstmp.gmm.tree_stats import low_rate_path, windows
from lstmp.nnet import align, checkpoint  # noqa: E402
from lstmp.nnet.train import train  # noqa: E402


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    toy = make(tmp_path_factory.mktemp("known"))
    model = mono(toy, toy.data.parent / "mono")
    return toy, aligned(toy, model, toy.data.parent / "mono_ali")


def run(toy, network, ali, out, *options):
    conf = toy.write("align", acoustic_scale=1.0, self_loop_scale=1.0, beam=30.0, retry_beam=200.0)
    align.main(["--data", str(toy.data), "--lang", str(toy.lang), "--network", str(network), "--hmm", str(ali),
                "--out", str(out), "--config", str(conf), *options])
    return read_alignment(out)


def test_it_finds_the_alignment_that_it_was_trained_on(known, small_config, tmp_path, capsys):
    toy, ali = known
    held_out = tmp_path / "held_out"
    held_out.write_text("s0-000\n")
    cfg = small_config(epochs=30, lr_initial=0.02, cells=32, recurrent_projection=12)
    train(cfg, toy.data, ali, held_out, tmp_path / "net")
    expected, now = read_alignment(ali), run(toy, tmp_path / "net", ali, tmp_path / "net_ali")
    assert expected.keys() == now.keys()
    same = np.concatenate([expected[u] == now[u] for u in expected])
    assert same.mean() > 0.9
    for name in ("ali.ark", "pdf.ark", "phones.ctm", "utt2like", "failed.txt", "num_pdfs", "tree.json", "align.json"):
        assert (tmp_path / "net_ali" / name).is_file()
    two = run(toy, tmp_path / "net", ali, tmp_path / "two", "--nj", "2")
    assert all(np.array_equal(now[u], two[u]) for u in now)
    capsys.readouterr()
    run(toy, tmp_path / "net", ali, tmp_path / "net_ali")
    assert "align is done" in capsys.readouterr().out
    train(small_config(), toy.data, tmp_path / "net_ali", held_out, tmp_path / "again")  # for the next network


def test_a_network_with_other_states_is_refused(known, small_config, tmp_path, capsys):
    toy, ali = known
    (tmp_path / "held_out").write_text("s0-000\n")
    train(small_config(epochs=1), toy.data, ali, tmp_path / "held_out", tmp_path / "net")
    tensors, header = checkpoint.read(tmp_path / "net" / "final.safetensors", "")
    tensors |= {k: tensors[k][:-1].contiguous() for k in ("w_out", "b_out", "log_priors")}
    checkpoint.write(tmp_path / "net" / "final.safetensors", tensors, header)
    with pytest.raises(SystemExit):
        run(toy, tmp_path / "net", ali, tmp_path / "out")
    assert "states, the tree" in capsys.readouterr().err


def test_a_network_with_subsampling_gives_one_transition_id_per_frame(known, small_config, tmp_path):
    """The states of its output frames, with boundaries only between groups; again a path of the HMMs."""
    toy, ali = known
    (tmp_path / "held_out").write_text("s0-000\n")
    cfg = small_config(epochs=30, lr_initial=0.02, cells=32, recurrent_projection=12, subsampling=3, chunk=5)
    train(cfg, toy.data, ali, tmp_path / "held_out", tmp_path / "net")
    expected, now = read_alignment(ali), run(toy, tmp_path / "net", ali, tmp_path / "net_ali")
    transitions, same = AcousticModel.load(ali).transitions, []
    assert set(now) <= set(expected) and len(now) > 0.9 * len(expected)
    for utt, tids in now.items():
        assert len(tids) == len(expected[utt])
        assert all(start.start % 3 == 0 for start in segments(tids, transitions))
        same.append(transitions.tid_phone[tids] == transitions.tid_phone[expected[utt]])
    assert torch.cat(same).float().mean() > 0.85
    assert (tmp_path / "net_ali/frame_shift").read_text() == "0.01\n"
    train(small_config(epochs=1), toy.data, tmp_path / "net_ali", tmp_path / "held_out", tmp_path / "again")


@pytest.mark.parametrize("frames", [7, 8, 9])
def test_the_frames_of_a_group_stay_in_its_state(known, frames):
    model = AcousticModel.load(known[1])
    transitions = model.transitions
    phone = transitions.topology.entries.keys() - {1}
    index = next(i for i, (p, s, _) in enumerate(transitions.tuples.tolist()) if p in phone and s == 0)
    loop = transitions.self_loop_tid(index)
    leaving = next(tid for tid in range(int(transitions.first_tid[index]), int(transitions.first_tid[index + 1]))
                   if tid != loop)
    path = np.array([leaving, loop, leaving], np.int32)
    wanted = [leaving, loop, loop, loop, loop, loop, leaving, loop, loop]
    assert align.for_frames(path, 3, frames, model, {1}).tolist() == wanted[:frames]


@NEEDS_COMPILER
def test_the_frames_of_a_chain_model_have_equal_weights_in_alignment(known, small_config, tmp_path, monkeypatch):
    """With conf/align.yaml as it is, so that a phone more or less in the same frames costs nothing."""
    toy, ali = known
    states = make_states(toy, ali, tmp_path / "chain", "chain")
    (tmp_path / "held_out").write_text("s0-000\n")
    train(small_config(epochs=1, subsampling=3, chunk=5), toy.data, states, tmp_path / "held_out", tmp_path / "net")
    weights = []

    class Spy(BeamAligner):
        def __init__(self, gmms, boost, acoustic_scale, log_prob):
            weights.append(np.exp(log_prob[1:]))
            super().__init__(gmms, boost, acoustic_scale, log_prob)

    monkeypatch.setattr(shard, "BeamAligner", Spy)
    align.main(["--data", str(toy.data), "--lang", str(toy.lang), "--network", str(tmp_path / "net"),
                "--hmm", str(states), "--out", str(tmp_path / "out"), "--config", str(ROOT / "conf/align.yaml")])
    assert len(weights) == 1 and weights[0] == pytest.approx(np.full(len(weights[0]), 0.5))


def test_the_states_of_a_chain_model_need_its_frame_rate(known, small_config, tmp_path):
    toy, ali = known
    states = make_states(toy, ali, tmp_path / "chain", "chain")
    (tmp_path / "held_out").write_text("s0-000\n")
    for wrong in ({}, {"subsampling": 2}, {"subsampling": 3, "repeat_scores": True}):
        with pytest.raises(UserError, match="chain: the states of a chain model need `subsampling: 3`"):
            train(small_config(**wrong), toy.data, states, tmp_path / "held_out", tmp_path / "net")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_only_the_first_frame_of_a_phone_is_the_begin_of_a_chain_model(known, tmp_path, missing):
    """From the path at a third of the rate, with phones of one, two and three outputs, to the path of all frames."""
    toy, ali = known
    states = make_states(toy, ali, tmp_path / "chain", "chain")
    model, silence = AcousticModel.load(states), set(Lang.load(toy.lang).silence)
    for tids in read_alignment(states).values():
        phones = [s.phone for s in segments(tids, model.transitions)]
        window, _ = windows(tids, model.transitions, silence)
        lengths = [1 + i % 3 for i in range(len(phones))]
        path = low_rate_path(window, np.repeat(np.arange(len(phones)), lengths), model.transitions, model.tree)
        found = align.for_frames(path, 3, 3 * sum(lengths) - missing, model, silence)
        parts = segments(found, model.transitions)
        assert [s.phone for s in parts] == phones
        assert [s.length for s in parts] == [3 * n for n in lengths[:-1]] + [3 * lengths[-1] - missing]
        assert (target_pdfs(found, model.transitions)[::3] == model.transitions.tid_pdf.numpy()[path]).all()


def test_states_without_a_self_loop_are_refused():
    once = TransitionModel(Topology({1: (((1, 1.0),),)}), [(1, 0, 0)])
    with pytest.raises(UserError, match="without a self-loop"):
        align.for_frames(np.array([1], np.int32), 3, 3, AcousticModel(once, None, None, None), {1})
