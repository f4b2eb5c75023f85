"""The transition model: Kaldi's transition-ids, updates, graph weights and phone boundaries."""

import math

import numpy as np
import pytest
import torch
from helpers.random_hmms import SIL, random_lang, random_path, random_transitions, random_tree, reordered
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.corpus.topology import Topology
from lstmp.errors import UserError
from lstmp.gmm.align import segments
from lstmp.gmm.transition import TransitionModel, phone_starts
from lstmp.gmm.tree import monophone_tree


@pytest.fixture
def model():
    """Silence and one phone, with the numbering of Kaldi's `gmm-init-mono`."""
    topology = Topology.bakis(nonsilence=[2], silence=[1])
    return TransitionModel.from_tree(topology, monophone_tree([[1], [2]], topology), [1, 2])


def test_transition_ids_are_numbered_as_in_kaldi(model):
    assert model.tuples.tolist() == [[1, s, s] for s in range(5)] + [[2, s, 5 + s] for s in range(3)]
    assert model.first_tid.tolist() == [1, 5, 9, 13, 17, 19, 21, 23, 25]
    assert (model.num_tids, model.num_pdfs) == (24, 8)
    assert model.tid_dest.tolist()[1:] == [0, 1, 2, 3] + 3 * [1, 2, 3, 4] + [4, 5] + [0, 1, 1, 2, 2, 3]
    assert model.tid_state.tolist()[1:] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 2 + [0, 0, 1, 1, 2, 2]
    assert model.tid_phone.tolist()[1:] == [1] * 18 + [2] * 6
    assert model.tid_pdf.tolist()[1:] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 2 + [5, 5, 6, 6, 7, 7]
    assert model.is_self_loop.nonzero()[:, 0].tolist() == [1, 5, 10, 15, 17, 19, 21, 23]
    assert model.is_final.nonzero()[:, 0].tolist() == [18, 24]
    assert [model.self_loop_tid(i) for i in range(8)] == [1, 5, 10, 15, 17, 19, 21, 23]
    assert model.log_prob.exp()[1:].tolist() == pytest.approx([0.25] * 16 + [0.75, 0.25] * 4)
    assert model.tuple_index(2, 1, 6) == 6 and model.non_self_loop_log_prob(6) == pytest.approx(math.log(0.25))


def test_a_state_without_self_loop_has_no_loop_probability():
    topology = Topology({1: (((1, 1.0),), ((1, 0.5), (2, 0.5)))})
    model = TransitionModel(topology, [(1, 0, 0), (1, 1, 1)])
    assert model.self_loop_tid(0) == 0 and model.non_self_loop_log_prob(0) == 0.0
    assert model.graph_log_probs(1.0, 0.1)[1] == pytest.approx(0.0)


def test_unknown_tuples_and_wrong_sizes_are_errors(model):
    with pytest.raises(UserError, match="no transitions for phone 2, state 1, pdf 5.*train the model again"):
        model.tuple_index(2, 1, 5)
    with pytest.raises(UserError, match="3 transition probabilities for 24 transition-ids.*train it again"):
        TransitionModel(model.topology, model.tuples, torch.zeros(4))


def test_transition_ids_of_another_model_are_an_error(model):
    model.check("a", np.array([1, 24, 7]))
    model.check("a", np.zeros(0, dtype=np.int32))
    for tids, unknown in (([3, 25], 25), ([0, 1], 0)):
        with pytest.raises(UserError, match=f"ali.ark: transition-id {unknown} in b-1, but the model has 1 to 24"):
            model.check("b-1", np.array(tids), file="ali.ark")


def test_update_is_the_ratio_of_counts_with_floor_and_minimum(model):
    before = model.log_prob.clone()
    counts = torch.zeros(25)
    counts[1:5] = torch.tensor([10.0, 20, 30, 40])
    counts[19:21] = torch.tensor([300.0, 100])
    counts[21:23] = torch.tensor([1000.0, 0])  # never left: floored
    counts[23:25] = torch.tensor([3.0, 1.9])   # below min_count: unchanged
    counts[0] = 99                             # not a transition-id
    model.update(counts, floor=0.01, min_count=5)
    prob = model.log_prob.exp()
    assert prob[1:5].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert prob[19:21].tolist() == pytest.approx([0.75, 0.25])
    assert prob[21:23].tolist() == pytest.approx([0.99, 0.01], rel=1e-3)
    assert torch.equal(model.log_prob[23:], before[23:]) and torch.equal(model.log_prob[5:19], before[5:19])


@given(st.integers(0, 10**6), st.sampled_from([0.001, 0.01, 0.02]))
@settings(max_examples=30, deadline=None)
def test_updated_probabilities_sum_to_one_and_keep_the_floor(seed, floor):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    model = TransitionModel.from_tree(lang.topology, random_tree(lang, rng), lang.silence + lang.nonsilence)
    model.update(torch.from_numpy(rng.exponential(30, model.num_tids + 1) * rng.integers(0, 2, model.num_tids + 1)),
                 floor=floor)
    for i in range(len(model.tuples)):
        prob = model.log_prob[int(model.first_tid[i]):int(model.first_tid[i + 1])].exp()
        assert float(prob.sum()) == pytest.approx(1, abs=1e-5)
    assert float(model.log_prob[1:].exp().min()) > 0.999 * floor


@given(st.integers(0, 10**6), st.floats(0, 2), st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_graph_log_probs_follow_kaldis_formula(seed, transition_scale, self_loop_scale):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    model = random_transitions(lang, random_tree(lang, rng), rng)
    weights = model.graph_log_probs(transition_scale, self_loop_scale)
    assert weights[0] == 0
    for i, (phone, state, _) in enumerate(model.tuples.tolist()):
        arcs = model.topology.entries[phone][state]
        first = int(model.first_tid[i])
        loop = sum(math.exp(model.log_prob[first + k]) for k, (to, _) in enumerate(arcs) if to == state)
        for k, (to, _) in enumerate(arcs):
            log_p = float(model.log_prob[first + k])
            expected = (self_loop_scale * log_p if to == state else
                        transition_scale * (log_p - math.log(1 - loop)) + self_loop_scale * math.log(1 - loop))
            assert float(weights[first + k]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(st.integers(0, 10**6), st.integers(0, 12), st.sampled_from([0.0, 0.5, 0.9]))
@settings(max_examples=100, deadline=None)
def test_phones_are_found_in_both_orders_of_transition_ids(seed, count, stay):
    """With ergodic silences and repeated phones; in Kaldi's reordered form also with phones of one state."""
    rng = np.random.default_rng(seed)
    for states, orders in (((1, 2, 3), (reordered,)), ((2, 3), (reordered, lambda plain, _: plain))):
        lang = random_lang(rng, states=states, phones=3)
        tree = random_tree(lang, rng)
        model = random_transitions(lang, tree, rng)
        phones = rng.choice([SIL, *lang.nonsilence], count).tolist()
        walks = random_path(phones, model, tree, rng, stay)
        lengths = [len(w) for w in walks]
        for order in orders:
            tids = np.array(order([t for w in walks for t in w], model), dtype=np.int32)
            assert phone_starts(tids, model).tolist() == [sum(lengths[:i]) for i in range(count)]
            assert [(s.phone, s.start, s.length) for s in segments(tids, model)] == [
                (p, sum(lengths[:i]), lengths[i]) for i, p in enumerate(phones)]
