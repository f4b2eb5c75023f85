"""The notebook for teachers: it runs from top to bottom with what ./run.sh makes, and its outputs are small."""

import json
import re

import pytest
from helpers import ROOT
from helpers.notebook import execute

NOTEBOOK = ROOT / "docs/inside_a_network.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def shown(cells: list[dict]) -> list[list[str]]:
    """The kinds of output of each code cell."""
    return [[o["output_type"] for o in c["outputs"]] for c in cells if c["cell_type"] == "code"]


def test_its_outputs_are_stored_and_small():
    kinds = shown(CELLS)
    assert len(kinds) > 8 and all(kinds), "cd tests; python -m helpers.notebook ../docs/inside_a_network.ipynb"
    assert sum("display_data" in k for k in kinds) >= 7 and {x for k in kinds for x in k} == {"display_data", "stream"}
    assert NOTEBOOK.stat().st_size < 1_500_000
    assert len({c["id"] for c in CELLS}) == len(CELLS)


def test_it_runs(monkeypatch):
    """The pictures are those stored, up to rounding; here only their number is compared, and what is printed."""
    if not all((ROOT / f).exists() for f in ("exp/tiny/lstmp/final.safetensors", "models/tiny/model.json",
                                             "data/tiny/train_fbank/feats.scp")):
        pytest.skip("needs exp/tiny and models/tiny")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cells = execute(NOTEBOOK)
    assert shown(cells) == shown(CELLS)
    printed = "".join(line for c in cells for o in c.get("outputs", []) for line in o.get("text", []))
    accuracies = re.search(r"the delay of training, 5 frames: ([\d.]+) % of .*; without: ([\d.]+) %", printed)
    assert float(accuracies[1]) > 60 > 30 > float(accuracies[2])
    assert re.search(r"^clean +(.*) \(", printed, re.M)[1] == re.search(r"^said +(.*)$", printed, re.M)[1]
