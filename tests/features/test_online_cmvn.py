"""Online CMVN, compared with its definition frame by frame, and what is remembered of speakers."""

import kaldi_native_fbank as knf
import numpy as np
import pytest

from lstmp.errors import UserError
from lstmp.features.history import Heard, History
from lstmp.features.online_cmvn import OnlineCmvn, OnlineNormalization, mean_and_variance

MEAN, VARIANCE = np.array([10.0, -2.0, 0.5]), np.array([4.0, 0.25, 9.0])


def normalization(with_variance=False, window=20, speaker_frames=15, global_frames=6) -> OnlineNormalization:
    return OnlineNormalization(window, speaker_frames, global_frames, with_variance, MEAN, VARIANCE)


def frames(count: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(count, 3)) * [3, 1, 2] + [9, 0, 1]).astype(np.float32)


def slowly(how: OnlineNormalization, x: np.ndarray, earlier: np.ndarray | None = None) -> np.ndarray:
    """The definition: a weighted mean of the frames in the window, the speaker's frames and the training data."""
    out = []
    for t in range(len(x)):
        recent = x[max(0, t - how.window + 1):t + 1].astype(np.float64)
        sums, squares, weight = recent.sum(0), (recent**2).sum(0), float(len(recent))
        if earlier is not None and weight < how.window:
            share = min(how.window - weight, how.speaker_frames, len(earlier))
            sums += share * earlier.mean(0)
            squares += share * (earlier.astype(np.float64)**2).mean(0)
            weight += share
        if weight < how.window:
            share = min(how.window - weight, how.global_frames)
            sums, squares = sums + share * how.mean, squares + share * (how.variance + how.mean**2)
            weight += share
        mean = sums / weight
        variance = np.maximum(squares / weight - mean**2, 0.01 * how.variance)
        out.append((x[t] - mean) / (np.sqrt(variance) if how.with_variance else 1))
    return np.array(out)


@pytest.mark.parametrize("with_variance", [False, True])
@pytest.mark.parametrize("heard", [None, 1, 9, 400])
@pytest.mark.parametrize("sizes", [{}, {"window": 1}, {"window": 7, "global_frames": 100}, {"speaker_frames": 0}])
def test_it_is_its_definition(with_variance, heard, sizes):
    how, x = normalization(with_variance, **sizes), frames(70)
    earlier = None if heard is None else frames(heard, seed=1) + 4
    stats = None if earlier is None else knf.compute_cmvn_stats(earlier.astype(np.float32))
    found = OnlineCmvn(how, stats).accept(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, slowly(how, x, earlier), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cuts", [[1, 2, 3], [25, 26, 60], [19], [20], [21], [0, 0, 70]])
def test_the_division_of_the_frames_changes_no_bit(cuts):
    whole, parts, x = OnlineCmvn(normalization(True)), OnlineCmvn(normalization(True)), frames(70)
    found = np.concatenate([parts.accept(part) for part in np.split(x, cuts)])
    assert np.array_equal(found, whole.accept(x)) and np.array_equal(parts.speaker(), whole.speaker())


def test_memory_does_not_grow():
    cmvn = OnlineCmvn(normalization())
    for seed in range(50):
        cmvn.accept(frames(100, seed))
    assert len(cmvn._upto) == 21


def test_the_speaker_has_all_frames():
    first, second = frames(30), frames(40, seed=1)
    cmvn = OnlineCmvn(normalization())
    cmvn.accept(first)
    later = OnlineCmvn(normalization(), cmvn.speaker())
    later.accept(second)
    np.testing.assert_allclose(later.speaker(), knf.compute_cmvn_stats(np.concatenate([first, second])), rtol=1e-6)


def test_constant_frames_are_not_amplified():
    silence = np.full((100, 3), -15.0, np.float32)
    assert np.abs(OnlineCmvn(normalization(True)).accept(silence)[50:]).max() < 1e-3
    assert np.abs(OnlineCmvn(normalization(True)).accept(np.concatenate([silence, frames(1)]))).max() < 1e3


def test_moments_of_all_speakers():
    parts = [frames(30), frames(50, seed=1)]
    mean, variance = mean_and_variance(map(knf.compute_cmvn_stats, parts))
    np.testing.assert_allclose(mean, np.concatenate(parts).mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, np.concatenate(parts).var(0), rtol=1e-4)


def test_history():
    utts = {"b-1": "b", "a-3": "a", "a-1": "a", "a-2": "a", "a-4": "a"}
    features = {utt: frames(5 + n, seed=n) for n, utt in enumerate(utts)}
    heard = []

    def listen(utt: str, before: Heard | None) -> Heard:
        heard.append(utt)
        if utt == "a-2":
            raise UserError("damaged")
        return Heard(knf.compute_cmvn_stats(features[utt]) + (before.cmvn if before else 0))

    history = History(utts.items(), listen)
    for utt in ("a-1", "b-1"):
        assert history.before(utt) is history.pair(utt) is None
    for utt, all_before in (("a-4", ["a-1", "a-3"]), ("a-2", ["a-1"]), ("a-3", ["a-1"])):
        expected = knf.compute_cmvn_stats(np.concatenate([features[u] for u in all_before]))
        np.testing.assert_allclose(history.before(utt).cmvn, expected, rtol=1e-6)
    heard.clear()
    for utt in ("a-1", "a-2", "a-3", "a-4"):
        history.before(utt)
    assert heard.count("a-1") == heard.count("a-3") == 1  # in their order each is listened to once
    assert history.pair("a-3") is None
    np.testing.assert_array_equal(history.pair("a-2").cmvn, knf.compute_cmvn_stats(features["a-1"]))
    np.testing.assert_array_equal(history.pair("a-4").cmvn, knf.compute_cmvn_stats(features["a-3"]))
