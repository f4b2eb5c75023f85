"""The learning curves of the networks of an experiment, for its report; they grow while a network is trained."""

import math
from pathlib import Path
from typing import Any

from lstmp import config
from lstmp.aliases import Json
from lstmp.shards import write_shard

# key of log.jsonl → (key of the shard, factor)
_KEYS = {"epoch": ("epoch", 1), "loss_train": ("loss", 1), "loss_valid": ("valid_loss", 1),
         "accuracy_train": ("accuracy", 100), "accuracy_valid": ("valid_accuracy", 100), "learning_rate": ("rate", 1),
         "frames_per_second": ("frames_per_second", 1)}


def curves(exp: Path, prefix: str = "") -> dict[str, Json]:
    """Network → ``{"epochs": […], "running": whether its training is not finished}``; accuracies in per cent, minutes
    from the beginning of the training. ``prefix`` is put before the names."""
    out: dict[str, Json] = {}
    for log in sorted(exp.glob("*/log.jsonl")):
        epochs: list[Json] = []
        minutes = 0.0
        for record in _records(log):
            minutes += record["seconds"] / 60 if _is_number(record.get("seconds")) else 0
            epoch = {name: factor * record[key] for key, (name, factor) in _KEYS.items()
                     if _is_number(record.get(key))}
            epochs.append({**epoch, "minutes": round(minutes, 3)})
        if epochs:
            out[prefix + log.parent.name] = {"epochs": epochs, "running": not (log.parent / "train.json").is_file()}
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _records(log: Path) -> list[Json]:
    """The epochs of a log.jsonl; a last line that is being written is left out."""
    records = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = config.json_value(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def write_curves(report: Path, exps: dict[str, Path]) -> Path:
    """Write the shard ``curves``. ``exps``: prefix of the names → folder of the experiment."""
    systems = {name: x for prefix, exp in exps.items() for name, x in curves(exp, prefix).items()}
    return write_shard(report, "curves", {"systems": systems})
