"""Alignment with a network: trained on the states of a known HMM, it finds the path of that HMM."""


import numpy as np
import pytest
from helpers.known_gaussians import aligned, make, mono  # noqa: E402

from lstmp.gmm.align import read_alignment  # noqa: E402
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
