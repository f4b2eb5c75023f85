"""Statistics for the tree, tree growing, and conversion of alignments to another tree."""

import dataclasses
import types

import numpy as np
import pytest
import torch
from helpers.random_hmms import SIL, random_lang, random_path, random_transitions, random_tree, reordered, window_at

from lstmp.errors import UserError
from lstmp.gmm import tree_stats
from lstmp.gmm.align import segments
from lstmp.gmm.build_tree import TreeConfig, build, cluster_questions
from lstmp.gmm.transition import TransitionModel
from lstmp.gmm.tree import monophone_tree
from lstmp.gmm.tree_stats import TreeStats, accumulate, convert_alignment, log_likelihood

CFG = TreeConfig(max_leaves=40, min_gain=20.0, merge=True, refine_iters=5, question_pdf_class=1)
DIM = 2


def corpus(seed, utts=25):
    """Random alignments of a monophone model, and features that depend on phone, state and left neighbour."""
    rng = np.random.default_rng(seed)
    lang = random_lang(rng, states=(3,), phones=6)
    lang = dataclasses.replace(lang, sets=[[SIL], [2, 3], [4], [5], [6], [7]], extra_questions=[[4, 7]],
                               roots=[(False, False, [SIL]), (True, True, [2, 3]),
                                      *[(False, True, [p]) for p in (4, 5, 6, 7)]])
    tree = monophone_tree(lang.sets, lang.topology)
    transitions = TransitionModel.from_tree(lang.topology, tree, lang.silence + lang.nonsilence)
    means = rng.normal(0, 2, (8, 5, DIM)), rng.normal(0, 2, (8, DIM))
    alignment, feats, said = {}, {}, {}
    for u in range(utts):
        phones = [SIL, *rng.choice([SIL, 2, 3, 4, 5, 6, 7], 12).tolist(), SIL]
        walks = random_path(phones, transitions, tree, rng)
        alignment[f"u{u:02d}"] = np.array(reordered(sum(walks, []), transitions), dtype=np.int32)
        said[f"u{u:02d}"] = phones, [len(w) for w in walks]
        index = np.repeat(np.arange(len(phones)), [len(w) for w in walks])
        state = transitions.tid_state.numpy()[alignment[f"u{u:02d}"]]
        left = np.array([0, *phones])[index]
        x = means[0][np.array(phones)[index], state] + means[1][left] + rng.normal(0, 1, (len(index), DIM))
        feats[f"u{u:02d}"] = x.astype(np.float32)
    return lang, transitions, alignment, feats, said


def gathered(seed):
    lang, transitions, alignment, feats, said = corpus(seed)
    utts = list(alignment)
    shard = types.SimpleNamespace(alignment=alignment, dim=DIM, blocks=lambda: [utts[:9], utts[9:10], utts[10:]],
                                  feats=types.SimpleNamespace(
                                      read=lambda block: [(u, torch.from_numpy(feats[u])) for u in block]))
    return lang, transitions, alignment, feats, said, accumulate(shard, transitions, {SIL})


@pytest.mark.parametrize("seed", range(3))
def test_statistics_are_the_sums_over_the_frames(seed):
    lang, transitions, alignment, feats, said, stats = gathered(seed)
    direct: dict = {}
    for utt, (phones, lengths) in said.items():
        at = 0
        for i, length in enumerate(lengths):
            left, right = phones[i - 1] if i else 0, phones[i + 1] if i + 1 < len(phones) else 0
            for t in range(at, at + length):
                state = int(transitions.tid_state[int(alignment[utt][t])])
                key = (0, SIL, 0, state) if phones[i] == SIL else (left, phones[i], right, state)
                x = feats[utt][t].astype(np.float64)
                direct[key] = direct.get(key, 0) + np.concatenate([[1], x, x * x])
            at += length
    assert [tuple(e) for e in stats.events.tolist()] == sorted(direct)
    np.testing.assert_allclose(stats.moments, [direct[k] for k in sorted(direct)], rtol=1e-9)


def test_the_likelihood_is_that_of_the_maximum_likelihood_gaussian():
    x = np.random.default_rng(0).normal(3, 2, (50, DIM))
    moments = np.concatenate([[50], x.sum(0), (x * x).sum(0)])
    variance = x.var(0)
    expected = (-0.5 * (np.log(2 * np.pi * variance) + (x - x.mean(0)) ** 2 / variance)).sum()
    assert log_likelihood(moments) == pytest.approx(expected)
    assert log_likelihood(np.zeros((2, 5))).tolist() == [0, 0]


def below(node, rows, stats):
    """Yield (node, rows of its events) for all nodes of a tree, from the root."""
    yield node, rows
    if node.then is not None:
        column = {-1: 3, 0: 0, 1: 1, 2: 2}[node.key]
        yes = np.isin(stats.events[rows, column], list(node.yes))
        yield from below(node.then, rows[yes], stats)
        yield from below(node.otherwise, rows[~yes], stats)


def rows_of(tree, root, stats):
    return np.array([i for i, e in enumerate(stats.events.tolist()) if tree.roots[e[1], e[3]] is root], dtype=int)


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_trees_satisfy_their_configuration_and_silence_is_not_split(seed, merge):
    lang, _, _, _, _, stats = gathered(seed)
    for max_leaves, min_gain in ((40, 20.0), (24, 0.0), (1000, 40.0)):
        cfg = dataclasses.replace(CFG, merge=merge, max_leaves=max_leaves, min_gain=min_gain)
        tree, moments = build(stats, lang, cfg)
        leaves = [leaf for root in tree.distinct_roots() for leaf in root.leaves()]
        assert len(leaves) <= max_leaves and sorted({leaf.pdf for leaf in leaves}) == list(range(tree.num_pdfs))
        assert tree.num_pdfs <= len(leaves) if merge else tree.num_pdfs == len(leaves)
        roots = tree.distinct_roots()
        assert len(roots) == 5 + 1 + 4 * 3  # states of silence; phones 2 and 3 share a root; states of other phones
        smallest, total, gained = np.inf, 0.0, 0.0
        for root in roots:
            rows = rows_of(tree, root, stats)
            total += log_likelihood(stats.moments[rows].sum(0))
            for node, mine in below(root, rows, stats):
                if node.then is None:
                    continue
                parts = {id(n): r for n, r in below(node, mine, stats)}
                gain = sum(log_likelihood(stats.moments[parts[id(n)]].sum(0)) for n in (node.then, node.otherwise))
                gain -= log_likelihood(stats.moments[mine].sum(0))
                assert gain > min_gain and min(len(parts[id(node.then)]), len(parts[id(node.otherwise)])) > 0
                smallest, gained = min(smallest, gain), gained + gain
        assert gained > 0
        # for each pdf that it saves, merging loses less than the last split gained
        assert log_likelihood(moments).sum() > total + gained - (len(leaves) - tree.num_pdfs + 1e-6) * max(smallest, 1)
        assert all(tree.roots[SIL, c].then is None for c in range(5))
        assert tree.roots[2, 0] is tree.roots[3, 2] and tree.roots[4, 0] is not tree.roots[4, 1]
        owner = {}
        for root in roots:
            for leaf in root.leaves():
                assert owner.setdefault(leaf.pdf, root) is root  # no pdf is shared by two roots
        summed = np.zeros_like(moments)
        for event, row in zip(stats.events.tolist(), stats.moments, strict=True):
            summed[tree.pdf(tuple(event[:3]), event[3])] += row
        np.testing.assert_allclose(moments, summed, rtol=1e-9, atol=1e-9)
        assert (build(stats, lang, cfg)[1] == moments).all()


def test_the_first_split_is_the_best_question():
    """With one split allowed and no refinement, the split is the one that a search over all questions finds."""
    lang, _, _, _, _, stats = gathered(0)
    cfg = dataclasses.replace(CFG, max_leaves=19, min_gain=0.0, refine_iters=0, merge=False)
    tree, _ = build(stats, lang, cfg)
    (chosen,) = [root for root in tree.distinct_roots() if root.then is not None]
    questions = {frozenset(q) for q in cluster_questions(stats, lang.sets, 1)} | {frozenset([4, 7])}
    gains = {}
    for root in tree.distinct_roots():
        rows = rows_of(tree, root, stats)
        if stats.events[rows[0], 1] == SIL:
            continue
        for key, column, sets in [(k, k, questions) for k in range(3)] + [(-1, 3, [{0}, {0, 1}])]:
            for question in sets:
                yes = np.isin(stats.events[rows, column], list(question))
                if yes.any() and not yes.all():
                    parts = [log_likelihood(stats.moments[rows[y]].sum(0)) for y in (yes, ~yes)]
                    gain = sum(parts) - log_likelihood(stats.moments[rows].sum(0))
                    gains[id(root), key] = max(gain, gains.get((id(root), key), 0.0))
    assert max(gains, key=gains.get) == (id(chosen), chosen.key)


def test_questions_include_every_phone_set_and_are_unions_of_sets():
    lang, _, _, _, _, stats = gathered(1)
    questions = cluster_questions(stats, lang.sets, 1)
    assert {frozenset(s) for s in lang.sets} <= set(questions) and len(questions) == len(set(questions))
    assert len(questions) > len(lang.sets)
    assert all(all(set(s) <= q or not set(s) & q for s in lang.sets) for q in questions)


def test_a_phone_set_without_data_is_still_a_question():
    lang, _, _, _, _, stats = gathered(1)
    seen = stats.events[:, 1] != 7
    few = TreeStats(stats.events[seen], stats.moments[seen])
    assert frozenset([7]) in cluster_questions(few, lang.sets, 1)
    tree, moments = build(few, lang, CFG)
    assert all(moments[tree.pdf((0, 7, 0), c), 0] == 0 for c in range(3))


def test_fewer_leaves_than_roots_is_an_error():
    lang, _, _, _, _, stats = gathered(0)
    with pytest.raises(UserError, match="`max_leaves` is 17, but the tree has 18 roots; raise max_leaves"):
        build(stats, lang, dataclasses.replace(CFG, max_leaves=17))


@pytest.mark.parametrize("seed", range(5))
def test_a_converted_alignment_keeps_phones_states_and_durations(seed):
    lang, old, alignment, _, said, _ = gathered(seed)
    rng = np.random.default_rng(seed)
    lang = dataclasses.replace(lang, lexicon={})
    tree = random_tree(lang, rng)
    new = random_transitions(lang, tree, rng)
    for utt, tids in alignment.items():
        converted = convert_alignment(tids, old, new, tree, {SIL})
        assert converted.dtype == np.int32 and segments(converted, new) == segments(tids, old)
        for name in ("tid_state", "tid_dest", "tid_phone"):
            assert (getattr(new, name)[converted.astype(int)] == getattr(old, name)[tids.astype(int)]).all()
        phones, lengths = said[utt]
        at = 0
        for i, length in enumerate(lengths):
            window = (0, SIL, 0) if phones[i] == SIL else window_at(phones, i, tree)
            for t in range(at, at + length):
                tid = int(converted[t])
                assert int(new.tid_pdf[tid]) == tree.pdf(window, int(new.tid_state[tid]))
            at += length


def test_an_empty_alignment_has_no_windows():
    lang, transitions, *_ = gathered(0)
    window, index = tree_stats.windows(np.zeros(0, dtype=np.int32), transitions, {SIL})
    assert len(window) == 0 and len(index) == 0
