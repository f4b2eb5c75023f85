"""Draws the pictures of a grid: frame accuracy against epochs and minutes, and results against parameters."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from lstmp.picture import plt, write_png

_COLORS = {"LSTM": "C0", "LSTMP r": "C1", "LSTMP r+p": "C2", "DNN": "C3", "RNN": "C4"}
_OTHER_COLORS = ("C5", "C6", "C7", "C8", "C9")
_PALETTE = [f"C{i}" for i in range(10)] + ["black", "gold", "navy", "lime", "teal", "maroon", "violet", "tan"]
_MOST_NAMES = 10  # at the ends of curves
_LEAST_RATIO = 1.1  # of the largest size to the smallest one: others are meant to be equal


def pictures(record: dict) -> list[tuple[str, str]]:
    """List the pictures of a grid: (file name, description)."""
    what = "held-out frame accuracy against epochs and against minutes"
    out = [(f"{name}.png", f"{what}: {', '.join(shown)}" if name in record["curves"] else what)
           for name, shown in _curves(record).items()]
    if _sizes_differ(record):
        out.append(("size.png", "held-out frame accuracy and word error rate against the number of parameters"))
    return out


def draw(record: dict, folder):
    """Draw all pictures of a grid's record into ``folder``."""
    rows = {r["network"]: r for r in record["networks"]}
    clock = "minutes by the clock" if record["clock"] == "wall" else "minutes on one core"
    colors = _colors_of_networks(record)
    for name, shown in _curves(record).items():
        _learning([rows[n] for n in shown], colors, clock, Path(folder) / f"{name}.png")
    if _sizes_differ(record):
        _size(list(rows.values()), record["claims_on"], Path(folder) / "size.png")


def _sizes_differ(record: dict) -> bool:
    """Whether there is a picture of results against parameters: where something is decoded, and sizes differ."""
    sizes = [row["params"] for row in record["networks"]]
    return bool(record["sets"]) and max(sizes) > _LEAST_RATIO * min(sizes)


def _curves(record: dict) -> dict[str, list[str]]:
    """The pictures of learning curves, with the networks that each one shows; one of all, if the grid asks for none."""
    asked = {name: shown for name, shown in record["curves"].items() if shown}
    return asked or {"learning": [row["network"] for row in record["networks"]]}


def _colors_of_networks(record: dict) -> dict[str, str]:
    """One colour for each network in all pictures of a page; networks that are shown together have different ones, as
    long as there are enough."""
    together: dict[str, set[str]] = {}
    for shown in _curves(record).values():
        for name in shown:
            together.setdefault(name, set()).update(shown)
    colors: dict[str, str] = {}
    for i, (name, others) in enumerate(together.items()):
        taken = {colors[other] for other in others if other in colors}
        colors[name] = next((c for c in _PALETTE if c not in taken), _PALETTE[i % len(_PALETTE)])
    return colors


def _line(kind: str) -> str:
    """The line of a kind of network: LSTMP, LSTM, others."""
    return "-" if "LSTMP" in kind else "--" if "LSTM" in kind else ":"


def _learning(rows, colors, clock, path):
    """The best accuracy so far: mean over the seeds, a band from the lowest to the highest, and the name at its end.

    With many networks, only the legend has their names.
    """
    figure, axes = plt.subplots(1, 2, figsize=(13, 7), layout="constrained", sharey=True)
    ends: list[list[tuple]] = [[], []]  # on each of the two axes, where curves end: x, y, name, colour
    for row in rows:
        epochs = max(map(len, row["epochs"]))
        accuracy = np.array([np.maximum.accumulate(seed + seed[-1:] * (epochs - len(seed))) for seed in row["epochs"]])
        x_axes = [(axes[0], np.arange(1, epochs + 1))]
        if row["minutes"]:
            seconds = [[seed[e] for seed in row["seconds"] if e < len(seed)] for e in range(epochs)]
            x_axes.append((axes[1], np.cumsum([np.mean(of_epoch) for of_epoch in seconds]) / 60))
        color = colors[row["network"]]
        for (axis, x), of_axis in zip(x_axes, ends, strict=False):
            axis.plot(x, accuracy.mean(0), _line(row["kind"]), marker="o", markersize=3, color=color,
                      label=row["network"])
            axis.fill_between(x, accuracy.min(0), accuracy.max(0), color=color, alpha=0.12, linewidth=0)
            of_axis.append((x[-1], accuracy.mean(0)[-1], row["network"], color))
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].set(xlabel="epochs", ylabel="held-out frame accuracy, best so far, %")
    axes[1].set(xlabel=clock)
    for axis, of_axis in zip(axes, ends, strict=True):
        axis.grid(alpha=0.3, which="both")
        if 0 < len(of_axis) <= _MOST_NAMES:
            axis.set_xlim(right=1.2 * max(x for x, *_ in of_axis))  # room for the names
            _name_points(axis, of_axis)
    axes[0].legend(fontsize=8)
    write_png(figure, path, dpi=110)


def _size(rows, wer_set, path):
    """One point for each network, with the standard deviation over the seeds, coloured by kind."""
    network_types = list(dict.fromkeys(r["kind"] for r in rows))
    rest = iter(_OTHER_COLORS * len(network_types))
    color = {t: _COLORS.get(t) or next(rest) for t in network_types}
    figure, axes = plt.subplots(1, 2, figsize=(15, 7), layout="constrained")
    for axis, label, values_of in ((axes[0], "held-out frame accuracy, %", lambda r: r["accuracy_valid"]),
                                   (axes[1], f"WER on {wer_set}, %", lambda r: r["wer"][wer_set])):
        for row in rows:
            x, values = row["params"] / 1e6, values_of(row)
            axis.errorbar(x, np.mean(values), np.std(values, ddof=1) if len(values) > 1 else None, marker="o",
                          markersize=4, capsize=2, color=color[row["kind"]])
        axis.set(xlabel="parameters, millions", ylabel=label, xscale="log")
        axis.margins(x=0.15)
        _name_points(axis, [(r["params"] / 1e6, float(np.mean(values_of(r))), r["network"], color[r["kind"]])
                            for r in rows])
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3, which="both")
    axes[0].legend([plt.Line2D([], [], color=c, marker="o", markersize=4) for c in color.values()], color.keys())
    write_png(figure, path, dpi=110)


def _name_points(axis, points):
    """Write the name of each point (x, y, name, color) to the right of it, higher if another name is there."""
    axis.figure.draw_without_rendering()  # so that positions on paper are known
    taken: list[tuple[float, float]] = []
    for x, y, name, color in sorted(points, key=lambda p: p[1]):
        across, up = axis.transData.transform((x, y))
        height = up
        while any(abs(across - other) < 60 and abs(height - line) < 10 for other, line in taken):
            height += 1
        taken.append((across, height))
        axis.annotate(name, (x, y), xytext=(5, (height - up) * 72 / axis.figure.dpi - 2), textcoords="offset points",
                      fontsize=7, color=color)
