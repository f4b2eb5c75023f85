"""Draws the pictures of a grid: frame accuracy against epochs and minutes, word error rate against parameters."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from lstmp.picture import plt, write_png

_COLORS = {"LSTM": "C0", "LSTMP r": "C1", "LSTMP r+p": "C2", "DNN": "C3", "RNN": "C4"}
_OTHER_COLORS = ("C5", "C6", "C7", "C8", "C9")


def pictures(record: dict) -> list[tuple[str, str]]:
    """List the pictures of a grid: (file name, description)."""
    out = [("learning.png", "frame accuracy held out against epochs and against minutes")]
    if record["sets"]:
        out.append(("size.png", f"word error rate on {record['sets'][0]} against the number of parameters"))
    return out


def draw(record: dict, folder):
    """Draw all pictures of a grid's record into ``folder``."""
    rows = record["networks"]
    network_types = list(dict.fromkeys(r["kind"] for r in rows))
    rest = iter(_OTHER_COLORS * len(network_types))
    color = {t: _COLORS.get(t) or next(rest) for t in network_types}
    clock = {"processor": "minutes on one core", "wall": "minutes by the clock"}[record["clock"]]
    _learning(rows, color, clock, Path(folder) / "learning.png")
    if record["sets"]:
        _size(rows, color, record["sets"][0], Path(folder) / "size.png")


def _learning(rows, color, clock, path):
    figure, axes = plt.subplots(1, 2, figsize=(13, 7), layout="constrained", sharey=True)
    ends = []
    for row in rows:
        accuracy, minutes = np.mean(row["epochs"], 0), np.cumsum(np.mean(row["seconds"], 0)) / 60
        for axis, x in ((axes[0], np.arange(1, len(accuracy) + 1)), (axes[1], minutes)):
            axis.plot(x, accuracy, marker="o", markersize=3, color=color[row["kind"]], alpha=0.8)
        ends.append((minutes[-1], accuracy[-1], row))
    for x, y, row in ends:
        axes[1].annotate(row["network"], (x, y), xytext=(4, 0), textcoords="offset points", fontsize=7, va="center",
                         color=color[row["kind"]])
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(xlabel="epochs", ylabel="frame accuracy held out, %")
    axes[1].set(xlabel=clock)
    axes[1].set_xlim(right=1.12 * max(x for x, _, _ in ends))
    _finish(figure, axes, color, path)


def _size(rows, color, wer_set, path):
    figure, axis = plt.subplots(figsize=(9, 6), layout="constrained")
    for row in rows:
        wers = row["wer"][wer_set]
        axis.errorbar(row["params"] / 1e6, np.mean(wers), np.std(wers, ddof=1) if len(wers) > 1 else None, marker="o",
                      markersize=4, capsize=2, color=color[row["kind"]])
        axis.annotate(row["network"], (row["params"] / 1e6, np.mean(wers)), xytext=(4, 4), textcoords="offset points",
                      fontsize=7, color=color[row["kind"]])
    axis.set(xlabel="parameters, millions", ylabel=f"WER on {wer_set}, %", xscale="log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    _finish(figure, [axis], color, path)


def _finish(figure, axes, color, path):
    for axis in axes:
        axis.grid(alpha=0.3, which="both")
    axes[0].legend([plt.Line2D([], [], color=c, marker="o", markersize=4) for c in color.values()], color.keys())
    write_png(figure, path, dpi=110)
