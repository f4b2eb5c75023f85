"""Fixtures for several tests: the corpus pack of real speech, if there is one."""

import os
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from hypothesis import settings

# The same examples in every run; HYPOTHESIS_PROFILE=random tries new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(scope="session")
def corpus_pack() -> Path:
    """The folder of the corpus pack (``LibriSpeech/`` and ``lm/``), named by LSTMP_CORPUS; skips without it."""
    place = os.environ.get("LSTMP_CORPUS") or ROOT.parent / "shared" / "corpus"
    place = Path(place)
    if not (place / "LibriSpeech").is_dir():
        pytest.skip("no corpus pack: set LSTMP_CORPUS to its folder")
    return place


@pytest.fixture(autouse=True)
def denormals_not_flushed():
    """Commands make the processor flush denormals; this must not affect the next test."""
    torch.set_flush_denormal(False)
