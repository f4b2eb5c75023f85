"""A simulated machine for local/env.sh."""

import pytest
from helpers.other_machine import Machine


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)
