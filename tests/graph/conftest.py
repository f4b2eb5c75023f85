"""A copy of what a test file has made, to be spoiled."""

import shutil

import pytest


@pytest.fixture
def folder(made, tmp_path):
    """A copy, to be spoiled, of what the test file's own ``made`` has made."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"
