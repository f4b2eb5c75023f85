"""A fixture for tests that change or damage files."""

import shutil

import pytest


@pytest.fixture
def folder(made, tmp_path):
    """A copy of the folder that the fixture ``made`` of the test file has made. The test may change it."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"
