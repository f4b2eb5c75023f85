"""Lets the tests of this folder import the modules beside them; models trained once for all of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from known_gaussians import aligned, make, mono, tri  # noqa: E402


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="session")
def mono_dir(world, tmp_path_factory):
    return mono(world, tmp_path_factory.mktemp("exp") / "mono")


@pytest.fixture(scope="session")
def ali_dir(world, mono_dir):
    return aligned(world, mono_dir, mono_dir.parent / "mono_ali")


@pytest.fixture(scope="session")
def tri_dir(world, ali_dir):
    return tri(world, ali_dir, ali_dir.parent / "tri1")
