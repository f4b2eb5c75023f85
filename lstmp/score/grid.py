"""The grid of LM weights (LMWT) and word insertion penalties (WIP) that decoding leaves: one file of hypotheses a cell.

``<decode dir>/scoring/<lmwt>_<wip>.txt``, as ``10_0.5.txt``. The cell is chosen on one set and used on all others.
"""

from pathlib import Path
from typing import NamedTuple

from lstmp.errors import UserError


class Cell(NamedTuple):
    """One setting of the two weights."""

    lmwt: float
    wip: float

    def __str__(self):
        return f"LMWT {self.lmwt:g}, WIP {self.wip:g}"


def read_grid(decode_dir) -> dict[Cell, Path]:
    """The cells of a decode dir and their files, sorted by weight and penalty.

    Raises:
        UserError: no hypotheses there, or a file whose name is not a cell.
    """
    folder = Path(decode_dir) / "scoring"
    files = sorted(folder.glob("[!.]*.txt")) if folder.is_dir() else []
    if not files:
        raise UserError("no hypotheses here", file=folder, hint="decode this set first (stage 10)")
    cells = {}
    for path in files:
        try:
            lmwt, wip = map(float, path.stem.split("_"))
        except ValueError:
            raise UserError("not named <LM weight>_<insertion penalty>.txt", file=path, hint="delete it") from None
        cells[Cell(lmwt, wip)] = path
    return dict(sorted(cells.items()))


def choose(wers: dict[Cell, float]) -> Cell:
    """The cell with the lowest word error rate; among equals the lower penalty, then the lower LM weight."""
    return min(wers, key=lambda cell: (wers[cell], cell.wip, cell.lmwt))
