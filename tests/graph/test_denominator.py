"""The denominator graph, compared with its definition: phone language model × context × HMM."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers.random_hmms import random_lang, random_transitions, random_tree, window_at
from helpers.small_denominators import SmallSystem, arcs_of

from lstmp.errors import UserError
from lstmp.gmm.model import AcousticModel
from lstmp.graph.denominator import Denominator, make_denominator
from lstmp.graph.phone_lm import PhoneLmConfig, estimate
from lstmp.tensors import read_tensors, write_tensors

FRAMES = 5


def by_definition(system, frames):
    """Probability of each sequence of pdfs that ends with the utterance, of up to ``frames`` frames, by the HMMs."""
    lm, tree, t = system.lm, system.model.tree, system.model.transitions
    out: Counter = Counter()

    def sequences(state, phones, prob):
        if phones and lm.final[state] > -np.inf:
            yield phones, prob * np.exp(lm.final[state])
        if len(phones) < frames:
            for a in np.flatnonzero(lm.source == state):
                yield from sequences(lm.target[a], [*phones, int(lm.phone[a])], prob * np.exp(lm.log_prob[a]))

    def emit(phones, k, state, emitted, prob):
        """The rest of an utterance that is before a frame in a state of its phone k."""
        if k == len(phones):
            out[emitted] += prob
        elif len(emitted) < frames:
            pdf = tree.pdf(window_at(phones, k, tree), state)
            first = int(t.first_tid[t.tuple_index(phones[k], state, pdf)])
            for i, (to, _) in enumerate(t.topology.entries[phones[k]][state]):
                after = (k + 1, 0) if t.is_final[first + i] else (k, to)
                emit(phones, *after, (*emitted, pdf), prob * float(t.log_prob[first + i].double().exp()))

    for phones, prob in sequences(0, [], 1.0):
        emit(phones, 0, 0, (), prob)
    return {pdfs: p for pdfs, p in out.items() if len(pdfs) <= frames}


def of_graph(graph, frames):
    """The same by the paths of the graph from its state 0."""
    _, arcs = arcs_of(graph)
    out: Counter = Counter()

    def walk(state, emitted, weight):
        if graph.final[state] > -np.inf:
            out[emitted] += np.exp(weight + graph.final[state])
        if len(emitted) < frames:
            for to, pdf, w in arcs.get(state, ()):
                walk(to, (*emitted, pdf), weight + w)

    walk(0, (), 0.0)
    return out


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize("chain", [False, True])
def test_sequences_of_pdfs_have_the_probability_of_language_model_and_hmm(width, order, chain):
    system = SmallSystem(10 * width + order, width, order, chain=chain)
    expected, found = by_definition(system, FRAMES), of_graph(system.denominator, FRAMES)
    assert len(expected) > 20 and expected.keys() == found.keys()
    for pdfs, prob in expected.items():
        assert found[pdfs] == pytest.approx(prob, rel=1e-5), pdfs


@pytest.mark.parametrize("width", [1, 2, 3])
def test_arcs_of_each_state_sum_to_one_and_so_do_initial_probabilities(width):
    graph = SmallSystem(width, width).denominator
    source, target, _, weight = graph.arcs()
    sums = np.bincount(source, np.exp(weight), minlength=len(graph.pdf)) + np.exp(graph.final)
    assert sums == pytest.approx(np.ones(len(sums)), rel=1e-5)
    assert np.exp(graph.initial).sum() == pytest.approx(1.0)
    assert (np.diff(target) >= 0).all() and target.min() == 1 and graph.is_consistent()


def test_initial_probabilities_are_the_average_over_the_first_hundred_frames():
    graph = SmallSystem(4).denominator
    source, target, _, weight = graph.arcs()
    step = np.zeros((len(graph.pdf),) * 2)
    np.add.at(step, (source, target), np.exp(weight))
    now, total = np.eye(len(step))[0], np.zeros(len(step))
    for _ in range(100):
        total += now
        now = now @ step / (now @ step).sum()
    assert np.exp(graph.initial) == pytest.approx(total / 100)
    assert np.exp(graph.initial[0]) == pytest.approx(0.01)  # the begin of an utterance is one of the hundred frames


def test_a_phone_after_itself_has_an_arc_beside_its_self_loop():
    system = SmallSystem(1)
    lm = estimate([[2, 2, 2, 2], [2, 3]], PhoneLmConfig(3, 0))
    graph = make_denominator(lm, system.model)
    again = np.flatnonzero(graph.source == graph.target)
    assert len(again) == 1 and graph.stay[graph.source[again[0]]] > -np.inf
    assert len(graph.arcs()[0]) == len(graph.source) + len(graph.pdf) - 1


def test_phones_of_several_states_are_an_error():
    rng = np.random.default_rng(0)
    lang = random_lang(rng, states=(2,))
    tree = random_tree(lang, rng)
    with pytest.raises(UserError, match="may be as short as one frame; .*--topology chain"):
        make_denominator(SmallSystem(0).lm, AcousticModel(random_transitions(lang, tree, rng), tree, None, None))


def test_files_are_read_as_written_and_damage_is_an_error(tmp_path):
    graph, path = SmallSystem(7, chain=True).denominator, tmp_path / "denominator.safetensors"
    assert (graph.pdf[1:] != graph.loop_pdf[1:]).any()
    graph.write(path)
    read = Denominator.read(tmp_path)
    assert read.num_pdfs == graph.num_pdfs
    assert all((getattr(read, name) == x).all() for name, x in vars(graph).items() if name != "num_pdfs")
    tensors = read_tensors(path)
    for name, bad in (("pdf", tensors["pdf"] + 1000), ("loop_pdf", tensors["loop_pdf"] + 1000),
                      ("target", tensors["target"] * 0), ("weight", tensors["weight"] * torch.nan),
                      ("stay", tensors["stay"][1:]),
                      ("source", tensors["source"].int()), ("initial", tensors["initial"] + 1)):
        write_tensors(path, {**tensors, name: bad}, {"num_pdfs": str(graph.num_pdfs)})
        with pytest.raises(UserError, match="not consistent"):
            Denominator.read(path)
    write_tensors(path, {k: x for k, x in tensors.items() if k != "loop_pdf"}, {"num_pdfs": str(graph.num_pdfs)})
    assert (Denominator.read(path).loop_pdf == graph.pdf).all()  # of an earlier version
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a denominator graph"):
        Denominator.read(path)
    with pytest.raises(UserError, match="no such file"):
        Denominator.read(tmp_path / "none.safetensors")
