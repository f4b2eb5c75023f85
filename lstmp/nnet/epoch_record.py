"""The record of an epoch of training, a line of log.jsonl: its values, its text, and which epoch is the best.

``loss_train`` and ``loss_valid`` are the cross entropy per output frame in nats, or the negative of another
objective.
"""

from math import inf, isnan


def epoch_record(epoch: int, rate: float, batches: int, sums: dict, valid: tuple[float, float], statistics: dict,
                 counts: dict) -> dict:
    """The values of an epoch.

    Args:
        epoch: from 1.
        rate: learning rate at its end.
        batches: number of batches.
        sums: of all processes, see :class:`lstmp.nnet.snapshot.TrainingState`.
        valid: loss and frame accuracy of the held-out utterances.
        statistics: of the team.
        counts: of what a criterion over sequences left out, see :class:`lstmp.nnet.criterion.Criterion`; {} for cross
            entropy.
    """
    frames, seconds = sums["frames"], sums["seconds"]
    counted = max(frames, 1)  # a criterion may have left out everything
    return {
        "epoch": epoch, "learning_rate": rate, "batches": batches, "frames": frames,
        "loss_train": sums["loss"] / counted, "accuracy_train": sums["correct"] / counted,
        "loss_valid": valid[0], "accuracy_valid": valid[1], **counts,
        "seconds": round(seconds, 1), "cpu_seconds": round(sums["cpu_seconds"], 1),
        "frames_per_second": round(frames / max(seconds, 1e-9)), **statistics}


def epoch_text(row: dict, epochs: int, seconds: float) -> str:
    """The line that is printed after an epoch; ``epochs``: number of all epochs, ``seconds``: those of this one."""
    if "left_out" in row:
        left_out = f"{row['left_out']} chunks left out"
        if "outside" in row:
            left_out = f"{row['left_out']} utterances left out, {row['outside']} frames outside lattices"
        figures = f"objective {-row['loss_train']:.4f} held out {-row['loss_valid']:.4f}, {left_out}"
    else:
        figures = f"loss {row['loss_train']:.3f} held out {row['loss_valid']:.3f}"
    return (f"epoch {row['epoch']}/{epochs}: {figures}, frame accuracy {row['accuracy_train']:.2%} held out "
            f"{row['accuracy_valid']:.2%}, rate {row['learning_rate']:.2g}, {row['frames_per_second']:,} frames/s, "
            f"{seconds / 60:.1f} min")


def held_out_loss(row: dict) -> float:
    """The held-out loss of an epoch; infinite if it is not a number, so that no other epoch is worse."""
    return inf if isnan(row["loss_valid"]) else row["loss_valid"]


def is_best(history: list[dict]) -> bool:
    """Whether the last epoch is the best one so far, by held-out frame accuracy, or by another objective."""
    row = history[-1]
    if "left_out" in row:
        return held_out_loss(row) <= min(map(held_out_loss, history))
    return row["accuracy_valid"] >= max(h["accuracy_valid"] for h in history)
