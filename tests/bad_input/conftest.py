"""Gives each test a copy of the small experiment."""

import shutil

import pytest
from helpers import small_experiment


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(folder that tests work in, unchanged copy of it); the files contain paths of the first one."""
    folder = tmp_path_factory.mktemp("bad_input")
    small_experiment.build(folder / "damaged")
    shutil.copytree(folder / "damaged", folder / "untouched", symlinks=True)
    return folder / "damaged", folder / "untouched"


@pytest.fixture
def root(made, monkeypatch):
    """The folder of the experiment, restored, as the working directory."""
    folder, untouched = made
    shutil.rmtree(folder)
    shutil.copytree(untouched, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder
