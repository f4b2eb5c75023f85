"""sMBR and MMI of utterances, compared with sums over all paths of the graph or of the lattice, in float64."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import ROOT
from helpers.small_graphs import SmallGraph, all_paths

from lstmp import config
from lstmp.decode.search_graph import SearchGraph
from lstmp.nnet.model import StateNetwork
from lstmp.sequence.config import SequenceConfig
from lstmp.sequence.criterion import LatticeCriterion
from lstmp.sequence.lattices import aligned_path, make_lattice, with_path
from lstmp.sequence.phone_classes import FrameAccuracy

OPTIONS = config.load(ROOT / "conf" / "sequence.yaml", SequenceConfig)
WIDE = replace(OPTIONS, cross_entropy=0.0, lattice=replace(
    OPTIONS.lattice, acoustic_scale=0.5, search_beam=1e4, output_beam=1e3, min_active=0, max_active=100_000, retries=0))
NARROW = replace(WIDE, lattice=replace(WIDE.lattice, search_beam=2.0, output_beam=1.0))
STATES = FrameAccuracy(np.arange(4), np.array([False, False, True, True]), True)
PRIORS = torch.tensor([-1.0, -2.0, -1.5, -0.7])
FRAMES = 5


def paths_of_the_graph(graph, frames):
    """All complete paths of ``frames`` emitting arcs, each as an array of arcs of the graph."""
    arcs, first = graph.flat[0], graph.first
    done, paths = [], [[a] for a in range(first[0], first[1]) if arcs[a, 2] > 0]
    for t in range(1, frames + 1):
        longer = [p + [a] for p in paths for a in range(*first[arcs[p[-1], 1]:][:2])]
        paths = [p for p in longer if arcs[p[-1], 2] > 0]
        done = [p for p in longer if arcs[p[-1], 2] < 0 and t == frames]
    return np.array(done)


def case(seed, frames=FRAMES):
    """A graph, all of its paths, scores, and the states of one of its paths."""
    graph = SmallGraph.random(seed, final_words=False).engine(4)
    paths, rng = paths_of_the_graph(graph, frames), np.random.default_rng(seed)
    assert len(paths) > 20
    pdfs = graph.chosen(paths[rng.integers(len(paths))]).labels[:-1] - 1
    return graph, paths, 4 * torch.from_numpy(rng.normal(size=(frames, 1, 4))), torch.from_numpy(pdfs).long()


def objective(name, graph, paths, scores, pdfs, accuracy=STATES, boost=0.0):
    """The objective in torch, from all paths; the numerator is the best of the paths with these states."""
    states = torch.from_numpy(graph.flat[0][paths, 2][:, :-1]).long() - 1
    rows = 0.5 * (scores[:, 0] - PRIORS)
    weights = torch.from_numpy(graph.chosen(paths.reshape(-1)).scores.reshape(paths.shape).astype(float)).sum(1)
    total = weights + rows[torch.arange(len(rows)), states].sum(1)
    right = torch.from_numpy(accuracy(states.numpy(), np.broadcast_to(pdfs.numpy(), states.shape))).sum(1)
    if name == "smbr":
        return torch.softmax(total, 0) @ right
    best = weights[(states == pdfs).all(1)].max()
    return best + rows[torch.arange(len(rows)), pdfs].sum() - torch.logsumexp(total + boost * (len(rows) - right), 0)


def check(name, options, seed, accuracy=STATES, boost=0.0):
    graph, paths, scores, pdfs = case(seed)
    x, y = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    expected = objective(name, graph, paths, x, pdfs, accuracy, boost)
    criterion = LatticeCriterion(name, replace(options, boost=boost), graph, accuracy, PRIORS)
    result, why = criterion(y, pdfs[:, None], 2.0)
    assert why == result.left_out == [] and result.frames == FRAMES and result.outside == 0
    assert result.objective == pytest.approx(float(expected), abs=1e-9)
    assert float(result.loss) == pytest.approx(-result.objective / 2)
    (-expected / 2).backward()
    result.loss.backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=0, atol=1e-9)
    assert x.grad.abs().max() > 1e-3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name, boost", [("smbr", 0.0), ("mmi", 0.0), ("mmi", 0.7)])
def test_objective_and_gradient_equal_enumeration(name, boost, seed):
    check(name, WIDE, seed, boost=boost)


@pytest.mark.parametrize("one_class", [True, False])
@pytest.mark.parametrize("group", [[0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 0, 1]])
def test_accuracies(group, one_class):
    accuracy = FrameAccuracy(np.array(group), STATES.silence, one_class)
    check("smbr", WIDE, 1, accuracy)
    check("mmi", WIDE, 2, accuracy, boost=0.3)
    right = {(p, q) for p in range(4) for q in range(4) if accuracy(np.array([p]), np.array([q]))[0]}
    by_hand = {(p, q) for p in range(4) for q in range(4)
               if (group[p] == group[q] and (one_class or p < 2)) or (one_class and p >= 2 and q >= 2)}
    assert right == by_hand


def brute(lattice, scores):
    return np.logaddexp.reduce([scores[p].sum() for p in all_paths(lattice)])


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_a_missing_path_is_added(seed, native):
    graph, paths, scores, pdfs = case(seed)
    rows = 0.5 * (scores[:, 0] - PRIORS).numpy()
    lattice = make_lattice(graph, rows, NARROW.lattice.search(), native)
    path = aligned_path(graph, pdfs.numpy(), native)
    assert (graph.chosen(path).labels[:-1] - 1 == pdfs.numpy()).all() and path.tolist() in paths.tolist()
    larger = with_path(lattice, path, graph)
    sequences = {tuple(larger.arc[p]) for p in all_paths(larger)}
    before = {tuple(lattice.arc[p]) for p in all_paths(lattice)}
    assert before | {tuple(path)} <= sequences <= {tuple(p) for p in paths.tolist()}
    assert {*zip(larger.arc, larger.frame, strict=True)} == {
        *zip(lattice.arc, lattice.frame, strict=True), *zip(path, range(len(path)), strict=True)}
    assert (larger is lattice) == (tuple(path) in before)
    assert (np.diff(larger.arcs[:, 0]) >= 0).all() and (np.diff(larger.frame) >= 0).all()
    criterion = LatticeCriterion("mmi", replace(NARROW, reference="add"), graph, STATES, PRIORS)
    found = criterion.of_utterance(rows, pdfs.numpy())
    own = larger.scores(graph, rows)
    best = own[next(list(p) for p in all_paths(larger) if tuple(larger.arc[p]) == tuple(path))].sum()
    assert found.objective == pytest.approx(best - brute(larger, own)) and found.objective <= 1e-9


def test_the_cases_above_have_missing_paths_and_states():
    missing = outside = 0
    for seed in range(12):
        graph, _, scores, pdfs = case(seed)
        lattice = make_lattice(graph, 0.5 * (scores[:, 0] - PRIORS).numpy(), NARROW.lattice.search())
        missing += with_path(lattice, aligned_path(graph, pdfs.numpy()), graph) is not lattice
        result, _ = LatticeCriterion("smbr", NARROW, graph, STATES, PRIORS)(scores, pdfs[:, None], 1.0)
        outside += result.outside
    assert missing > 3 and outside > 3


@pytest.mark.parametrize("seed", range(12))
def test_frames_whose_state_is_not_in_the_lattice_are_rejected(seed):
    """In the other frames the gradient is that of the paths of the lattice, in these it is 0."""
    graph, _, scores, pdfs = case(seed)
    rows = 0.5 * (scores[:, 0] - PRIORS).numpy()
    lattice = make_lattice(graph, rows, NARROW.lattice.search())
    own, label = lattice.scores(graph, rows), lattice.arcs[:, 2]
    weight = np.array([own[p].sum() for p in all_paths(lattice)])
    expected, there = np.zeros((FRAMES, 4)), np.zeros(FRAMES, bool)
    for p, w in zip(all_paths(lattice), np.exp(weight - np.logaddexp.reduce(weight)), strict=True):
        expected[np.arange(FRAMES), label[p][:-1] - 1] -= w
        there |= label[p][:-1] - 1 == pdfs.numpy()
    expected[np.arange(FRAMES), pdfs] += 1
    expected[~there] = 0
    y = scores.clone().requires_grad_()
    result, _ = LatticeCriterion("mmi", NARROW, graph, STATES, PRIORS)(y, pdfs[:, None], 1.0)
    result.loss.backward()
    np.testing.assert_allclose(y.grad[:, 0].numpy(), -0.5 * expected, atol=1e-9)
    assert result.outside == (~there).sum()


@pytest.mark.parametrize("name", ["smbr", "mmi"])
def test_a_number_for_each_frame_changes_nothing(name):
    """So scores before and after a softmax have the same objective and gradient."""
    graph, _, scores, pdfs = case(3)
    criterion, found = LatticeCriterion(name, WIDE, graph, STATES, PRIORS), []
    for x in (scores, torch.log_softmax(scores, 2)):
        x = x.clone().requires_grad_()
        result, _ = criterion(x, pdfs[:, None], 1.0)
        result.loss.backward()
        found.append((result.objective, x.grad))
    assert found[0][0] == pytest.approx(found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[0][1].sum(2), torch.zeros(FRAMES, 1).double(), rtol=0, atol=1e-12)


def batch(frames=(5, 3, 7)):
    """Scores and states of several utterances with different beginnings and lengths, and a graph for all of them."""
    graph = SmallGraph.random(3, final_words=False).engine(4)
    rng, rows = np.random.default_rng(1), max(frames) + 3
    pdfs = torch.full((rows, len(frames)), -1)
    for n, count in enumerate(frames):
        paths = paths_of_the_graph(graph, count)
        pdfs[n:n + count, n] = torch.from_numpy(graph.chosen(paths[rng.integers(len(paths))]).labels[:-1] - 1).long()
    return graph, 3 * torch.from_numpy(rng.normal(size=(rows, len(frames), 4))), pdfs


@pytest.mark.parametrize("name", ["smbr", "mmi"])
def test_utterances_of_a_batch_do_not_depend_on_each_other_or_on_threads(name):
    graph, scores, pdfs = batch()
    results = []
    for threads in (1, 3):
        x = scores.clone().requires_grad_()
        result, _ = LatticeCriterion(name, WIDE, graph, STATES, PRIORS, threads=threads)(x, pdfs, 4.0)
        result.loss.backward()
        results.append((result.objective, x.grad))
    assert results[0][0] == results[1][0] and torch.equal(results[0][1], results[1][1])
    assert not results[0][1][pdfs < 0].any() and results[0][1][pdfs >= 0].any(1).all()
    alone = [LatticeCriterion(name, WIDE, graph, STATES, PRIORS)(scores[:, n:n + 1], pdfs[:, n:n + 1], 4.0)[0]
             for n in range(3)]
    assert sum(r.objective for r in alone) == pytest.approx(results[0][0])


def test_bad_utterances_have_no_gradient():
    graph, scores, pdfs = batch()
    scores[2, 1, 0] = float("nan")
    impossible = next(x for x in itertools.product(range(4), repeat=7) if aligned_path(graph, np.array(x)) is None)
    pdfs[2:9, 2] = torch.tensor(impossible)
    x = scores.clone().requires_grad_()
    result, why = LatticeCriterion("mmi", WIDE, graph, STATES, PRIORS)(x, pdfs, 4.0)
    result.loss.backward()
    assert result.left_out == [1, 2]
    assert why == ["its scores are not finite", "its alignment is not a path of the graph"]
    assert result.frames == 5 and x.grad[:, 0].any() and not x.grad[:, 1:].any()
    assert set(result.posteriors.sequence.tolist()) == {0}
    arcs, splits, words = graph.flat
    arcs = arcs.copy()
    arcs[arcs[:, 2] < 0, 2] = 1  # without final arcs, in effect: the last state has no way on
    graph = SearchGraph.of(arcs, splits, words, 4)
    result, why = LatticeCriterion("smbr", WIDE, graph, STATES, PRIORS)(scores, pdfs, 4.0)
    assert why[0] == why[2] == "no path survives the search" and result.frames == 0 and result.objective == 0.0


@pytest.mark.parametrize("name, h", [("smbr", 0.0), ("smbr", 0.3), ("mmi", 0.0), ("mmi", 0.3)])
def test_gradients_through_a_network_equal_differences(name, h, small):
    """In float64, by the weights of a network: output layer, gates, peepholes, biases."""
    from lstmp.sequence.training import SequenceTraining, UtteranceTargets

    graph, _, pdfs = batch()
    cfg = small(cells=5, recurrent_projection=3, layers=1, criterion=name, chunk=0)
    model = StateNetwork(cfg, 3, 4).double()
    model.initialize(1)
    x = torch.randn(len(pdfs), 3, 3, generator=torch.Generator().manual_seed(2)).double()
    training = SequenceTraining(LatticeCriterion(name, WIDE, graph, STATES, PRIORS.double()), h)
    params = [p for p in model.parameters()]
    for p in params:
        p.data *= 3

    def loss():
        return model.loss(x, model.zero_state(3), UtteranceTargets(training, list("abc"), pdfs), 4)[0]

    grads = torch.autograd.grad(loss(), params)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for p, grad in zip(params, grads, strict=True):
            for i in rng.choice(p.numel(), min(4, p.numel()), replace=False).tolist():
                flat, values = p.view(-1), []
                for step in (1e-5, -2e-5):
                    flat[i] += step
                    values.append(float(loss()))
                flat[i] += 1e-5
                assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(grad.view(-1)[i]), rel=1e-4, abs=1e-8)
    assert max(float(g.abs().max()) for g in grads) > 1e-3
