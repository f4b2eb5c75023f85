"""The grid of LM weights and word insertion penalties, and the choice of its best cell."""

import pytest

from lstmp.errors import UserError
from lstmp.score.grid import Cell, choose, read_grid


def test_cells_are_sorted_numerically(tmp_path):
    (tmp_path / "scoring").mkdir()
    for name in ("10_0.0.txt", "9_0.5.txt", "9_0.0.txt", ".10_1.0.txt.12.tmp", ".9_1.txt"):
        (tmp_path / "scoring" / name).touch()
    assert list(read_grid(tmp_path)) == [Cell(9, 0), Cell(9, 0.5), Cell(10, 0)]


def test_the_lowest_error_rate_is_chosen_and_ties_are_resolved():
    wers = {Cell(8, 0.0): 30.0, Cell(9, 0.5): 20.0, Cell(10, 0.0): 20.0, Cell(11, 0.0): 20.0, Cell(7, 1.0): 20.0}
    assert choose(wers) == Cell(10, 0.0)
    assert choose(dict(reversed(wers.items()))) == Cell(10, 0.0)


def test_a_missing_grid_and_other_files_are_errors(tmp_path):
    with pytest.raises(UserError, match="scoring: no hypotheses here; decode"):
        read_grid(tmp_path)
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring" / "notes.txt").touch()
    with pytest.raises(UserError, match="notes.txt: not named"):
        read_grid(tmp_path)
