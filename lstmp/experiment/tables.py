"""The tables of a grid's page, from the content of ``results.json``."""

import numpy as np
from scipy import stats

from lstmp.score.report import table

_ORDERS = 50_000  # more than those of 8 ranks


def mean_and_std(values: list[float], digits: int = 2) -> str:
    """Format the mean and, for several values, the standard deviation."""
    text = f"{np.mean(values):.{digits}f}"
    return text if len(values) < 2 else f"{text} ± {np.std(values, ddof=1):.{digits}f}"


def networks_table(r: dict) -> str:
    """The table of the papers: cells, projection, depth, parameters, frame accuracies, WER; and the difference of the
    WER from the baseline's."""
    header = ["network", "kind", "C", "P", "layers", "delay", "states", "N", "rate", "seeds", "held-out frame acc. %",
              "training frame acc. %", *(f"WER {s} %" for s in r["sets"]),
              *([f"minus {r['baseline']}, {r['claims_on']}"] if r["baseline"] else []), "epochs", "core minutes",
              *(["minutes", "staleness"] if r["clock"] == "wall" else [])]
    lines = []
    for n in r["networks"]:
        projection = "–" if not n["r"] else f"{n['r']}+{n['p']}" if n["p"] else str(n["r"])
        interval = n.get("apart")
        lines.append([n["network"], n["kind"], str(n["cells"]), projection, str(n["layers"]), str(n["label_delay"]),
                      f"{n['states']:,}", f"{n['params'] / 1e6:.2f}M", f"{n['rate']:g}", str(len(n["seeds"])),
                      mean_and_std(n["accuracy_valid"]), mean_and_std(n["accuracy_train"]),
                      *(mean_and_std(n["wer"][s]) for s in r["sets"]),
                      *([_interval(interval) if interval else "–"] if r["baseline"] else []),
                      f"{np.mean([len(e) for e in n['epochs']]):.3g}",
                      mean_and_std(n["minutes"], 1) if n["minutes"] else "–",
                      *([mean_and_std(n["wall_minutes"], 1), _staleness(n["staleness"])]
                        if r["clock"] == "wall" else [])])
    return table(header, lines, left=2)


def _staleness(values: list) -> str:
    return "–" if None in values else mean_and_std(values)


def _interval(d: list[float]) -> str:
    return f"{d[0]:+.2f} [{d[1]:+.2f}, {d[2]:+.2f}]"


def effort_table(r: dict) -> str:
    """Epochs and core minutes of each network to each of the grid's ``levels`` of accuracy."""
    header = ["network", *(f"{what} to {level:g} %" for level in r["levels"] for what in ("epochs", "minutes"))]
    lines = [[n["network"], *("–" if value is None else f"{value:.1f}" for pair in n["efforts"] for value in pair)]
             for n in r["networks"]]
    return table(header, lines)


def spearman_p(first: list[float], second: list[float]) -> float:
    """p-value of Spearman's correlation: two-sided, over all orders of the ranks, or a sample if there are too many."""
    ranks = stats.rankdata(first) - (len(first) + 1) / 2
    test = stats.permutation_test((stats.rankdata(second),), lambda other, axis: np.abs((ranks * other).sum(axis)),
                                  permutation_type="pairings", alternative="greater", n_resamples=_ORDERS,
                                  vectorized=True, random_state=0)
    return float(test.pvalue)


def papers_table(r: dict) -> list[str]:
    """The networks that have published figures, beside these figures, with ranks; then how alike the ranks are."""
    rows = [n for n in r["networks"] if n["paper"]]
    header, lines, correlations = ["network", "in the paper"], [[n["network"], n["paper"]["name"]] for n in rows], []
    for what, key, sign in (("frame acc.", "accuracy", -1), ("WER", "wer", 1)):
        known = [i for i, n in enumerate(rows) if n["paper"][key] is not None]
        if not known or key == "wer" and not r["claims_on"]:
            continue
        theirs = [rows[i]["paper"][key] for i in known]
        ours = [float(np.mean(rows[i]["accuracy_valid"] if key == "accuracy" else rows[i]["wer"][r["claims_on"]]))
                for i in known]
        header += [f"{what} % there (rank)", "here (rank)"]
        cells = [[f"{a:.1f} ({rank_a:g})", f"{b:.2f} ({rank_b:g})"] for a, rank_a, b, rank_b in zip(
            theirs, stats.rankdata(sign * np.array(theirs)), ours, stats.rankdata(sign * np.array(ours)), strict=True)]
        for i, line in enumerate(lines):
            line += cells[known.index(i)] if i in known else ["–", "–"]
        if len(known) > 2:
            correlation = stats.spearmanr(theirs, ours).statistic
            correlations.append(f"{correlation:.2f} for the {what} of {len(known)} networks (p = "
                                f"{spearman_p(theirs, ours):.2g})")
    text = "Rank 1 is the best." + (
        f" Spearman's correlation between there and here: {', '.join(correlations)}." if correlations else "")
    return [table(header, lines, left=2), text]
