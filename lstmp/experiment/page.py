"""Generates the page of a grid: a table of networks, learning curves, and the verdict on each claim."""

import argparse
import json
import os
from collections.abc import Collection

import numpy as np

from lstmp import config
from lstmp.errors import UserError, command
from lstmp.experiment import records
from lstmp.experiment.claims import SIGNIFICANT, Outcome, decide, effort, lacking, sentence, spreads
from lstmp.experiment.costs import costs_files, read_costs, with_costs
from lstmp.experiment.difference import Spread, wer_difference
from lstmp.experiment.grid_file import load
from lstmp.experiment.pictures import draw, pictures
from lstmp.experiment.plan import SIDE_BY_SIDE, Claim, Grid
from lstmp.experiment.tables import effort_table, networks_table, papers_table
from lstmp.experiment.verdicts import comparisons, tests_used, verdict_rules, verdicts
from lstmp.log import say

_MINUTES = {"wall": "core minutes: processor time; minutes: by the clock",
            "processor": "core minutes: processor time, which also depends on the machine and on what else ran on it",
            SIDE_BY_SIDE: "core minutes: modelled, for comparison, as epochs times the processor time of the updates "
                          "of one, which was measured for all networks side by side{costs}; the trainings themselves "
                          "took more or less, depending on the machine; –: not measured"}
_CRITERIA = {"lfmmi": ", LF-MMI", "mmi": ", MMI", "smbr": ", sMBR"}


def outcome(grid: Grid, name: str, runs: list[dict]) -> Outcome:
    """Extract from a network's records what the claims are decided by."""
    sets = [r["sets"][grid.claims_on] for r in runs] if grid.sets else []
    trained, most = [r["training"] for r in runs], grid.networks[name].config.epochs
    return Outcome(trained, [np.array(s["errors"]) for s in sets], np.array(sets[0]["words"] if sets else []),
                   grid.to_the_end and not grid.networks[name].sequence
                   and any(_still_learns(t["epochs"], most) for t in trained))


def _still_learns(epochs: list[dict], most: int) -> bool:
    """Whether training ended at its last epoch, and the held-out loss (or else accuracy) was best there."""
    losses = [e.get("loss_valid", -e["accuracy_valid"]) for e in epochs]
    return len(epochs) == most and int(np.argmin(losses)) == most - 1


def rows(grid: Grid, done: dict[str, list[dict]]) -> list[dict]:
    """Make a row for each network that is done: its description, and the values of each of its seeds."""
    out = []
    for name, runs in done.items():
        network, trained = grid.networks[name], [r["training"] for r in runs]
        cfg = network.config
        out.append({
            "network": name, "kind": network_type(cfg) + trained_by(cfg, network.processes)
            + _CRITERIA.get(cfg.criterion, "") + (f", from {network.init}" if network.init else ""),
            "rate": cfg.lr_initial, "cells": cfg.cells, "r": cfg.recurrent_projection, "p": cfg.projection,
            "layers": cfg.layers, "label_delay": cfg.label_delay, "states": trained[0]["num_pdfs"],
            "params": trained[0]["params"], "seeds": network.seeds,
            "minutes": _known([t["cpu_minutes"] for t in trained]), "wall_minutes": [t["minutes"] for t in trained],
            "accuracy_train": [100 * t["frame_accuracy_train"] for t in trained],
            "accuracy_valid": [100 * t["frame_accuracy_valid"] for t in trained],
            "wer": {s: [r["sets"][s]["wer"] for r in runs] for s in grid.sets},
            "paper": network.paper and config.to_dict(network.paper),
            "epochs": [[100 * e["accuracy_valid"] for e in t["epochs"]] for t in trained],
            "efforts": [[None if network.init else _effort(trained, level / 100, minutes) for minutes in (False, True)]
                        for level in grid.levels],
            "seconds": [_known([e["seconds" if grid.clock == "wall" else "cpu_seconds"] for e in t["epochs"]])
                        for t in trained],
            "staleness": [t["epochs"][-1].get("staleness_mean") for t in trained]})
    return out


def _known(values: list[float]) -> list[float] | None:
    return values if np.isfinite(values).all() else None


def _effort(trained: list[dict], accuracy: float, minutes: bool) -> float | None:
    """Mean over the seeds of epochs or minutes until an accuracy; None if one of them never had it, or if minutes are
    not known."""
    mean = float(np.mean([effort(t["epochs"], accuracy, minutes) for t in trained]))
    return mean if np.isfinite(mean) else None


def network_type(cfg) -> str:
    """The name of such a network in the papers."""
    if cfg.kind != "lstmp":
        return cfg.kind.upper()
    name = "LSTM" if not cfg.recurrent_projection else "LSTMP r+p" if cfg.projection else "LSTMP r"
    return ("B" if cfg.bidirectional else "") + name


def trained_by(cfg, processes: int) -> str:
    """Describe the parallel training: update scheme, workers and parameter servers; "" for one process."""
    if processes == 1:
        return ""
    servers = f" + {cfg.parameter_servers} of servers" if cfg.parameter_servers else ""
    return f", {cfg.updates}, {processes - cfg.parameter_servers}{servers}"


def record(grid: Grid, command_line: str) -> dict:
    """Collect everything that the page shows; this is the content of ``results.json``.

    Raises:
        UserError: no network of the grid is done, or a record or the file of costs is damaged.
    """
    done = records.finished(grid)
    if not done:
        raise UserError("no network of the grid is done", file=grid.exp, hint="run steps/run_grid.sh")
    core_hours = sum(run["training"]["cpu_minutes"] for runs in done.values() for run in runs) / 60
    if grid.clock == SIDE_BY_SIDE:
        done = with_costs(done, read_costs(grid, done))
    outcomes = {name: outcome(grid, name, runs) for name, runs in done.items()}
    base = outcomes.get(grid.baseline) if grid.sets else None
    other = load(grid.shares / "grid.yaml") if grid.shares else None
    others = of_shared(grid, other)
    varied = {name: max((of[name] for of in (outcomes, others) if name in of), key=lambda o: len(o.records))
              for name in outcomes | others}  # the outcome with more seeds
    networks, known = rows(grid, done), spreads(grid.claims, varied)
    level = SIGNIFICANT / grid.looks
    if base is not None:
        for row in networks:
            d = wer_difference(outcomes[row["network"]].errors, base.errors, base.words, spread=known.get("wer"))
            row["apart"] = None if row["network"] == grid.baseline else [d.mean, d.low, d.high]
    return {"title": grid.title, "command": command_line, "note": grid.note.strip(), "sets": grid.sets,
            "planned": len(grid.runs()), "shared": shared_runs(grid, other, done),
            "baseline": grid.baseline if base else "", "networks": networks,
            "clock": grid.clock, "core_hours": core_hours, "machines": machines_and_data(done), "levels": grid.levels,
            "curves": curves_of(grid, done),
            "claims_on": grid.claims_on, "claims": decided(grid.claims, outcomes, known, level), "looks": grid.looks,
            "varied": {"networks": sum(len(o.records) > 1 for o in varied.values()),
                       "pages": [os.path.relpath(grid.shares, grid.page.parent)] if others and grid.shares else []},
            "costs": [os.path.relpath(f, grid.page.parent) for f in costs_files(grid) if f.is_file()],
            "comparisons": sum(len(claim.comparisons) for claim in grid.claims),
            "deviations": {measure: [spread.variance ** 0.5, spread.df if np.isfinite(spread.df) else None]
                           for measure, spread in known.items() if spread}}


def shared_runs(grid: Grid, other: Grid | None, done: Collection[str]) -> dict | None:
    """The runs of networks that the grid with which it shares has too: how many are planned, how many are done, and the
    folder of that grid's page. None if it shares with none."""
    if other is None:
        return None
    theirs = {(run.network, run.seed): records.settings(other, run) for run in other.runs()}
    runs = [run.network for run in grid.runs()
            if theirs.get((run.network, run.seed)) == records.settings(grid, run)]
    return {"planned": len(runs), "done": sum(name in done for name in runs),
            "page": os.path.relpath(other.page.parent, grid.page.parent)}


def of_shared(grid: Grid, other: Grid | None) -> dict[str, Outcome]:
    """The outcomes of the networks of the grid with which it shares: they too show how networks vary with the seed."""
    if other is None or other.claims_on != grid.claims_on:
        return {}
    done = records.finished(other)
    return {name: outcome(other, name, runs) for name, runs in done.items()}


def curves_of(grid: Grid, done: Collection[str]) -> dict[str, list[str]]:
    """The pictures of learning curves with the networks that are done; not those of which only one is done yet."""
    made = {name: [n for n in shown if n in done] for name, shown in grid.curves.items()}
    return {name: shown for name, shown in made.items() if shown and len(shown) >= min(2, len(grid.curves[name]))}


def machines_and_data(done: dict[str, list[dict]]) -> str:
    """Say on which machines the runs were made, and whether all used the same data."""
    runs = [r for of_network in done.values() for r in of_network]
    contents: dict[str, set[str]] = {}
    sizes: dict[str, set[int]] = {}
    for r in runs:
        for file, (digest, size) in r["inputs"].items():
            contents.setdefault(file, set()).add(digest)
            sizes.setdefault(file, set()).add(size)
    changed, resized = (sum(len(of_file) > 1 for of_file in of.values()) for of in (contents, sizes))
    same = "all on the same data" if not changed else \
        f"the data were made again between runs: {changed} of {len(contents)} files differ, {resized} of them in size"
    return f"Trained on {' and '.join(sorted({r['machine'] for r in runs}))}; {same}."


def decided(claims: list[Claim], outcomes: dict[str, Outcome], known: dict[str, Spread | None],
            level: float) -> list[dict]:
    """The claims with their verdicts and comparisons, for ``results.json``."""
    out = []
    for claim, (verdict, compared) in zip(claims, decide(claims, outcomes, known, level), strict=True):
        reasons: dict[str, set[str]] = {}
        for reason, names in (item for c in claim.comparisons for item in lacking(c, outcomes).items()):
            reasons.setdefault(reason, set()).update(names)
        why = "; ".join(f"{reason}: {', '.join(sorted(names))}" for reason, names in reasons.items())
        out.append({"claim": claim.text, "verdict": verdict, "discussion": claim.discussion.strip(),
                    "papers": claim.papers.strip(),
                    "why": claim.untested or why,
                    "comparisons": [
                        {"claimed": sentence(c.comparison), "difference": c.difference.mean, "p": p, "p_alone": c.p,
                         "decision": decision, "why": c.why,
                         "interval": [c.difference.low, c.difference.high] if np.isfinite(c.difference.low) else None}
                        for c, p, decision in compared]})
    return out


def render(r: dict) -> str:
    """Render the page from the content of ``results.json`` alone."""
    done = sum(len(n["seeds"]) for n in r["networks"])
    parts = [f"# {r['title']}",
             f"Generated by `{r['command']}`: {done} of {r['planned']} runs of the grid are done{_beside_shared(r)}, "
             f"{r['core_hours']:.1f} core hours of training. {r.get('machines', '')}".rstrip(), r["note"]]
    if r["claims"]:
        parts += ["## Verdicts", verdicts(r["claims"]),
                  verdict_rules(r, unfinished=done < r["planned"] or bool(r["varied"]["pages"]))]
    parts += ["## Networks", networks_table(r),
              "C: memory cells, or units, of a layer; P: recurrent projection, + non-recurrent one; N: weights without "
              f"biases, by the papers' formula; rate: the first learning rate; epochs: all that were trained; "
              f"{_MINUTES[r['clock']].format(costs=_links(r['costs']))}. Training frame accuracy: on training "
              "utterances drawn at random with the seed, as many as are held out. Mean ± standard deviation over the "
              "seeds."
              + (" In brackets: the 95 % interval; for a network with one seed it contains only the variance over "
                 "utterances, not the variance of training." if r["baseline"] else "")]
    parts += [f"![{text}]({name})" for name, text in pictures(r)]
    parts.append("Learning curves show the best accuracy so far: the mean over the seeds, in a band from the lowest to "
                 "the highest. A seed whose training has ended keeps what it had."
                 + (" Dashes: LSTM; dots: neither LSTM nor LSTMP."
                    if any("LSTMP" not in n["kind"] for n in r["networks"]) else ""))
    if r["levels"]:
        parts += ["## How fast they learn", "Mean over the seeds of the epochs and of the core minutes until a "
                  "held-out frame accuracy is reached, interpolated within an epoch; –: not all seeds reach it, or "
                  "training started from another network.",
                  effort_table(r)]
    if sum(bool(n["paper"]) for n in r["networks"]) > 1:
        parts += ["## Beside the papers' figures", *papers_table(r)]
    if r["claims"]:
        parts += ["## Comparisons", tests_used(r) + (f" WERs are those on {r['claims_on']}." if r["claims_on"] else ""),
                  comparisons(r["claims"])]
    return "\n\n".join(p for p in parts if p) + "\n"


def _beside_shared(r: dict) -> str:
    """How many runs are done that another page does not have too."""
    done, shared = sum(len(n["seeds"]) for n in r["networks"]), r["shared"]
    if shared is None or not shared["planned"]:
        return ""
    return (f" ({done - shared['done']} of the {r['planned'] - shared['planned']} that [another page]"
            f"({shared['page']}/README.md) does not have)")


def _links(files: list[str]) -> str:
    return f" ({', '.join(f'[{file}]({file})' for file in files)})" if files else ""


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/make_grid_page.sh", description=__doc__.split("\n")[0])
    p.add_argument("grid", help="file of the grid, such as recipes/sak2014/grid.yaml")
    a = p.parse_args(argv)
    grid = load(a.grid)
    results = record(grid, f"steps/make_grid_page.sh {a.grid}")
    draw(results, grid.page.parent)
    config.write_text(grid.page.with_name("results.json"), json.dumps(results, indent=1) + "\n")
    config.write_text(grid.page, render(results))
    say(f"{grid.page} is written")


if __name__ == "__main__":
    main()
