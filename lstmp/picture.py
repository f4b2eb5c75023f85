"""Writes matplotlib figures to PNG files, with a temporary name and a rename; the bytes are reproducible."""

import io

import matplotlib

from lstmp import config

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 (the backend must be chosen first)


def write_png(figure, path, dpi: int):
    """Write ``figure`` to ``path`` and close it; a missing folder is made."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
    config.write_bytes(path, picture.getvalue())
