"""Loss and frame accuracy over the epochs, as a picture."""

from lstmp.picture import plt, write_png


def plot_history(history: list[dict], path, title: str):
    """Draw the epochs' records of log.jsonl to the PNG file ``path``."""
    epochs = [h["epoch"] for h in history]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5))
    for axis, key, scale, name in ((axes[0], "loss", 1, "cross entropy per frame (nats)"),
                                   (axes[1], "accuracy", 100, "frame accuracy (%)")):
        for part, label in (("train", "training"), ("valid", "held out")):
            axis.plot(epochs, [scale * h[f"{key}_{part}"] for h in history], marker="o", markersize=3, label=label)
        axis.set(xlabel="epoch", ylabel=name)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    figure.tight_layout()
    write_png(figure, path, dpi=110)
