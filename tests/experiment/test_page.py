"""The page of a grid, for runs with given results, without training."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lstmp.corpus.datadir import Utterance, write_data_dir
from lstmp.errors import UserError
from lstmp.experiment import costs, page
from lstmp.experiment.grid_file import load
from lstmp.experiment.pictures import _colors_of_networks
from lstmp.experiment.pictures import pictures as picture_names
from lstmp.experiment.records import ALIKE, folders, is_done, path, write
from lstmp.experiment.records import finished as records_of
from lstmp.experiment.tables import spearman_p
from lstmp.features.load import archives

WORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE"]
ERRORS = {("small", 1): 30, ("small", 2): 32, ("large", 1): 20, ("large", 2): 21, ("once", 3): 10}  # in 500 words


@pytest.fixture
def finished(toy_grid):
    """A grid with given results: the record of every run, and hypotheses with the errors of ERRORS."""
    dev = toy_grid.path / "dev"
    utts = [f"a-{n:03d}" for n in range(100)]
    write_data_dir(dev, [Utterance(u, "a", f"{u}.wav", tuple(WORDS)) for u in utts])
    (dev / "utt2num_frames").write_text("".join(f"{u} 50\n" for u in utts))
    (toy_grid.path / "g").mkdir()
    (toy_grid.path / "g/HCLG.k2.safetensors").write_bytes(b"a graph")
    source = {**toy_grid.values["sources"]["tied"], "decode": {"dev": str(dev)}, "graph": str(toy_grid.path / "g")}
    grid = load(toy_grid.write(sets=["dev"], baseline="small", sources={"tied": source}, claims=[
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
        write(grid, run)
    return toy_grid


def cells(text: str, name: str) -> list[str]:
    row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [c.strip() for c in row.strip("|").split("|")]


def test_the_table_has_means_deviations_and_differences_from_the_baseline(finished):
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    small, large, once = (cells(text, n) for n in ("small", "large", "once"))
    assert small[10] == "56.90 ± 0.14" and small[12] == "6.20 ± 0.28" and small[13] == "–"
    assert large[12] == "4.10 ± 0.14" and large[13].startswith("-2.10 [")
    assert once[12] == "2.00" and re.fullmatch(r"-4\.20 \[-\d\.\d\d, -\d\.\d\d\]", once[13])
    assert small[8] == "0.02" and small[14] == "2"  # learning rate, epochs
    assert "0.2 core hours" in text  # five runs of three minutes


def test_the_claim_is_decided_by_errors_and_accuracy(finished):
    page.main([str(finished.file)])
    made = json.loads((finished.path / "page/results.json").read_text())
    wer, early = made["claims"][0]["comparisons"]
    assert wer["difference"] == pytest.approx(-2.1) and early["difference"] == pytest.approx(1.05)
    assert wer["interval"][0] < wer["difference"] < wer["interval"][1] < 0 and wer["decision"] == "holds"
    text = (finished.path / "page/README.md").read_text()
    row = cells(text, "large better than small: WER")
    assert row[1] == "-2.10" and re.fullmatch(r"\[-\d\.\d\d, -\d\.\d\d\]", row[2]) and row[5] == "holds"
    assert float(row[3]) <= float(row[4]) < 0.05


def test_the_page_begins_with_the_verdicts(finished):
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    summary = text[text.index("## Verdicts"):text.index("## Networks")]
    assert text.index("## Networks") < text.index("## Comparisons")
    assert cells(summary, "1") == ["1", "Larger is better.", "**holds**", "2 hold"]
    assert "for the 2 comparisons that are planned" in summary and "those of Welch's t-test over the seeds." in text
    results = json.loads((finished.path / "page/results.json").read_text())
    results["claims"].append({"claim": "So is deeper.", "verdict": "not tested", "why": "not yet run: deep",
                              "comparisons": [], "discussion": "", "papers": "Five layers are best."})
    results["claims"][0]["comparisons"][1]["decision"] = "not decided"
    results["deviations"] = {"wer": [0.25, 3.52], "gap": [0.5, None]}
    text = page.render(results)
    assert cells(text, "1")[3] == "1 holds, 1 not decided"
    assert cells(text, "2") == ["2", "So is deeper.", "**not tested**", "not yet run: deep"]
    assert ("expected, from the 2 networks with several seeds: WER, 0.25 points, with a weight of 3.5 degrees of "
            "freedom; training less held-out frame accuracy, 0.5 points, with all weight,") in text
    assert "Not tested (not yet run: deep).\n\nIn the papers: Five layers are best.\n" in text


def test_claims_that_are_decided_twice_need_smaller_p_values(finished):
    adjusted = []
    for looks in (1, 2):
        page.main([str(changed(finished, looks=looks))])
        made = json.loads((finished.path / "page/results.json").read_text())
        adjusted += [c["p"] for c in made["claims"][0]["comparisons"]]
        text = (finished.path / "page/README.md").read_text()
        assert f"p-values is below {0.05 / looks:g}, after" in text
        assert ("divided by 2, since claims are decided 2 times" in text) == (looks == 2)
    assert adjusted[:2] == adjusted[2:]
    page.main([str(changed(finished, looks=1 + int(0.05 / max(adjusted))))])
    made = json.loads((finished.path / "page/results.json").read_text())
    assert "not decided" in [c["decision"] for c in made["claims"][0]["comparisons"]]


def test_networks_of_another_grid_show_how_much_seeds_vary(finished, monkeypatch):
    other = finished.path / "other"
    shutil.copytree(finished.path / "page/records", other / "records")
    values = yaml.safe_load(finished.file.read_text())
    (other / "grid.yaml").write_text(yaml.safe_dump({**values, "page": str(other / "README.md")}))
    used = []
    monkeypatch.setattr(page, "spreads", lambda claims, outcomes: used.append(set(outcomes)) or {})
    finished.write(**{**values, "networks": {n: values["networks"][n] for n in ("small", "large")},
                      "shares": str(other)})
    page.main([str(finished.file)])
    assert used.pop() == {"small", "large", "once"}
    text = (finished.path / "page/README.md").read_text()
    assert "all networks, those of [another page](../other/README.md) too." in text
    (other / "grid.yaml").write_text(yaml.safe_dump({**values, "sets": [], "page": str(other / "README.md"),
                                                     "claims": [], "baseline": ""}))
    page.main([str(finished.file)])  # claims of the other page are decided on no set
    assert used.pop() == {"small", "large"}
    (other / "grid.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match="page of .*grid.yaml is not in this folder"):
        load(finished.file)


def pictures(finished) -> set[str]:
    text = (finished.path / "page/README.md").read_text()
    shown = set(re.findall(r"\]\(([\w.]+\.png)\)", text))
    assert all((finished.path / "page" / name).stat().st_size > 5000 for name in shown)
    return shown


def test_networks_that_are_shown_together_have_different_colours(finished):
    page.main([str(finished.file)])
    record = json.loads((finished.path / "page/results.json").read_text())
    record["curves"] = {"a": ["small", "large"], "b": ["large", "once"], "c": [f"n{i}" for i in range(14)]}
    colors = _colors_of_networks(record)
    for shown in record["curves"].values():
        assert len({colors[name] for name in shown}) == len(shown)


def changed(finished, **keys):
    return finished.write(**{**yaml.safe_load(finished.file.read_text()), **keys})


def test_pictures_show_every_network_or_the_groups_asked_for(finished):
    page.main([str(finished.file)])
    assert pictures(finished) == {"learning.png", "size.png"}
    page.main([str(changed(finished, curves={"width": ["small", "large"], "depth": ["once"]}))])
    assert pictures(finished) == {"width.png", "depth.png", "size.png"}
    grid = load(finished.file)
    assert page.curves_of(grid, {"small", "once"}) == {"depth": ["once"]}  # nothing to compare with small
    assert page.curves_of(grid, {"large"}) == {}


def test_sizes_that_are_nearly_equal_have_no_picture(finished):
    page.main([str(finished.file)])
    record = json.loads((finished.path / "page/results.json").read_text())
    for row in record["networks"]:
        row["params"] = 548_574
    assert [name for name, _ in picture_names(record)] == ["learning.png"]
    record["networks"][0]["params"] = 700_000
    assert [name for name, _ in picture_names(record)] == ["learning.png", "size.png"]


def test_the_page_says_how_fast_the_networks_learn(finished):
    page.main([str(changed(finished, levels=[40, 50, 57.8]))])
    text = (finished.path / "page/README.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| small | 0."))
    # small has accuracies of 47 and 57, and of 46.8 and 56.8, after epochs of a minute
    first, second = (40 / 47 + 40 / 46.8) / 2, 1 + (3 / 10 + 3.2 / 10) / 2
    assert row == f"| small | {first:.1f} | {first:.1f} | {second:.1f} | {second:.1f} | – | – |"


def test_published_figures_stand_beside_ours(finished):
    networks = {"small": {"paper": {"name": "A", "accuracy": 60.0, "wer": 12.0}},
                "large": {"cells": 16, "paper": {"name": "B", "accuracy": 63.5}},
                "once": {"layers": 1, "seeds": [3], "paper": {"name": "C", "accuracy": 62.0, "wer": 11.0}}}
    page.main([str(changed(finished, networks=networks))])
    text = (finished.path / "page/README.md").read_text()
    part = text[text.index("## Beside the papers' figures"):]
    assert cells(part, "small") == ["small", "A", "60.0 (3)", "56.90 (3)", "12.0 (2)", "6.20 (2)"]
    assert cells(part, "large") == ["large", "B", "63.5 (1)", "57.95 (2)", "–", "–"]
    assert cells(part, "once") == ["once", "C", "62.0 (2)", "59.00 (1)", "11.0 (1)", "2.00 (1)"]
    assert "0.50 for the frame acc. of 3 networks" in part and "for the WER" not in part


@pytest.mark.parametrize("other, p", [([1, 2, 3, 4], 2 / 24), ([4, 3, 2, 1], 2 / 24), ([1, 2, 4, 3], 8 / 24)])
def test_the_correlation_of_few_ranks_is_compared_with_all_their_orders(other, p):
    assert spearman_p([10, 20, 30, 40], other) == pytest.approx(p)


def test_networks_that_still_learn_at_their_last_epoch_decide_nothing(finished):
    page.main([str(changed(finished, to_the_end=True))])
    row = cells((finished.path / "page/README.md").read_text(), "large better than small: WER")
    assert row[5] == "not decided (large and small not trained to the end)"
    for file in (finished.path / "page/records").glob("*.json"):  # the best loss is that of the first epoch
        record = json.loads(file.read_text())
        for epoch, loss in zip(record["training"]["epochs"], (1.0, 1.1), strict=True):
            epoch["loss_valid"] = loss
        file.write_text(json.dumps(record))
    page.main([str(finished.file)])
    row = cells((finished.path / "page/README.md").read_text(), "large better than small: WER")
    assert row[5] == "holds"


def test_training_on_lattices_may_end_at_its_last_epoch(finished):
    grid = load(changed(finished, to_the_end=True))
    runs = records_of(grid)["large"]
    assert page.outcome(grid, "large", runs).learning
    on_lattices = replace(grid.networks["large"], sequence=object())
    assert not page.outcome(replace(grid, networks={**grid.networks, "large": on_lattices}), "large", runs).learning


def test_networks_without_a_cost_have_no_minutes(finished):
    claims = [{"text": "It is soon there.", "comparisons": [
        {"first": "large", "second": "small", "measure": "minutes", "level": 50}]}]
    grid = load(changed(finished, clock="side_by_side", levels=[50], claims=claims))
    runs = records_of(grid)["large"]
    known = {"minutes": 1.5, "of": costs._digest(grid.run("large", 1), runs[0])}
    costs_json = finished.path / "page/costs.json"
    costs_json.write_text(json.dumps({"networks": {"large": known, "small": {**known, "of": "others"}}}))
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    networks, efforts = text[text.index("## Networks"):], text[text.index("## How fast"):]
    assert cells(networks, "large")[-1] == "3.0 ± 0.0" and cells(networks, "small")[-1] == "–"
    assert cells(efforts, "large")[2] != "–" == cells(efforts, "small")[2] and cells(efforts, "small")[1] != "–"
    assert cells(text, "1")[2:] == ["**not tested**", "minutes not measured: small"]
    assert pictures(finished)

    file = path(grid, grid.run("large", 1))
    record = json.loads(file.read_text())
    lengths = next(name for name in record["inputs"] if name.endswith("dev/utt2num_frames"))
    record["inputs"][lengths][0] = "of other speech"
    file.write_text(json.dumps(record))
    assert not costs.read_costs(grid, records_of(grid))


def test_a_claim_is_discussed(finished):
    claims = [{**finished.values["claims"][0], "discussion": "More data would overturn it.\n"}]
    page.main([str(changed(finished, claims=claims))])
    assert "\n\nMore data would overturn it.\n" in (finished.path / "page/README.md").read_text()


def test_a_record_with_other_settings_is_ignored(finished):
    networks = {**finished.values["networks"], "large": {"cells": 17}}
    finished.write(**{**yaml.safe_load(finished.file.read_text()), "networks": networks})
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    assert "| large |" not in text and "not yet run: large" in text and "3 of 5 runs" in text


def test_records_of_another_grid_count_where_its_networks_are_the_same(finished, capsys):
    page.main([str(finished.file)])
    alone = (finished.path / "page/README.md").read_text()
    other = finished.path / "other"
    (other / "records").mkdir(parents=True)
    for record in (finished.path / "page/records").glob("small-*"):
        record.rename(other / "records" / record.name)
    values = yaml.safe_load(finished.file.read_text())
    (other / "grid.yaml").write_text(yaml.safe_dump({
        **values, "page": str(other / "README.md"), "networks": {"new": {}}, "baseline": "", "claims": []}))
    finished.write(**{**values, "shares": str(other)})
    grid = load(finished.file)
    assert all(is_done(grid, run) for run in grid.runs())
    page.main([str(finished.file)])
    assert (finished.path / "page/README.md").read_text() == alone

    changed = next((other / "records").glob("small-*"))
    of_other = json.loads(changed.read_text())
    changed.write_text(json.dumps({**of_other, "settings": {}}))  # another network of the same name
    page.main([str(finished.file)])
    assert "not yet run: small" in (finished.path / "page/README.md").read_text()
    (finished.path / "page/records" / changed.name).write_text(json.dumps(of_other))
    changed.write_text("{}")  # not read: the grid has a record of its own
    page.main([str(finished.file)])
    assert (finished.path / "page/README.md").read_text() == alone
    (finished.path / "page/records" / changed.name).unlink()
    with pytest.raises(SystemExit):
        page.main([str(finished.file)])
    assert f"{changed}: it has no `settings`" in capsys.readouterr().err


def test_runs_that_another_page_has_too_are_told_apart(finished):
    values, other = yaml.safe_load(finished.file.read_text()), finished.path / "other"
    other.mkdir()
    networks = {"small": values["networks"]["small"], "large": {**values["networks"]["large"], "cells": 11}}
    (other / "grid.yaml").write_text(yaml.safe_dump({
        **values, "page": str(other / "README.md"), "networks": networks, "baseline": "", "claims": []}))
    finished.write(**{**values, "shares": str(other)})
    page.main([str(finished.file)])
    assert ("5 of 5 runs of the grid are done (3 of the 3 that [another page](../other/README.md) does not have), "
            in (finished.path / "page/README.md").read_text())


def test_the_page_needs_nothing_but_the_records(finished):
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    for folder in ("exp", "dev"):
        shutil.rmtree(finished.path / folder)
    (finished.path / "page/README.md").unlink()
    page.main([str(finished.file)])
    assert (finished.path / "page/README.md").read_text() == text
    assert "all on the same data" in text


def test_other_data_are_mentioned_and_other_utterances_refused(finished, capsys):
    grid = load(finished.file)
    file = path(grid, grid.runs()[0])
    record = json.loads(file.read_text())
    name = next(iter(record["inputs"]))
    record["inputs"][name] = ["another", record["inputs"][name][1]]
    file.write_text(json.dumps({**record, "machine": "abacus"}))
    page.main([str(finished.file)])
    text = (finished.path / "page/README.md").read_text()
    files = len(record["inputs"])
    assert f" and abacus; the data were made again between runs: 1 of {files} files differ, 0 of them in size." in text
    record["inputs"][name][1] += 1
    file.write_text(json.dumps({**record, "machine": "abacus"}))
    page.main([str(finished.file)])
    assert f"1 of {files} files differ, 1 of them in size." in (finished.path / "page/README.md").read_text()
    record["sets"]["dev"]["words"][7] = 6
    file.write_text(json.dumps(record))
    with pytest.raises(SystemExit):
        page.main([str(finished.file)])
    assert "scored on other utterances of dev" in capsys.readouterr().err


def test_a_run_is_done_if_its_data_are_the_same_or_with_alike_similar(finished):
    grid = load(finished.file)
    run, dev = grid.runs()[0], finished.path / "dev"
    assert is_done(grid, run) and is_done(grid, run, ALIKE)

    def with_change(file, change):
        original = file.read_bytes()
        file.write_bytes(change(original))
        done = is_done(grid, run), is_done(grid, run, ALIKE)
        file.write_bytes(original)
        return done

    def last_changed(content):
        return content[:-1] + bytes([content[-1] ^ 1])

    train, ali = Path(run.source.train), Path(run.source.ali)
    for file in (*archives(train), ali / "pdf.ark", Path(run.source.graph) / "HCLG.k2.safetensors"):
        assert with_change(file, last_changed) == (False, True), file
        assert with_change(file, lambda content: content + b" ") == (False, False), file
    for file in (train / "utt2num_frames", dev / "utt2num_frames", ali / "num_pdfs", Path(run.source.valid)):
        assert with_change(file, last_changed) == (False, False), file
    assert is_done(grid, run)
    (ali / "num_pdfs").unlink()
    with pytest.raises(UserError, match="no such file"):
        is_done(grid, run)


def test_settings_that_no_network_depends_on_do_not_invalidate_a_record(finished):
    values = yaml.safe_load(finished.file.read_text())
    for decode, done in (({"fmllr": {"passes": 7}}, True), ({"search_beam": 5.0}, False)):
        grid = load(finished.write(**{**values, "decode": decode}))
        assert is_done(grid, grid.runs()[0]) is done


def test_a_damaged_record_is_named(finished, capsys):
    grid = load(finished.file)
    path(grid, grid.runs()[0]).write_text('{"settings": 3}')
    with pytest.raises(SystemExit):
        page.main([str(finished.file)])
    assert "small-seed1.json" in (error := capsys.readouterr().err) and "it has no `inputs`" in error
