"""Conversion of an alignment to other tied states."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from lstmp.corpus.datadir import read_data_dir
from lstmp.corpus.fst import FstArrays
from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.features.ark import read_int_vectors
from lstmp.gmm import tie_states
from lstmp.gmm.align import read_alignment, segments
from lstmp.gmm.model import AcousticModel
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.viterbi import align_batch
from lstmp.graph.graph_file import read_graph_file
from lstmp.graph.make_graph import make_graph


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


ONE_STATE = ("--topology", "one_state", "--context", "left_biphone")


@pytest.fixture(scope="module")
def biphones(toy, ali_dir, tmp_path_factory):
    """The folder of left biphones of one state, with a tree of at most 20 leaves."""
    out = tmp_path_factory.mktemp("biphones") / "tied"
    tie(toy, ali_dir, out, "--leaves", "20", *ONE_STATE)
    return out


def test_one_state_for_each_phone_keeps_the_phones_and_their_boundaries(toy, ali_dir, biphones):
    model = AcousticModel.load(biphones)
    assert all(states == (((0, 0.5), (1, 0.5)),) for states in model.transitions.topology.entries.values())
    assert (biphones / "phones.ctm").read_text() == (ali_dir / "phones.ctm").read_text()
    for utt, tids in read_alignment(biphones).items():
        phones = segments(tids, model.transitions)
        leaving = np.flatnonzero(model.transitions.is_final.numpy()[tids])
        assert leaving.tolist() == [s.start for s in phones], utt  # reordered: the exit comes before the self-loops
    assert model.transitions.log_prob[1:].exp().tolist() == pytest.approx([0.5] * model.transitions.num_tids)


def test_left_biphones_depend_on_the_phone_before_and_not_on_the_one_after(toy, biphones):
    model, lang = AcousticModel.load(biphones), Lang.load(toy.lang)
    assert (model.tree.context_width, model.tree.central_position) == (2, 1)
    assert len(lang.sets) < model.tree.num_pdfs <= 20
    r, d, e = (lang.phones[name] for name in ("R_B", "D_B", "E_I"))
    assert model.tree.pdf((r, e), 0) != model.tree.pdf((d, e), 0)  # the features of E depend on R before it
    pdfs, tids = dict(read_int_vectors(biphones / "pdf.ark")), read_alignment(biphones)
    for utt, row in tids.items():
        phones = [0, *(s.phone for s in segments(row, model.transitions))]
        expected = [model.tree.pdf((0 if b in lang.silence else a, b), 0) for a, b in itertools.pairwise(phones)]
        starts = [s.start for s in segments(row, model.transitions)]
        assert pdfs[utt][starts].tolist() == expected


@pytest.mark.parametrize("context", ["triphone", "left_biphone"])
def test_chain_states_tell_the_begin_of_a_phone_from_its_other_frames(toy, ali_dir, tmp_path, context):
    out = tmp_path / "chain"
    model = tie(toy, ali_dir, out, "--leaves", "40", "--topology", "chain", "--context", context)
    t, lang = model.transitions, Lang.load(toy.lang)
    assert t.topology.is_chain and t.log_prob[1:].exp().tolist() == pytest.approx([0.5] * t.num_tids)
    assert (out / "phones.ctm").read_text() == (ali_dir / "phones.ctm").read_text()
    pdfs, begins, others = dict(read_int_vectors(out / "pdf.ark")), set(), set()
    for utt, tids in read_alignment(out).items():
        tids, around = tids.astype(np.int64), [0, *(s.phone for s in segments(tids, t)), 0]
        for i, s in enumerate(segments(tids, t)):
            of_phone = tids[s.start:s.start + s.length]
            assert t.tid_state[of_phone].tolist() == [0] + [1] * (s.length - 1)
            # the begin leads to the other state, or out; the other state is left first, then come its self-loops
            leaves = [False, True] + [False] * (s.length - 2) if s.length > 1 else [True]
            assert t.is_final[of_phone].tolist() == leaves
            window = (0, s.phone, 0) if s.phone in lang.silence else tuple(around[i:i + 3])
            window = model.tree.window(*window)
            begin, other = (model.tree.pdf(window, state) for state in (0, 1))
            assert t.tid_pdf[of_phone].tolist() == [begin] + [other] * (s.length - 1)
            # networks learn the begin in the first three frames, of which one is an output
            assert pdfs[utt][s.start:s.start + s.length].tolist() == ([begin] * 3 + [other] * s.length)[:s.length]
            begins.add(begin)
            others.add(other)
    assert len(begins & others) < len(begins | others) / 3  # shared at most by phones whose tree does not ask


@pytest.mark.parametrize("context", ["triphone", "left_biphone"])
@pytest.mark.parametrize("topology", ["chain", "one_state"])
def test_graphs_are_made_of_states_for_low_frame_rates(toy, ali_dir, tmp_path, context, topology):
    """HCLG, and the training graph, whose alignment of the network's scores is the one that the scores were made of."""
    model = tie(toy, ali_dir, tmp_path / "tied", "--leaves", "40", "--topology", topology, "--context", context)
    shutil.copytree(toy.lang, tmp_path / "lang")
    lang = Lang.load(tmp_path / "lang")
    grammar([lang.words[w] for w in ("RED", "AID", "DEE")]).write(tmp_path / "lang" / "G.fst")
    make_graph(tmp_path / "lang", tmp_path / "tied", tmp_path / "graph")
    scale = json.loads((tmp_path / "graph/graph.json").read_text())["self_loop_scale"]
    assert scale == (1.0 if topology == "chain" else 0.1)
    labels = read_graph_file(tmp_path / "graph")[0].arcs[:, 1]
    assert 0 < int(labels.max()) <= model.tree.num_pdfs

    compiler = GraphCompiler(lang, model.tree, model.transitions)
    log_prob = model.transitions.graph_log_probs(1.0, 1.0).numpy()
    words = {utt: u.words for utt, u in read_data_dir(toy.data).utts.items()}
    for utt, tids in list(read_alignment(tmp_path / "tied").items())[:5]:
        graph = compiler.compile(lang.word_ids(words[utt])[0])
        wrong = model.transitions.tid_pdf[tids.astype(np.int64), None] != torch.from_numpy(graph.distinct_pdfs)
        (found,) = align_batch([graph], [-100.0 * wrong], log_prob)
        pdfs = model.transitions.tid_pdf.numpy()
        assert pdfs[found[0]].tolist() == pdfs[tids].tolist()


def grammar(words):
    """Any sequence of these words, with equal probabilities."""
    n = len(words)
    zero = np.zeros(n, np.int32)
    cost = np.full(n, np.log(n + 1), np.float32)
    return FstArrays(0, cost[:1].copy(), zero, np.array(words, np.int32), np.array(words, np.int32), cost, zero)


def test_monophones_have_no_context(toy, ali_dir, tmp_path):
    with pytest.raises(UserError, match="monophones have no context"):
        tie(toy, ali_dir, tmp_path / "x", "--monophones", "--context", "left_biphone")
    model = tie(toy, ali_dir, tmp_path / "mono", "--monophones", "--topology", "one_state")
    assert model.tree.num_pdfs == len(Lang.load(toy.lang).sets)
