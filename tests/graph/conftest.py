"""Lets the tests of this folder import small_world."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def folder(made, tmp_path):
    """A copy, to be spoiled, of what the test file's own ``made`` has made."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"
