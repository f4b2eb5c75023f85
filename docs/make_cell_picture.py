"""Draws docs/lstmp-cell.png: one LSTMP layer at frame t, with the equations' symbols.

    .venv/bin/python docs/make_cell_picture.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Circle, FancyBboxPatch

GATE, CELL, DELAY, PROJECTION = "#fde8c8", "#d9f0d3", "#eeeeee", "#dbe9f6"
LINE, PEEPHOLE = "#444444", "#b03060"
BUS, GATES, LOOP, MAIN, TOP = -2.0, -0.7, 0.75, 2.2, 4.2  # heights

# name: (x, y, width, text, colour)
BOXES = {
    "g": (1.9, MAIN, 1.0, "tanh", GATE), "i": (3.4, GATES, 1.0, r"$\sigma$", GATE),
    "f": (4.9, GATES, 1.0, r"$\sigma$", GATE), "o": (8.3, GATES, 1.0, r"$\sigma$", GATE),
    "c": (5.6, MAIN, 1.1, r"$c_t$", CELL), "c1": (6.6, LOOP, 1.1, r"$c_{t-1}$", DELAY),
    "h": (7.1, MAIN, 1.0, "tanh", GATE), "rm": (10.2, MAIN + 0.8, 1.2, r"$W_{rm}$", PROJECTION),
    "pm": (10.2, MAIN - 0.8, 1.2, r"$W_{pm}$", PROJECTION), "r1": (5.6, TOP, 1.1, r"$r_{t-1}$", DELAY),
}
LABELS = {"i": (2.72, "$i_t$"), "f": (5.62, "$f_t$"), "o": (9.02, "$o_t$")}  # beside the gates
PRODUCTS = {"i": (3.4, MAIN), "f": (4.9, LOOP), "o": (8.3, MAIN)}
HEIGHT, RADIUS = 0.62, 0.2


def draw(ax):
    def path(*points, colour=LINE, style="-", arrow=True):
        if len(points) > 2 or not arrow:
            ax.plot(*zip(*(points[:-1] if arrow else points), strict=True), color=colour, linestyle=style,
                    linewidth=1.2, zorder=1)
        if arrow:
            ax.annotate("", points[-1], points[-2], zorder=1, arrowprops={
                "arrowstyle": "-|>", "color": colour, "linestyle": style, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0})

    half, r = HEIGHT / 2, RADIUS
    for x, y, width, text, colour in BOXES.values():
        ax.add_patch(FancyBboxPatch((x - width / 2, y - half), width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
                                    facecolor=colour, edgecolor="#555555", zorder=2))
        ax.text(x, y, text, ha="center", va="center", fontsize=13, zorder=3)
    for x, y in PRODUCTS.values():
        ax.add_patch(Circle((x, y), r, facecolor="white", edgecolor="#555555", zorder=2))
        ax.text(x, y, r"$\odot$", ha="center", va="center", fontsize=14, zorder=3)
    for name, (x, text) in LABELS.items():
        ax.text(x, BOXES[name][1], text, ha="center", va="center", fontsize=13)

    # x_t and r_{t-1} go to the three gates and to the cell's input
    ax.text(0.15, BUS, "$x_t$", ha="right", va="center", fontsize=14)
    path((0.25, BUS), (8.3, BUS), arrow=False)
    for name in "ifo":
        x, y = BOXES[name][:2]
        path((x, BUS), (x, y - half))
    path((0.9, BUS), (0.9, MAIN), (1.4, MAIN))
    ax.text(0.95, BUS - 0.1, "$x_t$ and $r_{t-1}$, each gate with its own weights", va="top", fontsize=11,
            color="#555555")

    # the cell: input, forgetting, output
    path((2.4, MAIN), (3.4 - r, MAIN))
    path((3.4 + r, MAIN), (5.05, MAIN))
    path((3.4, GATES + half), (3.4, MAIN - r))
    path((4.9, GATES + half), (4.9, LOOP - r))
    path((4.9, LOOP + r), (4.9, 1.45), (5.4, 1.45), (5.4, MAIN - half))
    path((6.05, LOOP), (4.9 + r, LOOP))
    path((5.85, MAIN - half), (5.85, 1.45), (6.6, 1.45), (6.6, LOOP + half))
    path((6.15, MAIN), (6.6, MAIN))
    path((7.6, MAIN), (8.3 - r, MAIN))
    path((8.3, GATES + half), (8.3, MAIN - r))

    # peepholes
    dashes = {"colour": PEEPHOLE, "style": (0, (4, 2))}
    path((6.6, LOOP - half), (6.6, -1.3), (3.85, -1.3), (3.85, GATES - half), **dashes)
    path((5.25, -1.3), (5.25, GATES - half), **dashes)
    path((6.4, MAIN), (6.4, 1.65), (7.5, 1.65), (7.5, GATES), (7.8, GATES), **dashes)
    ax.text(6.75, -1.3, "peepholes", va="center", fontsize=11, color=PEEPHOLE)

    # projections, output, and the recurrence
    path((8.3 + r, MAIN), (9.2, MAIN), arrow=False)
    ax.text(8.85, MAIN + 0.1, "$m_t$", ha="center", va="bottom", fontsize=13)
    path((9.2, MAIN), (9.2, MAIN + 0.8), (9.6, MAIN + 0.8))
    path((9.2, MAIN), (9.2, MAIN - 0.8), (9.6, MAIN - 0.8))
    for dy, text in ((0.8, "$r_t$"), (-0.8, "$p_t$")):
        path((10.8, MAIN + dy), (12.3, MAIN + dy))
        ax.text(11.1, MAIN + dy + 0.1, text, ha="center", va="bottom", fontsize=13)
    ax.text(12.4, MAIN, "next layer,\nor output\nlayer", ha="left", va="center", fontsize=11)
    path((11.5, MAIN + 0.8), (11.5, TOP), (6.15, TOP))
    path((5.05, TOP), (0.9, TOP), (0.9, MAIN), arrow=False)


def main():
    fig, ax = plt.subplots(figsize=(10.4, 5.2), dpi=110)
    draw(ax)
    ax.set_xlim(-0.4, 13.8)
    ax.set_ylim(-2.4, 4.7)
    ax.set_aspect("equal")
    ax.axis("off")
    fig.savefig(Path(__file__).with_name("lstmp-cell.png"), bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
