"""An alignment of toy data, and its conversion to states for LF-MMI, made once for all tests of this folder."""

import pytest
from helpers.known_gaussians import ali_dir, mono_dir, toy  # noqa: F401
from helpers.mmi_training import make_denominator

from lstmp.gmm import tie_states
from lstmp.graph.denominator import Denominator


@pytest.fixture(scope="session")
def states(toy, ali_dir, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("mmi") / "biphones"
    tie_states.main.__wrapped__(["--data", str(toy.data), "--lang", str(toy.lang), "--ali", str(ali_dir),
                                 "--out", str(out), "--config", str(toy.conf / "tri1.yaml"), "--leaves", "20",
                                 "--topology", "one_state", "--context", "left_biphone"])
    return out


@pytest.fixture(scope="session")
def denominator_dir(states):
    return make_denominator(states, states.parent / "denominator")


@pytest.fixture(scope="session")
def graph(denominator_dir):
    return Denominator.read(denominator_dir)
