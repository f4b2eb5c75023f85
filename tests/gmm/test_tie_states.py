"""Conversion of an alignment to other tied states."""

import numpy as np
import pytest
import yaml

from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors
from lstmp.gmm import tie_states
from lstmp.gmm.align import read_alignment
from lstmp.gmm.model import AcousticModel


def tie(toy, ali, out, *options):
    tie_states.main.__wrapped__([
        "--data", str(toy.data), "--lang", str(toy.lang), "--ali", str(ali), "--out", str(out),
        "--config", str(toy.conf / "tri1.yaml"), "--fmllr-config", str(toy.conf / "fmllr.yaml"), *options])
    return AcousticModel.load(out)


def states(directory):
    """Utterance → (phone, HMM state, whether it is a self-loop) of each frame."""
    t = AcousticModel.load(directory).transitions
    columns = np.stack([t.tid_phone.numpy(), t.tid_state.numpy(), t.is_self_loop.numpy()], 1)
    return {utt: columns[tids].tolist() for utt, tids in read_alignment(directory).items()}


@pytest.mark.parametrize("leaves", [20, 24])
def test_the_path_stays_the_same_with_the_pdfs_of_the_new_tree(toy, ali_dir, tmp_path, leaves):
    model = tie(toy, ali_dir, tmp_path / "tied", "--leaves", str(leaves))
    assert 15 < model.tree.num_pdfs <= leaves
    assert states(tmp_path / "tied") == states(ali_dir)
    tids, pdfs = read_alignment(tmp_path / "tied"), dict(read_int_vectors(tmp_path / "tied" / "pdf.ark"))
    assert tids and tids.keys() == pdfs.keys()
    assert all(model.transitions.tid_pdf.numpy()[tids[u]].tolist() == pdfs[u].tolist() for u in tids)
    assert (tmp_path / "tied" / "num_pdfs").read_text() == f"{model.tree.num_pdfs}\n"
    assert (tmp_path / "tied" / "phones.ctm").read_text() == (ali_dir / "phones.ctm").read_text()


def test_more_leaves_give_more_tied_states(toy, ali_dir, tmp_path):
    few, many = (tie(toy, ali_dir, tmp_path / str(n), "--leaves", str(n)) for n in (20, 24))
    assert few.tree.num_pdfs < many.tree.num_pdfs


def test_conversion_to_triphones_and_back_gives_the_first_alignment(toy, ali_dir, tmp_path):
    tie(toy, ali_dir, tmp_path / "tied", "--leaves", "40")
    back = tie(toy, tmp_path / "tied", tmp_path / "mono", "--monophones")
    assert back.tree.num_pdfs == AcousticModel.load(ali_dir).tree.num_pdfs
    assert all((a == b).all() for a, b in zip(read_alignment(tmp_path / "mono").values(),
                                              read_alignment(ali_dir).values(), strict=True))


def test_transition_probabilities_are_those_of_the_alignment(toy, ali_dir, tmp_path):
    t = tie(toy, ali_dir, tmp_path / "mono", "--monophones").transitions
    counts = np.bincount(np.concatenate(list(read_alignment(tmp_path / "mono").values())), minlength=t.num_tids + 1)
    of_tuple = t.tid_tuple.numpy()
    arcs = np.bincount(of_tuple[1:])[of_tuple]  # silence has more than two; unused ones get the floor
    loops = t.is_self_loop.numpy() & (counts > 50) & (arcs == 2)
    assert loops.sum() > 5
    for tid in np.flatnonzero(loops):
        assert t.log_prob[tid].exp() == pytest.approx(counts[tid] / counts[of_tuple == of_tuple[tid]].sum(), rel=1e-3)


def test_a_finished_step_is_not_repeated(toy, ali_dir, tmp_path, capsys):
    tie(toy, ali_dir, tmp_path / "tied", "--leaves", "30")
    capsys.readouterr()
    tie(toy, ali_dir, tmp_path / "tied", "--leaves", "30")
    assert "is done" in capsys.readouterr().out


def test_bad_options_and_input_are_errors(toy, ali_dir, tmp_path):
    with pytest.raises(UserError, match="not both"):
        tie(toy, ali_dir, tmp_path / "x", "--monophones", "--leaves", "30")
    with pytest.raises(UserError, match="--leaves must be 1 or more"):
        tie(toy, ali_dir, tmp_path / "x", "--leaves", "0")
    with pytest.raises(UserError, match="roots"):
        tie(toy, ali_dir, tmp_path / "x", "--leaves", "2")
    with pytest.raises(UserError, match="no such alignment|no such"):
        tie(toy, tmp_path / "nothing", tmp_path / "x", "--monophones")


def test_the_model_is_required_if_features_are_adapted(toy, ali_dir, tmp_path):
    values = yaml.safe_load((toy.conf / "tri3b.yaml").read_text())
    assert values["adapt"]
    with pytest.raises(UserError, match="--model"):
        tie(toy, ali_dir, tmp_path / "x", "--leaves", "30", "--config", str(toy.conf / "tri3b.yaml"))
