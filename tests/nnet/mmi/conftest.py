"""An alignment of toy data, and its conversion to states for LF-MMI, made once for all tests of this folder."""

import pytest
from helpers.known_gaussians import ali_dir, mono_dir, toy  # noqa: F401
from helpers.mmi_training import denominator_dir, states  # noqa: F401

from lstmp.graph.denominator import Denominator


@pytest.fixture(scope="session")
def graph(denominator_dir):  # noqa: F811
    return Denominator.read(denominator_dir)
