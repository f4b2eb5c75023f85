"""Draws docs/pipeline.png: the stages of run.sh, and what passes between them.

    .venv/bin/python docs/make_pipeline_picture.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

DATA, GMM, NET, SEARCH = "#dbe9f6", "#fde8c8", "#d9f0d3", "#f3dcea"
WIDTH, HEIGHT = 2.5, 0.86

# name: (column, row, stage, title, what it leaves, colour)
BOXES = {
    "data": (0, 4, "1", "data", "wav.scp text utt2spk", DATA),
    "lang": (1, 4, "2", "dictionary, lang", "phones, words, topo, L", DATA),
    "lm": (2, 4, "3", "language model", "G", DATA),
    "mfcc": (0, 3, "4", "MFCC", "13 values, CMVN", DATA),
    "mono": (1, 3, "5", "monophones", "1,000 Gaussians", GMM),
    "tri1": (1, 2, "6", "triphones", "Δ → LDA+MLLT → fMLLR", GMM),
    "fbank": (0, 1, "4", "filterbank", "40 log-mel bands, CMVN", DATA),
    "ali": (1, 1, "7", "alignment", "a tied state per frame", GMM),
    "lstmp": (1, 0, "8", "LSTMP", "log posterior - log prior", NET),
    "hclg": (2, 2, "9", "graphs", "HCLG", SEARCH),
    "decode": (2, 1, "10", "decoding", "lattices (k2)", SEARCH),
    "score": (2, 0, "11", "scoring", "WER, RESULTS.md", SEARCH),
}
# from, side, to, side
ARROWS = [
    ("data", "right", "lang", "left"), ("data", "bottom", "mfcc", "top"), ("lang", "right", "lm", "left"),
    ("lang", "bottom", "mono", "top"), ("mfcc", "right", "mono", "left"), ("mfcc", "right", "tri1", "left"),
    ("mono", "bottom", "tri1", "top"), ("tri1", "bottom", "ali", "top"), ("tri1", "right", "hclg", "left"),
    ("lm", "bottom", "hclg", "top"), ("ali", "bottom", "lstmp", "top"), ("fbank", "right", "lstmp", "left"),
    ("hclg", "bottom", "decode", "top"), ("lstmp", "right", "decode", "left"), ("decode", "bottom", "score", "top"),
]


def place(column: int, row: int) -> tuple[float, float]:
    return column * 3.7, row * 1.5


def side(name: str, which: str) -> tuple[float, float]:
    x, y = place(*BOXES[name][:2])
    return {"left": (x, y + HEIGHT / 2), "right": (x + WIDTH, y + HEIGHT / 2),
            "top": (x + WIDTH / 2, y + HEIGHT), "bottom": (x + WIDTH / 2, y)}[which]


def main():
    fig, ax = plt.subplots(figsize=(10.4, 7.2), dpi=110)
    for column, row, stage, title, leaves, colour in BOXES.values():
        x, y = place(column, row)
        ax.add_patch(FancyBboxPatch((x, y), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.12", facecolor=colour,
                                    edgecolor="#555555", linewidth=1))
        ax.text(x + 0.14, y + HEIGHT - 0.12, stage, ha="left", va="top", fontsize=9, color="#777777")
        ax.text(x + WIDTH / 2, y + 0.54, title, ha="center", va="center", fontsize=12)
        ax.text(x + WIDTH / 2, y + 0.22, leaves, ha="center", va="center", fontsize=9, color="#444444")
    for start, out, end, into in ARROWS:
        ax.add_patch(FancyArrowPatch(side(start, out), side(end, into), arrowstyle="-|>", mutation_scale=13,
                                     color="#555555", linewidth=1.2, shrinkA=2, shrinkB=2))
    x, y = place(0, 1)  # audio goes to both kinds of features: past the MFCCs on the left
    _, top = side("data", "left")
    ax.plot([-0.02, -0.45, -0.45], [top, top, y + HEIGHT / 2], color="#555555", linewidth=1.2)
    ax.add_patch(FancyArrowPatch((-0.45, y + HEIGHT / 2), (0, y + HEIGHT / 2), arrowstyle="-|>", mutation_scale=13,
                                 color="#555555", linewidth=1.2, shrinkA=0, shrinkB=2))
    ax.set_xlim(-0.6, 2 * 3.7 + WIDTH + 0.15)
    ax.set_ylim(-0.15, 4 * 1.5 + HEIGHT + 0.15)
    ax.set_aspect("equal")
    ax.axis("off")
    fig.savefig(Path(__file__).with_name("pipeline.png"), bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    main()
