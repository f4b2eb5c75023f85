"""A model of five words, and a recording for it."""

import pytest
from helpers.five_words import babble, export_options, make_parts

from lstmp.corpus.audio import write_wav


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """The parts that steps/export_model.sh exports."""
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
