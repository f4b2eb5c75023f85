"""The page of a grid: a row for each network, curves, and the verdict on each claim. Nothing in it is typed by hand."""

import argparse
import json
from pathlib import Path

import numpy as np

from lstmp import config
from lstmp.errors import UserError, command
from lstmp.experiment.claims import HOLDS, UNTESTED, Outcome, sentence, verdict
from lstmp.experiment.difference import wer_difference
from lstmp.experiment.pictures import draw
from lstmp.experiment.plan import Grid, load
from lstmp.experiment.run import folders, mark
from lstmp.log import say
from lstmp.score.report import table
from lstmp.score.score import read_json
from lstmp.score.wer import count_errors, read_hyps, read_refs


def outcomes(grid: Grid) -> dict[str, Outcome]:
    """Network → what its runs left, for those networks all of whose seeds are done.

    Raises:
        UserError: none is, or two runs decoded other utterances.
    """
    found = {}
    for name in grid.networks:
        runs = grid.runs([name])
        if any(mark(grid, r).why_not() for r in runs):
            continue
        records = [read_json(r.folder / "train.json", "run the grid") for r in runs]
        errors, words = [], np.zeros(0)
        for r in runs if grid.sets else []:
            folder = folders(grid, r)[grid.sets[0]]
            counted = count_errors(read_refs(r.source.decode[grid.sets[0]]), read_hyps(folder / "best.txt"))
            errors.append(counted.errors)
            words = counted.words
        found[name] = Outcome(records, errors, words)
    if not found:
        raise UserError("no network of the grid is done", file=grid.exp, mend="steps/run_grid.sh makes them")
    return found


def rows(grid: Grid, found: dict[str, Outcome]) -> list[dict]:
    """A record for each network that is done, in the grid's order: means and standard deviations over its seeds."""
    out = []
    for name, o in found.items():
        cfg, record = grid.networks[name], o.records[0]
        scores = {s: [read_json(folders(grid, r)[s] / "score.json", "run the grid")["wer"] for r in grid.runs([name])]
                  for s in grid.sets}
        out.append({
            "network": name, "kind": kind(cfg), "cells": cfg.cells, "r": cfg.recurrent_projection, "p": cfg.projection,
            "layers": cfg.layers, "label_delay": cfg.label_delay, "states": record["num_pdfs"],
            "params": record["params"], "seeds": grid.seeds_of[name],
            "minutes": [r["minutes"] for r in o.records],
            "accuracy_train": [100 * r["frame_accuracy_train"] for r in o.records],
            "accuracy_valid": [100 * r["frame_accuracy_valid"] for r in o.records],
            "wer": scores,
            "epochs": [[100 * e["accuracy_valid"] for e in r["epochs"]] for r in o.records],
            "seconds": [[e["seconds"] for e in r["epochs"]] for r in o.records]})
    return out


def kind(cfg) -> str:
    """What the papers call such a network."""
    if cfg.kind != "lstmp":
        return cfg.kind.upper()
    name = "LSTM" if not cfg.recurrent_projection else "LSTMP r+p" if cfg.projection else "LSTMP r"
    return ("B" if cfg.bidirectional else "") + name


def around(values: list[float], digits: int = 2) -> str:
    """Mean and, of several values, standard deviation."""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def networks_table(grid: Grid, made: list[dict], found: dict[str, Outcome]) -> str:
    """The papers' table: cells, projection, depth, parameters, frame accuracies, WER; and how that differs from the
    baseline's."""
    base = found.get(grid.baseline) if grid.sets else None
    header = ["network", "kind", "C", "P", "layers", "delay", "states", "N", "seeds", "frame acc. held out %",
              "frame acc. train %", *(f"WER {s} %" for s in grid.sets),
              *([f"less that of {grid.baseline}, {grid.sets[0]}"] if base else []), "core minutes"]
    lines = []
    for r in made:
        projection = "–" if not r["r"] else f"{r['r']}+{r['p']}" if r["p"] else str(r["r"])
        lines.append([r["network"], r["kind"], str(r["cells"]), projection, str(r["layers"]), str(r["label_delay"]),
                      f"{r['states']:,}", f"{r['params'] / 1e6:.2f}M", str(len(r["seeds"])),
                      around(r["accuracy_valid"]), around(r["accuracy_train"]),
                      *(around(r["wer"][s]) for s in grid.sets),
                      *([_apart(found[r["network"]], base)] if base else []), around(r["minutes"], 1)])
    return table(header, lines, left=2)


def _apart(one: Outcome, base: Outcome) -> str:
    if one is base:
        return "–"
    d = wer_difference(one.errors, base.errors, base.words)
    return f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]"


def claims_part(grid: Grid, found: dict[str, Outcome]) -> tuple[str, list[dict]]:
    """The claims with their verdicts, as Markdown and as records."""
    summary, details, records = [], [], []
    for number, claim in enumerate(grid.claims, 1):
        word, compared = verdict(claim, found)
        summary.append([str(number), claim.text, f"**{word}**"])
        records.append({"claim": claim.text, "verdict": word, "comparisons": []})
        if word == UNTESTED:
            missing = sorted({n for c in claim.comparisons for n in (c.first, c.second)} - set(found))
            details.append(f"{number}. Not tested: {claim.untested or 'not yet run: ' + ', '.join(missing)}.")
            continue
        lines = []
        for c, d, v in compared:
            lines.append([sentence(c), f"{d.mean:+.2f}", f"[{d.low:+.2f}, {d.high:+.2f}]", f"{d.p:.3g}", v])
            records[-1]["comparisons"].append({"claimed": sentence(c), "difference": d.mean, "low": d.low,
                                               "high": d.high, "p": d.p, "verdict": v})
        head = ["claimed", "first less second, %", "95 % interval", "p", "verdict"]
        details.append(f"{number}. {claim.text}\n\n{table(head, lines)}")
    return "\n\n".join([table(["", "claim", "verdict"], summary, left=3), *details]), records


def page(grid: Grid, path, command_line: str) -> str:
    """Write results.json and the pictures beside the page, and return its text."""
    found = outcomes(grid)
    made = rows(grid, found)
    folder = grid.page.parent
    runs, planned = sum(len(r["seeds"]) for r in made), len(grid.runs())
    spent = sum(sum(r["minutes"]) for r in made) / 60
    parts = [f"# {grid.title}",
             f"Generated by `{command_line}`: {runs} of {planned} runs of the grid are done, {spent:.1f} core hours of "
             "training.", grid.note.strip(), networks_table(grid, made, found),
             "C: memory cells, or units, of a layer; P: recurrent projection, + non-recurrent one; N: weights without "
             "biases, by the papers' formula. Mean ± standard deviation over the seeds."
             + (" In brackets: the 95 % interval; of a network with one seed it knows of the scatter over utterances "
                "alone, not of that of training." if grid.baseline and grid.sets else "")]
    pictures = draw(made, grid.sets[0] if grid.sets else None, folder)
    parts += [f"![{text}]({name})" for name, text in pictures]
    records = []
    if grid.claims:
        text, records = claims_part(grid, found)
        parts += ["## Claims", f"A comparison {HOLDS} where its whole 95 % interval lies on the claimed side, fails "
                  "where all of it lies on the other, and is else not decided; a claim holds where all its comparisons "
                  "do, and fails where one does. Intervals and p-values: Welch's t over the seeds; for WER the scatter "
                  "over utterances is added (lstmp/experiment/difference.py). No correction is made for the number of "
                  "comparisons.", text]
    config.write_text(folder / "results.json", json.dumps({"networks": made, "claims": records}, indent=1) + "\n")
    return "\n\n".join(p for p in parts if p) + "\n"


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/make_grid_page.sh", description=__doc__.split("\n")[0])
    p.add_argument("grid", help="such as recipes/sak2014/grid.yaml")
    a = p.parse_args(argv)
    grid = load(a.grid)
    config.write_text(grid.page, page(grid, a.grid, f"steps/make_grid_page.sh {Path(a.grid)}"))
    say(f"{grid.page} is written")


if __name__ == "__main__":
    main()
