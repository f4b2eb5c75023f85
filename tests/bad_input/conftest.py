"""Gives each test a copy of the small experiment."""

import shutil

import pytest
from helpers import world


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(folder that tests work in, unchanged copy of it); the files contain paths of the first one."""
    folder = tmp_path_factory.mktemp("bad_input")
    world.build(folder / "world")
    shutil.copytree(folder / "world", folder / "untouched", symlinks=True)
    return folder / "world", folder / "untouched"


@pytest.fixture
def root(made, monkeypatch):
    """The folder of the experiment, restored, as the working directory."""
    folder, untouched = made
    shutil.rmtree(folder)
    shutil.copytree(untouched, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder
