"""The compiled search with a beam, compared with the exact search in PyTorch and with a search of all paths."""

import math

import numpy as np
import pytest
import torch
from helpers.known_gaussians import aligned
from helpers.random_hmms import exhaustive_alignment, random_lang, random_transitions, random_tree, reordered
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lstmp import native
from lstmp.gmm.align import read_alignment
from lstmp.gmm.beam_align import BeamAligner, search
from lstmp.gmm.diag import DiagGmms
from lstmp.gmm.training_graph import GraphCompiler
from lstmp.gmm.viterbi import align_batch

needs_compiler = pytest.mark.skipif(search() is None, reason="no C++ compiler")


def random_gmms(num_pdfs, dim, rng) -> DiagGmms:
    sizes = rng.integers(1, 5, num_pdfs)
    total = int(sizes.sum())
    weights = np.concatenate([rng.dirichlet(np.ones(n)) for n in sizes])
    return DiagGmms(torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)])), torch.from_numpy(weights).float(),
                    torch.from_numpy(rng.normal(size=(total, dim))).float(),
                    torch.from_numpy(rng.uniform(0.5, 2, (total, dim))).float())


def small_system(seed, width=3):
    rng = np.random.default_rng(seed)
    lang = random_lang(rng)
    tree = random_tree(lang, rng, width)
    return rng, lang, tree, random_transitions(lang, tree, rng)


def scores_of(gmms, boost, scale, feats):
    return (gmms.loglikes(feats) + boost) * scale


@needs_compiler
@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(1, 7), st.sampled_from([1, 3]))
@settings(max_examples=60, deadline=None)
def test_the_result_without_a_beam_equals_brute_force(seed, num_words, frames, width):
    rng, lang, tree, transitions = small_system(seed, width)
    words = rng.integers(1, 4, num_words).tolist()
    gmms, boost = random_gmms(tree.num_pdfs, 3, rng), torch.from_numpy(rng.normal(size=tree.num_pdfs)).float()
    feats = torch.from_numpy(rng.normal(size=(frames, 3))).float()
    log_prob = transitions.graph_log_probs(1.0, 0.3).numpy()
    found = BeamAligner(gmms, boost, 0.7, log_prob)(GraphCompiler(lang, tree, transitions).compile(words), feats,
                                                    math.inf)
    scores = scores_of(gmms, boost, 0.7, feats).numpy()
    expected = exhaustive_alignment(lang, tree, transitions, words, scores, 1.0, 0.3)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found[1] == pytest.approx(expected[0], abs=1e-3)
        assert found[0].tolist() in [reordered(path, transitions) for path in expected[1]]
        pdfs = transitions.tid_pdf.numpy()[found[0]]
        assert found[2] == pytest.approx(float(scores[np.arange(frames), pdfs].sum()), abs=1e-3)


@needs_compiler
@given(st.integers(0, 10**6), st.integers(2, 12), st.floats(0.5, 40))
@settings(max_examples=60, deadline=None)
def test_a_narrow_beam_never_scores_better_and_a_wide_beam_finds_the_best_path(seed, num_words, beam):
    rng, lang, tree, transitions = small_system(seed)
    graph = GraphCompiler(lang, tree, transitions).compile(rng.integers(1, 4, num_words).tolist())
    frames = graph.min_frames + int(rng.integers(0, 60))
    gmms, boost = random_gmms(tree.num_pdfs, 3, rng), torch.zeros(tree.num_pdfs)
    feats = torch.from_numpy(3 * rng.normal(size=(frames, 3))).float()
    log_prob = transitions.graph_log_probs(1.0, 0.3).numpy()
    (exact,) = align_batch([graph], [scores_of(gmms, boost, 0.5, feats)[:, graph.distinct_pdfs]], log_prob)
    aligner = BeamAligner(gmms, boost, 0.5, log_prob)
    assert aligner(graph, feats, 1e6)[1] == pytest.approx(exact[1], rel=1e-4)
    found = aligner(graph, feats, beam)
    from_loglikes = BeamAligner(None, boost, 0.5, log_prob)(graph, gmms.loglikes(feats), beam)
    assert (from_loglikes is None) == (found is None)
    assume(found is not None)
    assert from_loglikes[1] == pytest.approx(found[1], rel=1e-4)
    assert found[1] <= exact[1] + 1e-3 * abs(exact[1])
    assert len(found[0]) == frames


@needs_compiler
def test_utterances_that_fail_are_aligned_again_with_the_retry_beam(toy, mono_dir, tmp_path):
    """With a very narrow beam some utterances fail; these, and only these, get the alignment of the retry beam."""
    found = {}
    for name, beams in (("lost", (0.5, 0.5)), ("retried", (0.5, 500.0)), ("exact", (0.0, 0.0))):
        conf = toy.write("align", beam=beams[0], retry_beam=beams[1], max_failed=1.0)
        found[name] = read_alignment(aligned(toy, mono_dir, tmp_path / name, conf=conf))
    lost = set(found["exact"]) - set(found["lost"])
    assert lost and set(found["lost"]) and set(found["retried"]) == set(found["exact"])
    assert all(np.array_equal(found["retried"][u], found["exact"][u]) for u in lost)
    assert all(np.array_equal(found["retried"][u], found["lost"][u]) for u in found["lost"])
    assert "no path within the beam 0.5" in (tmp_path / "lost" / "failed.txt").read_text()


def test_without_a_compiler_the_result_is_the_same(toy, mono_dir, ali_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LSTMP_NATIVE", "0")
    native.library.cache_clear()
    try:
        assert not BeamAligner.available("cpu")
        out = aligned(toy, mono_dir, tmp_path / "ali")
    finally:
        native.library.cache_clear()
    assert (out / "ali.ark").read_bytes() == (ali_dir / "ali.ark").read_bytes()
    likes = [np.array([float(x.split()[1]) for x in (d / "utt2like").read_text().splitlines()]) for d in (out, ali_dir)]
    np.testing.assert_allclose(*likes, atol=2e-3)
