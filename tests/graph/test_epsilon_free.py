"""Removal of epsilons and merging of states keep all paths; comparison with k2 and kaldifst."""

import math

import kaldifst
import numpy as np
import pytest
import torch

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError
from lstmp.graph.epsilon_free import epsilon_free
from lstmp.graph.merge import merge_states

LABELS, WORDS = 3, 2


def random_graph(seed: int, states: int = 8, arcs: int = 18, epsilons: float = 0.4) -> FstArrays:
    """A connected graph. Epsilons lead to higher states only, so that there are no cycles of them. Costs are multiples
    of 1/64."""
    rng = np.random.default_rng(seed)
    src = np.concatenate([np.arange(states - 1), rng.integers(0, states, arcs)])
    dst = np.concatenate([np.arange(1, states), rng.integers(0, states, arcs)])
    ilabel = np.where((rng.random(len(src)) < epsilons) & (src < dst), 0, rng.integers(1, LABELS + 1, len(src)))
    order = np.argsort(src, kind="stable")
    final = np.where(rng.random(states) < 0.3, rng.integers(0, 64, states) / 64, np.inf)
    final[-1] = 0.5
    return FstArrays(0, final.astype(np.float32), src[order].astype(np.int32), ilabel[order].astype(np.int32),
                     rng.integers(0, WORDS + 1, len(src))[order].astype(np.int32),
                     (rng.integers(0, 64, len(src)) / 64)[order].astype(np.float32), dst[order].astype(np.int32))


@pytest.mark.parametrize("seed", range(20))
def test_arcs_of_a_bundle_are_in_the_order_of_their_scores(seed):
    fst = random_graph(seed, states=6, arcs=60)
    fst.weight[:] = np.random.default_rng(seed).choice([-3.5, -0.0, 0.0, 0.25, 1e-30, 1e30, 2.0], len(fst.weight))
    graph = epsilon_free(fst, np.arange(LABELS + 1))
    bundle = np.repeat(np.arange(len(graph.first) - 1), np.diff(graph.first))
    score = np.ascontiguousarray(graph.arcs[:, 2]).view(np.float32)
    same = bundle[1:] == bundle[:-1]
    assert same.any() and (np.diff(score)[same] <= 0).all()


def relation(arcs, start: int, ends: dict[int, float], longest: int) -> dict:
    """(labels, words) → lowest cost of the paths with them, for all paths of at most ``longest`` labels.

    ``arcs``: (from, to, label, words, cost).
    """
    leaving: dict[int, list] = {}
    for arc in arcs:
        leaving.setdefault(arc[0], []).append(arc)
    best, todo = {}, [(start, (), (), 0.0)]
    while todo:
        state, labels, words, cost = todo.pop()
        if state in ends:
            key = labels, words
            best[key] = min(best.get(key, math.inf), cost + ends[state])
        for _, to, label, arc_words, arc_cost in leaving.get(state, ()):
            if len(labels) + (label > 0) <= longest:
                todo.append((to, labels + ((label,) if label > 0 else ()), words + arc_words, cost + arc_cost))
    return best


def fst_relation(fst: FstArrays, longest: int = 4) -> dict:
    arcs = [(int(a), int(b), int(x), (int(w),) if w else (), float(c)) for a, b, x, w, c in
            zip(fst.src, fst.dst, fst.ilabel, fst.olabel, fst.weight, strict=True)]
    ends = {int(s): float(fst.final[s]) for s in np.flatnonzero(np.isfinite(fst.final))}
    return relation(arcs, fst.start, ends, longest)


def search_arcs_relation(arcs: np.ndarray, splits: np.ndarray, words: np.ndarray, longest: int = 4) -> dict:
    """The relation of the arrays of all arcs, with pdf-ids for labels."""
    last, score = int(arcs[:, :2].max()), arcs[:, 3].view(np.float32)
    rows = [(int(a), int(b), int(x), tuple(int(w) for w in words[i:j] if w > 0), -float(c)) for (a, b, x, _), i, j, c in
            zip(arcs, splits[:-1], splits[1:], score, strict=True)]
    assert all((x == -1) == (b == last) and x != 0 for _, b, x, _, _ in rows)
    costs = relation(rows, 0, {last: 0.0}, longest)
    return {(tuple(x - 1 for x in labels), words): cost for (labels, words), cost in costs.items()}


@pytest.mark.parametrize("seed", range(12))
def test_removal_of_epsilons_keeps_the_relation(seed):
    fst = random_graph(seed)
    pdf_of = np.array([0, 0, 1, 2])  # transition-id → pdf
    graph = epsilon_free(fst, pdf_of)
    expected = {(tuple(int(pdf_of[x]) for x in labels), words): c for (labels, words), c in fst_relation(fst).items()}
    arcs, splits, words = graph.flat()
    assert search_arcs_relation(arcs, splits, words) == {k: pytest.approx(c) for k, c in expected.items()}
    assert (np.diff(arcs[:, 0]) >= 0).all() and len(words) == splits[-1] and len(arcs) == graph.num_arcs
    assert any(len(words) > 1 for _, words in expected)


@pytest.mark.parametrize("seed", range(6))
def test_large_bundles_are_shared_and_small_ones_become_a_states_own(seed):
    fst = random_graph(seed, states=9, arcs=26)
    graph = epsilon_free(fst, np.arange(LABELS + 1))
    whole = epsilon_free_shared(fst)
    stored = []
    for most in (0, 2, 4, 1000):
        inlined = whole.inlined(most)
        assert search_arcs_relation(*inlined.flat(), 3) == search_arcs_relation(*whole.flat(), 3)
        assert inlined.num_arcs == whole.num_arcs
        counts = np.unique(inlined.ways[:, 0], return_counts=True)[1]
        shared = np.bincount(inlined.ways[:, 1]) > 1
        assert (np.diff(inlined.first)[shared] > most).all()
        assert (shared[inlined.ways[:, 1]].sum() >= (counts - 1).sum()), "a state has one bundle of its own at most"
        stored.append(len(inlined.arcs))
    assert stored == sorted(stored) and stored[0] < stored[-1] == whole.num_arcs == len(graph.arcs)


def epsilon_free_shared(fst):
    """With every bundle shared that can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstmp.graph.bundles.BundledGraph.inlined", lambda graph, most: graph)
        return epsilon_free(fst, np.arange(LABELS + 1))


@pytest.mark.parametrize("seed", range(3))
def test_k2_gives_the_same_relation(seed):
    k2 = pytest.importorskip("k2")
    fst = random_graph(seed)
    last = len(fst.final)
    ends = np.flatnonzero(np.isfinite(fst.final))
    arcs = np.stack([np.concatenate([fst.src, ends]), np.concatenate([fst.dst, np.full(len(ends), last)]),
                     np.concatenate([fst.ilabel, np.full(len(ends), -1)]),
                     (-np.concatenate([fst.weight, fst.final[ends]])).astype(np.float32).view(np.int32)], axis=1)
    order = np.argsort(arcs[:, 0], kind="stable")
    fsa = k2.Fsa(torch.from_numpy(arcs[order].astype(np.int32)), aux_labels=torch.from_numpy(
        np.concatenate([fst.olabel, np.full(len(ends), -1)])[order].astype(np.int32)))
    fsa = k2.connect(k2.remove_epsilon(fsa))
    theirs = search_arcs_relation(fsa.arcs.values().numpy(), fsa.aux_labels.shape.row_splits(1).numpy(),
                            fsa.aux_labels.values.numpy())
    graph = epsilon_free(fst, np.array([0, 0, 1, 2]))
    ours = search_arcs_relation(*graph.flat())
    assert {k: pytest.approx(c) for k, c in ours.items()} == theirs


@pytest.mark.parametrize("seed", range(12))
def test_merging_keeps_the_relation(seed):
    fst = random_graph(seed, epsilons=0.0)
    # with a copy that cannot be reached
    doubled = FstArrays(fst.start, np.tile(fst.final, 2), np.concatenate([fst.src, fst.src + len(fst.final)]),
                        np.tile(fst.ilabel, 2), np.tile(fst.olabel, 2), np.tile(fst.weight, 2),
                        np.concatenate([fst.dst, fst.dst + len(fst.final)]))
    for graph in (fst, doubled):
        expected = {k: pytest.approx(c, abs=1e-2) for k, c in fst_relation(fst).items()}
        assert fst_relation(merge_states(graph)) == expected


def a_tree(rng, depth: int = 5) -> FstArrays:
    """A deterministic tree with many equal subtrees."""
    rows, final = [], [math.inf]
    layer = [0]
    for level in range(depth):
        following = []
        for state in layer:
            for label in range(1, LABELS + 1):
                if rng.random() < 0.8 or label == 1:
                    final.append(0.0 if level == depth - 1 else math.inf)
                    rows.append((state, label, int(rng.integers(0, 2)) if level == 0 else 0, 0.25, len(final) - 1))
                    following.append(len(final) - 1)
        layer = following
    src, ilabel, olabel, weight, dst = zip(*rows, strict=True)
    return FstArrays(0, np.array(final, np.float32), np.array(src, np.int32), np.array(ilabel, np.int32),
                     np.array(olabel, np.int32), np.array(weight, np.float32), np.array(dst, np.int32))


@pytest.mark.parametrize("seed", range(5))
def test_the_result_for_an_acyclic_graph_is_minimal(seed):
    tree = a_tree(np.random.default_rng(seed))
    theirs = tree.to_fst()
    kaldifst.minimize_encoded(theirs)
    ours = merge_states(tree)
    assert len(ours.final) == theirs.num_states < len(tree.final) / 3
    assert fst_relation(ours, 5) == fst_relation(tree, 5)


def test_costs_are_equal_within_the_resolution():
    def two(cost):
        return FstArrays(0, np.array([np.inf, 0, 0], np.float32), np.zeros(2, np.int32), np.array([1, 2], np.int32),
                         np.zeros(2, np.int32), np.array([0.5, cost], np.float32), np.array([1, 2], np.int32))
    assert len(merge_states(two(0.5)).final) == 2
    fork = FstArrays(0, np.array([np.inf, np.inf, np.inf, 0], np.float32), np.array([0, 0, 1, 2], np.int32),
                     np.array([1, 2, 1, 1], np.int32), np.zeros(4, np.int32), np.zeros(4, np.float32),
                     np.array([1, 2, 3, 3], np.int32))
    for cost, states in ((0.0002, 3), (0.01, 4)):
        fork.weight[3] = cost
        assert len(merge_states(fork).final) == states


def test_graphs_that_do_not_fit_the_model_or_have_epsilon_cycles_are_errors():
    fst = random_graph(0)
    with pytest.raises(UserError, match="transition-id 3, the model only 2"):
        epsilon_free(fst, np.array([0, 0, 1]))
    fst.ilabel[:] = 0
    fst.src, fst.dst = np.array([0, 1], np.int32), np.array([1, 0], np.int32)
    fst.ilabel, fst.olabel, fst.weight = (x[:2] for x in (fst.ilabel, fst.olabel, fst.weight))
    with pytest.raises(UserError, match="state 0 is on a cycle of epsilons"):
        epsilon_free(fst, np.arange(4))
    n = 3000  # epsilons from each of n states into one, from which n arcs go
    src = np.concatenate([np.zeros(n), np.arange(1, n + 1), np.full(n, n + 1)]).astype(np.int32)
    dst = np.concatenate([np.arange(1, n + 1), np.full(n, n + 1), np.zeros(n)]).astype(np.int32)
    label = np.repeat(np.array([1, 0, 1], np.int32), n)
    star = FstArrays(0, np.zeros(n + 2, np.float32), src, label, label, np.zeros(3 * n, np.float32), dst)
    with pytest.raises(UserError, match="9,000 arcs would become 9,009,001"):
        epsilon_free(star, np.arange(4))
    none = random_graph(1)
    none.final[:] = np.inf
    with pytest.raises(UserError, match="no path"):
        epsilon_free(none, np.array([0, 0, 1, 2]))
