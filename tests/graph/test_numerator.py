"""Numerators of utterances and chunks, compared with all paths that the definition allows."""

import itertools

import numpy as np
import pytest
from helpers.small_denominators import SmallSystem, denominator_paths, numerator_paths
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.gmm.align import Segment
from lstmp.graph.numerator import Numerators

SYSTEMS = {(seed, width): SmallSystem(seed, width, chain=seed > 0) for seed in range(3) for width in (1, 2, 3)}


def allowed(segments, tolerance, subsampling, phase):
    """Every assignment of phones (by index) to output frames in which each phone is near its frames."""
    frames = segments[-1].start + segments[-1].length
    outputs = -(-(frames - phase) // subsampling)
    middle = [min(phase + subsampling * t + subsampling // 2, frames - 1) for t in range(outputs)]
    for path in itertools.product(range(len(segments)), repeat=outputs):
        complete = path[0] == 0 and path[-1] == len(segments) - 1 and set(np.diff(path).tolist()) <= {0, 1}
        if complete and all(s.start - tolerance <= middle[t] < s.start + s.length + tolerance
                            for t, s in enumerate(segments[k] for k in path)):
            yield path


def only_one(system, number, tolerance, subsampling=3, **lengths):
    numerators = Numerators(system.denominator, tolerance, subsampling)
    segments = system.aligned(number, **lengths)
    numerators.add("utt", segments)
    return numerators, segments


@given(st.integers(0, 2), st.sampled_from([1, 2, 3]), st.integers(0, 5), st.integers(0, 5), st.integers(1, 3),
       st.integers(0, 2), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_the_paths_of_an_utterance_are_those_near_its_alignment(seed, width, number, tolerance, subsampling, phase,
                                                                lengths):
    system = SYSTEMS[seed, width]
    numerators, segments = only_one(system, number, tolerance, subsampling, longest=2 * subsampling, seed=lengths)
    phase = min(phase, subsampling - 1, segments[-1].start + segments[-1].length - 1)
    outputs = numerators.frames("utt", phase)
    if len(segments) ** outputs > 1e5:
        return
    at_0 = any(True for _ in allowed(segments, tolerance, subsampling, 0))
    assert ("utt" in numerators.left_out) == (not at_0)
    expected, cut = set(allowed(segments, tolerance, subsampling, phase)), numerators.cut("utt", 0, outputs, phase)
    if at_0:
        assert (cut is None) == (not expected)
    if cut is not None:
        whole = cut[1]
        assert {path for path, _, _ in numerator_paths(whole)} == expected
        for k, t in itertools.product(range(len(segments)), range(whole.frames)):  # no limit is too wide
            assert (whole.first[k] <= t <= whole.last[k]) == any(path[t] == k for path in expected)


@given(st.integers(0, 2), st.sampled_from([1, 2, 3]), st.integers(0, 5), st.integers(0, 8), st.integers(1, 4),
       st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_paths_of_chunks_are_paths_of_the_denominator_with_the_same_weight(seed, width, number, first, frames, lengths):
    system = SYSTEMS[seed, width]
    numerators, _ = only_one(system, number, 4, longest=6, seed=lengths)
    cut = numerators.cut("utt", first, frames)
    assert (cut is None) == (first >= numerators.frames("utt"))
    if cut is None:
        return
    graph, (skipped, numerator) = system.denominator, cut
    assert skipped == 0 and numerator.frames == min(frames, numerators.frames("utt") - first)
    in_denominator: dict[tuple, float] = {}
    for pdfs, weight in denominator_paths(graph, numerator.frames):
        in_denominator[pdfs] = np.logaddexp(in_denominator.get(pdfs, -np.inf), weight)
    of_pdfs: dict[tuple, float] = {}
    for _, pdfs, weight in numerator_paths(numerator):
        of_pdfs[pdfs] = np.logaddexp(of_pdfs.get(pdfs, -np.inf), weight)
    assert of_pdfs
    for key, weight in of_pdfs.items():
        assert weight <= in_denominator[key] + 1e-6


@pytest.mark.parametrize("number", range(6))
def test_chunks_are_the_parts_of_the_utterance(number):
    """A path through the utterance is a path through each chunk; its weight is the product of theirs, where each chunk
    after the first begins with the probability of the state in which the one before it ends."""
    system = SYSTEMS[2, 2]
    numerators, segments = only_one(system, number, 3, subsampling=2, longest=4)
    whole = numerators.whole("utt")
    states = system.denominator.target[numerators._utterances["utt"].arcs]
    initial = system.denominator.initial[states]
    for size in range(1, whole.frames + 1):
        starts = range(0, whole.frames, size)
        parts = [numerators.cut("utt", start, size)[1] for start in starts]
        lows = [int(np.searchsorted(numerators._limits("utt", 0)[1], start)) for start in starts]
        for path, _, weight in numerator_paths(whole):
            total = 0.0
            for start, low, part in zip(starts, lows, parts, strict=True):
                ks = [k - low for k in path[start:start + size]]
                assert all(part.first[k] <= t <= part.last[k] for t, k in enumerate(ks))
                arcs = sum(part.enter[b] if b > a else part.stay[b] for a, b in itertools.pairwise(ks))
                if start == 0:
                    total += part.start[ks[0]] + arcs
                    continue
                entered = path[start - 1] < path[start]
                into = (part.enter if entered else part.stay)[ks[0]]
                begins = (part.start if entered else part.start_inside)[ks[0]]
                assert begins == pytest.approx(initial[path[start - 1]] + into)
                total += into + arcs
            assert total == pytest.approx(weight)


def test_frames_outside_the_utterance_do_not_count():
    numerators, _ = only_one(SYSTEMS[1, 2], 0, 5, shortest=5)
    frames, whole = numerators.frames("utt"), numerators.whole("utt")
    skipped, cut = numerators.cut("utt", -2, frames + 9)
    assert skipped == 2 and all(np.array_equal(x, vars(whole)[name]) for name, x in vars(cut).items())
    assert numerators.cut("utt", -2, 2) is None and numerators.cut("utt", frames, 3) is None
    assert numerators.cut("unknown", 0, 3) is None and numerators.whole("unknown") is None


def test_utterances_that_cannot_be_matched_are_named():
    system = SYSTEMS[0, 2]
    longest = max(system.sequences, key=len)
    numerators = Numerators(system.denominator, tolerance=20)
    numerators.add("fast", [Segment(p, t, 1) for t, p in enumerate(longest)])
    numerators.add("unheard", [Segment(p, 9 * t, 9) for t, p in enumerate([2, 2, 2])])
    numerators.add("empty", [])
    numerators.add("good", [Segment(p, 3 * t, 3) for t, p in enumerate(longest)])
    assert numerators.left_out == {
        "fast": f"its {len(longest)} phones cannot be matched in {-(-len(longest) // 3)} output frames",
        "unheard": "its phones are not a sequence of the phone language model", "empty": "it has no phones"}
    assert numerators.frames("good") == len(longest) and numerators.frames("fast") == 0
