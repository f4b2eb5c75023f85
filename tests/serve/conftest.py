"""A server with a model of five words."""

import numpy as np
import pytest
from helpers.client import Running
from helpers.five_words import babble, export_options, make_parts

from lstmp.transcribe.export import main
from lstmp.transcribe.recognizer import Recognizer


@pytest.fixture(scope="session")
def recognizer(tmp_path_factory):
    out = tmp_path_factory.mktemp("served") / "five-words"
    main(export_options(make_parts(tmp_path_factory.mktemp("served-parts")), out))
    return Recognizer(out)


@pytest.fixture(scope="session")
def running(recognizer):
    server = Running(recognizer)
    yield server
    server.close()


@pytest.fixture(scope="session")
def speech():
    """Nine seconds, floats in ±1 at 16 kHz, as 16-bit numbers have them."""
    return np.round(babble(9.0)) / 32768
