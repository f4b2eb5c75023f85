"""Long recordings are cut in their pauses, and no sample is lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmp.errors import UserError
from lstmp.transcribe.pauses import CutConfig, cuts

CFG = CutConfig(min_seconds=5.0, max_seconds=20.0, pause_seconds=0.3)


@settings(max_examples=30, deadline=None)
@given(seconds=st.floats(0, 90), seed=st.integers(0, 1000))
def test_pieces_have_no_gaps_and_the_configured_lengths(seconds, seed):
    samples = (1000 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))).astype(np.float32)
    found = cuts(samples, CFG)
    assert found[0][0] == 0 and found[-1][1] == len(samples)
    assert all(a[1] == b[0] for a, b in zip(found[:-1], found[1:], strict=True))
    assert all(end - begin <= 20.01 * 16000 for begin, end in found)
    assert all(end - begin >= 5 * 16000 for begin, end in found[:-1])


def test_cuts_are_in_the_pauses():
    rng, parts, pauses, end = np.random.default_rng(0), [], [], 0
    for _ in range(12):
        speech = 2000 * rng.standard_normal(rng.integers(4 * 16000, 8 * 16000))
        pause = 5 * rng.standard_normal(8000)
        end += len(speech)
        pauses.append((end, end + 8000))
        end += 8000
        parts += [speech, pause]
    found = cuts(np.concatenate(parts).astype(np.float32), CFG)
    assert len(found) >= 4
    for _, cut in found[:-1]:
        assert any(a + 2000 <= cut <= b - 2000 for a, b in pauses)


def test_a_maximum_below_twice_the_minimum_is_an_error():
    with pytest.raises(UserError, match="twice min_seconds"):
        CutConfig(5.0, 8.0, 0.3)
