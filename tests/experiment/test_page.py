"""The page of runs whose results are known, made without training."""

import json
import re

import pytest

from lstmp.corpus.datadir import Utterance, write_data_dir
from lstmp.experiment import page
from lstmp.experiment.plan import load
from lstmp.experiment.run import folders, mark

WORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE"]
ERRORS = {("small", 1): 30, ("small", 2): 32, ("large", 1): 20, ("large", 2): 21, ("once", 3): 10}  # of 500 words


@pytest.fixture
def finished(grid_world):
    """The grid of known results: every run's records, and hypotheses with so many words wrong."""
    dev = grid_world.path / "dev"
    utts = [f"a-{n:03d}" for n in range(100)]
    write_data_dir(dev, [Utterance(u, "a", f"{u}.wav", tuple(WORDS)) for u in utts])
    source = {**grid_world.values["sources"]["tied"], "decode": {"dev": str(dev)}, "graph": str(grid_world.path / "g")}
    grid = load(grid_world.write(sets=["dev"], baseline="small", sources={"tied": source}, claims=[
        {"text": "Larger is better.", "comparisons": [{"first": "large", "second": "small", "measure": "wer"},
                                                      {"first": "large", "second": "small", "measure": "early"}]}]))
    for run in grid.runs():
        wrong, folder = ERRORS[run.network, run.seed], folders(grid, run)["dev"]
        folder.mkdir(parents=True)
        hyps = [["OH"] * (n < wrong) + WORDS[n < wrong:] for n in range(100)]
        (folder / "best.txt").write_text("".join(f"{u} {' '.join(h)}\n" for u, h in zip(utts, hyps, strict=True)))
        (folder / "score.json").write_text(json.dumps({"wer": wrong / 5}))
        accuracy = 0.6 - wrong / 1000
        record = {"num_pdfs": 5, "params": 1000 * run.config.cells, "cpu_minutes": 3.0, "minutes": 2.0,
                  "frame_accuracy_train": 0.7,
                  "frame_accuracy_valid": accuracy,
                  "epochs": [{"accuracy_valid": accuracy - 0.1, "cpu_seconds": 60}, {"accuracy_valid": accuracy,
                                                                                 "cpu_seconds": 60}]}
        (run.folder / "train.json").write_text(json.dumps(record))
        mark(grid, run).mark([run.folder / "train.json", folder / "score.json"])
    return grid_world


def cells(text: str, name: str) -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [c.strip() for c in row.strip("|").split("|")]


def test_means_deviations_and_the_difference_from_the_baseline(finished):
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    small, large, once = (cells(text, n) for n in ("small", "large", "once"))
    assert small[9] == "56.90 ± 0.14" and small[11] == "6.20 ± 0.28" and small[12] == "–"
    assert large[11] == "4.10 ± 0.14" and large[12].startswith("-2.10 [")
    assert once[11] == "2.00" and re.fullmatch(r"-4\.20 \[-\d\.\d\d, -\d\.\d\d\]", once[12])
    assert "0.2 core hours" in text  # five runs of three minutes


def test_the_claim_is_judged_by_errors_and_accuracy(finished):
    page.main([str(finished.file)])
    made = json.loads((finished.path / "page/results.json").read_text())
    wer, early = made["claims"][0]["comparisons"]
    assert wer["difference"] == pytest.approx(-2.1) and early["difference"] == pytest.approx(1.05)
    assert wer["interval"][0] < wer["difference"] < wer["interval"][1] < 0 and wer["verdict"] == "holds"
    text = (finished.path / "page/README.md").read_text()
    row = cells(text, "large better than small: WER")
    assert row[1] == "-2.10" and re.fullmatch(r"\[-\d\.\d\d, -\d\.\d\d\]", row[2]) and row[4] == "holds"


def test_pictures_show_every_network(finished):
    page.main([str(finished.file)])
    for name in ("learning.png", "size.png"):
        assert (finished.path / "page" / name).stat().st_size > 5000
        assert f"]({name})" in (finished.path / "page/README.md").read_text()


def test_a_network_whose_results_are_stale_is_left_out(finished):
    path = finished.path / "exp/large/seed2/train.json"
    path.write_text(path.read_text() + "\n")
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    assert "| large |" not in text and "not yet run: large" in text and "3 of 5 runs" in text
