"""After `kill -9` at random times and file changes, running the same command again gives the same bytes."""

import pytest
from kill.kill_run import campaign

KILLS = 10


@pytest.mark.slow
def test_killed_runs_end_with_the_same_files(tmp_path):
    state = campaign(tmp_path, KILLS, seed=9)
    assert state["changes"] > 500 and len(state["kills"]) == KILLS and not state["differ"]
