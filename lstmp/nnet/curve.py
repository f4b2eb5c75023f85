"""Plots loss and frame accuracy over the epochs, and writes them for TensorBoard."""

import shutil
from pathlib import Path

from lstmp.picture import plt, write_png


def plot_history(history: list[dict], path, title: str, loss: str = "cross entropy per frame (nats)"):
    """Plot the epochs' records of log.jsonl to the PNG file ``path``; ``loss``: the label of the axis of their loss."""
    epochs = [h["epoch"] for h in history]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for axis, key, scale, name in ((axes[0], "loss", 1, loss),
                                   (axes[1], "accuracy", 100, "frame accuracy (%)")):
        for part, label in (("train", "training"), ("valid", "held out")):
            axis.plot(epochs, [scale * h[f"{key}_{part}"] for h in history], marker="o", markersize=3, label=label)
        axis.set(xlabel="epoch", ylabel=name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    figure.tight_layout()
    write_png(figure, path, dpi=110)


def write_events(record: dict, folder):
    """Add an epoch's record of log.jsonl to the TensorBoard logs in ``folder``.

    Each epoch gets its own file; the first epoch clears the folder. Without the package tensorboardX nothing is
    written.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return
    folder = Path(folder)
    if record["epoch"] == 1:
        shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder), filename_suffix=f".epoch{record['epoch']:03d}") as writer:
        for key, value in record.items():
            name, _, part = key.rpartition("_")
            tag = f"{name}/{'held_out' if part == 'valid' else part}" if part in ("train", "valid") else f"run/{key}"
            if key not in ("epoch", "batches", "frames"):
                writer.add_scalar(tag, value, record["epoch"])
