"""Epsilon removal, weight pushing and self-loops on random FSTs."""

import math

import kaldifst
import numpy as np
import pytest
from helpers.small_recognizer import random_transitions, random_tree, small_lang

from lstmp.corpus.fst import FstArrays
from lstmp.graph.epsilon import remove_epsilon_locally
from lstmp.graph.push import TOLERANCE, push_special
from lstmp.graph.self_loops import add_self_loops


def random_fst(seed: int, num_states: int = 12, num_arcs: int = 30, epsilons: float = 0.5) -> FstArrays:
    """A connected FST without cycles: arcs lead to higher states. A share of about ``epsilons`` of the arcs has epsilon
    on both sides."""
    rng = np.random.default_rng(seed)
    src = np.sort(rng.integers(0, num_states - 1, num_arcs))
    dst = rng.integers(src + 1, num_states)
    ilabel, olabel = rng.integers(1, 5, num_arcs), rng.integers(0, 3, num_arcs)
    silent = rng.random(num_arcs) < epsilons
    ilabel[silent] = olabel[silent] = 0
    final = np.where(rng.random(num_states) < 0.3, rng.random(num_states), np.inf)
    final[-1] = 0.5
    fst = FstArrays(0, final.astype(np.float32), src, ilabel, olabel, rng.normal(1, 1, num_arcs), dst).to_fst()
    kaldifst.connect(fst)
    return FstArrays.of(fst)


def relation(fst: FstArrays) -> dict:
    """(input labels, output labels) → lowest cost, by enumeration of all paths."""
    best: dict = {}
    todo = [(fst.start, (), (), 0.0)]
    while todo:
        state, inputs, outputs, cost = todo.pop()
        if np.isfinite(fst.final[state]):
            total = cost + float(fst.final[state])
            best[inputs, outputs] = min(total, best.get((inputs, outputs), math.inf))
        for a in np.flatnonzero(fst.src == state):
            todo.append((fst.dst[a], inputs + (int(fst.ilabel[a]),) * bool(fst.ilabel[a]),
                         outputs + (int(fst.olabel[a]),) * bool(fst.olabel[a]), cost + float(fst.weight[a])))
    return best


@pytest.mark.parametrize("seed", range(30))
def test_epsilon_removal_keeps_the_relation(seed):
    before = random_fst(seed)
    after = remove_epsilon_locally(before)
    assert relation(after) == {k: pytest.approx(v, abs=1e-4) for k, v in relation(before).items()}
    assert len(after.src) <= len(before.src)


def test_epsilon_removal_removes_arcs_and_adds_none():
    removed = [len(fst.src) - len(remove_epsilon_locally(fst).src) for fst in map(random_fst, range(30))]
    assert sum(removed) > 30 and min(removed) >= 0


@pytest.mark.parametrize("seed", range(10))
def test_pushing_keeps_paths_and_equalizes_the_totals_of_states(seed):
    before = random_fst(seed, epsilons=0.1)
    after, spread = push_special(before)
    assert spread < TOLERANCE
    assert relation(after) == {k: pytest.approx(v, abs=1e-4) for k, v in relation(before).items()}
    total = np.bincount(after.src, np.exp(-after.weight.astype(float)), len(after.final)) + np.exp(-after.final)
    assert np.ptp(np.log(total)) < TOLERANCE + 1e-4
    total = np.bincount(before.src, np.exp(-before.weight.astype(float)), len(before.final)) + np.exp(-before.final)
    assert np.ptp(np.log(total)) > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_self_loops_follow_only_their_own_hmm_state(tmp_path, seed):
    """A transition-id is followed only by the self-loop of its HMM state and by arcs with the cost of leaving it."""
    lang, _ = small_lang(tmp_path)
    rng = np.random.default_rng(seed)
    transitions = random_transitions(lang, random_tree(lang, 3, 1, rng), rng)
    forward = np.flatnonzero(~transitions.is_self_loop.numpy())[1:]
    before = random_fst(seed, num_arcs=60)
    before.ilabel = np.where(before.ilabel > 0, forward[rng.integers(0, 6, len(before.src))], 0)
    after = add_self_loops(before, transitions, scale=0.3)
    assert (np.diff(after.src) >= 0).all()
    of_tuple, loops = transitions.tid_tuple.numpy(), transitions.is_self_loop.numpy()
    entered: dict[int, set] = {after.start: {None}}
    for a in range(len(after.src)):
        if after.src[a] != after.dst[a]:
            entered.setdefault(after.dst[a], set()).add(of_tuple[after.ilabel[a]] if after.ilabel[a] else None)
    assert all(len(tuples) == 1 for tuples in entered.values())
    looped = {int(after.src[a]): int(after.ilabel[a]) for a in range(len(after.src)) if after.src[a] == after.dst[a]}
    for state, (only,) in entered.items():
        assert (only is None) == (state not in looped)
        if only is not None:
            assert loops[looped[state]] and of_tuple[looped[state]] == only

    def leaving(tid):
        return -0.3 * transitions.non_self_loop_log_prob(int(of_tuple[tid]))

    acyclic = after.src != after.dst
    plain = FstArrays(after.start, after.final, *(x[acyclic] for x in (after.src, after.ilabel, after.olabel,
                                                                       after.weight, after.dst)))
    expected = {(inputs, outputs): cost + sum(map(leaving, inputs))
                for (inputs, outputs), cost in relation(before).items()}
    assert relation(plain) == {k: pytest.approx(v, abs=1e-4) for k, v in expected.items()}
    for a in np.flatnonzero(~acyclic):
        assert after.weight[a] == pytest.approx(-0.3 * float(transitions.log_prob[after.ilabel[a]]), abs=1e-5)
