"""The page of a grid: a row for each network, curves, and the verdict on each claim. Nothing in it is typed by hand."""

import argparse
import json

import numpy as np

from lstmp import config
from lstmp.errors import UserError, command
from lstmp.experiment.claims import HOLDS, Outcome, sentence, verdict
from lstmp.experiment.difference import wer_difference
from lstmp.experiment.pictures import draw, pictures
from lstmp.experiment.plan import Claim, Grid, load
from lstmp.experiment.run import folders, mark
from lstmp.log import say
from lstmp.score.report import table
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
        records = [config.read_json(r.folder / "train.json", "run the grid") for r in runs]
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
        scores = {s: [config.read_json(folders(grid, r)[s] / "score.json", "run the grid")["wer"]
                      for r in grid.runs([name])] for s in grid.sets}
        out.append({
            "network": name, "kind": kind(cfg) + trained_by(cfg, grid.processes_of[name]),
            "cells": cfg.cells, "r": cfg.recurrent_projection, "p": cfg.projection,
            "layers": cfg.layers, "label_delay": cfg.label_delay, "states": record["num_pdfs"],
            "params": record["params"], "seeds": grid.seeds_of[name],
            "minutes": [r["cpu_minutes"] for r in o.records], "wall_minutes": [r["minutes"] for r in o.records],
            "accuracy_train": [100 * r["frame_accuracy_train"] for r in o.records],
            "accuracy_valid": [100 * r["frame_accuracy_valid"] for r in o.records],
            "wer": scores,
            "epochs": [[100 * e["accuracy_valid"] for e in r["epochs"]] for r in o.records],
            "seconds": [[e["cpu_seconds" if grid.clock == "processor" else "seconds"] for e in r["epochs"]]
                        for r in o.records],
            "staleness": [r["epochs"][-1].get("staleness_mean") for r in o.records]})
    return out


def kind(cfg) -> str:
    """What the papers call such a network."""
    if cfg.kind != "lstmp":
        return cfg.kind.upper()
    name = "LSTM" if not cfg.recurrent_projection else "LSTMP r+p" if cfg.projection else "LSTMP r"
    return ("B" if cfg.bidirectional else "") + name


def trained_by(cfg, processes: int) -> str:
    """By how many processes, and how, if by several."""
    if processes == 1:
        return ""
    servers = f" + {cfg.parameter_servers} of servers" if cfg.parameter_servers else ""
    return f", {cfg.updates}, {processes - cfg.parameter_servers}{servers}"


def around(values: list[float], digits: int = 2) -> str:
    """Mean and, of several values, standard deviation."""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def record(grid: Grid, command_line: str) -> dict:
    """All that the page shows: what ``results.json`` holds."""
    found = outcomes(grid)
    base = found.get(grid.baseline) if grid.sets else None
    networks = rows(grid, found)
    for row in networks if base else []:
        d = wer_difference(found[row["network"]].errors, base.errors, base.words)
        row["apart"] = None if row["network"] == grid.baseline else [d.mean, d.low, d.high]
    return {"title": grid.title, "command": command_line, "note": grid.note.strip(), "sets": grid.sets,
            "planned": len(grid.runs()), "baseline": grid.baseline if base else "", "networks": networks,
            "clock": grid.clock,
            "claims": [judged(claim, found) for claim in grid.claims]}


def judged(claim: Claim, found: dict[str, Outcome]) -> dict:
    """A claim with its verdict and its comparisons."""
    word, compared = verdict(claim, found)
    missing = sorted({n for c in claim.comparisons for n in (c.first, c.second)} - set(found))
    return {"claim": claim.text, "verdict": word,
            "why": claim.untested or (f"not yet run: {', '.join(missing)}" if missing else ""),
            "comparisons": [{"claimed": sentence(c), "difference": d.mean, "p": d.p, "verdict": v,
                             "interval": [d.low, d.high] if np.isfinite(d.low) else None} for c, d, v in compared]}


def render(r: dict) -> str:
    """The page, from what ``results.json`` holds and nothing else."""
    done = sum(len(n["seeds"]) for n in r["networks"])
    spent = sum(sum(n["minutes"]) for n in r["networks"]) / 60
    parts = [f"# {r['title']}",
             f"Generated by `{r['command']}`: {done} of {r['planned']} runs of the grid are done, {spent:.1f} core "
             "hours of training.", r["note"], networks_table(r),
             "C: memory cells, or units, of a layer; P: recurrent projection, + non-recurrent one; N: weights without "
             "biases, by the papers' formula. Mean ± standard deviation over the seeds."
             + (" In brackets: the 95 % interval; of a network with one seed it knows of the scatter over utterances "
                "alone, not of that of training." if r["baseline"] else "")]
    parts += [f"![{text}]({name})" for name, text in pictures(r)]
    if r["claims"]:
        parts += ["## Claims", f"A comparison {HOLDS} where its whole 95 % interval lies on the claimed side, fails "
                  "where all of it lies on the other, and is else not decided; a claim holds where all its comparisons "
                  "do, and fails where one does. Intervals and p-values: Welch's t over the seeds; for WER the scatter "
                  "over utterances is added (lstmp/experiment/difference.py). No correction is made for the number of "
                  "comparisons.", claims_part(r["claims"])]
    return "\n\n".join(p for p in parts if p) + "\n"


def networks_table(r: dict) -> str:
    """The papers' table: cells, projection, depth, parameters, frame accuracies, WER; and how that differs from the
    baseline's."""
    header = ["network", "kind", "C", "P", "layers", "delay", "states", "N", "seeds", "frame acc. held out %",
              "frame acc. train %", *(f"WER {s} %" for s in r["sets"]),
              *([f"less that of {r['baseline']}, {r['sets'][0]}"] if r["baseline"] else []), "core minutes",
              *(["minutes", "staleness"] if r["clock"] == "wall" else [])]
    lines = []
    for n in r["networks"]:
        projection = "–" if not n["r"] else f"{n['r']}+{n['p']}" if n["p"] else str(n["r"])
        apart = n.get("apart")
        lines.append([n["network"], n["kind"], str(n["cells"]), projection, str(n["layers"]), str(n["label_delay"]),
                      f"{n['states']:,}", f"{n['params'] / 1e6:.2f}M", str(len(n["seeds"])),
                      around(n["accuracy_valid"]), around(n["accuracy_train"]),
                      *(around(n["wer"][s]) for s in r["sets"]),
                      *([_apart(apart) if apart else "–"] if r["baseline"] else []), around(n["minutes"], 1),
                      *([around(n["wall_minutes"], 1), _stale(n["staleness"])] if r["clock"] == "wall" else [])])
    return table(header, lines, left=2)


def _stale(values: list) -> str:
    return "–" if None in values else around(values)


def _apart(d: list[float]) -> str:
    return f"{d[0]:+.2f} [{d[1]:+.2f}, {d[2]:+.2f}]"


def claims_part(claims: list[dict]) -> str:
    """The claims with their verdicts, then each with its comparisons."""
    summary = [[str(i), c["claim"], f"**{c['verdict']}**"] for i, c in enumerate(claims, 1)]
    details = []
    for i, c in enumerate(claims, 1):
        if not c["comparisons"]:
            details.append(f"{i}. Not tested: {c['why']}.")
            continue
        head = ["claimed", "first less second, %", "95 % interval", "p", "verdict"]
        lines = [[d["claimed"], f"{d['difference']:+.2f}",
                  "[{:+.2f}, {:+.2f}]".format(*d["interval"]) if d["interval"] else "unknown", f"{d['p']:.3g}",
                  d["verdict"]] for d in c["comparisons"]]
        details.append(f"{i}. {c['claim']}\n\n{table(head, lines)}")
    return "\n\n".join([table(["", "claim", "verdict"], summary, left=3), *details])


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/make_grid_page.sh", description=__doc__.split("\n")[0])
    p.add_argument("grid", help="such as recipes/sak2014/grid.yaml")
    a = p.parse_args(argv)
    grid = load(a.grid)
    made = record(grid, f"steps/make_grid_page.sh {a.grid}")
    draw(made, grid.page.parent)
    config.write_text(grid.page.with_name("results.json"), json.dumps(made, indent=1) + "\n")
    config.write_text(grid.page, render(made))
    say(f"{grid.page} is written")


if __name__ == "__main__":
    main()
