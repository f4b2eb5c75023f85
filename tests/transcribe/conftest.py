"""Lets the tests of this folder import ``five_words`` beside them, and that ``small_world`` of the graphs' tests."""

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "graph")]

from five_words import babble, export_options, make_parts  # noqa: E402

from lstmp.corpus.audio import write_wav  # noqa: E402


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """What steps/export_model.sh takes."""
    return make_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="session")
def model(parts, tmp_path_factory):
    """An exported model."""
    from lstmp.transcribe.export import main

    out = tmp_path_factory.mktemp("models") / "five-words"
    main(export_options(parts, out))
    return out


@pytest.fixture
def recording(tmp_path):
    write_wav(tmp_path / "talk.wav", babble(9.0))
    return tmp_path / "talk.wav"
