"""The time from one frame to the next, which features, alignments and models carry along.

One place says it: ``frame_shift_ms`` of the configuration that features are made with, which ``feats.json`` records.
Alignments and networks get it from their features, in a file ``frame_shift`` of one number in seconds, as Kaldi has it.
"""

from pathlib import Path

from lstmp import config
from lstmp.errors import UserError

KALDI = 0.01  # seconds: what Kaldi takes where nothing is said


def frame_shift(folder: Path | str) -> float:
    """Seconds from frame to frame of a data dir, an alignment or a model; Kaldi's 10 ms where it does not say.

    Raises:
        UserError: ``feats.json`` or ``frame_shift`` is damaged.
    """
    about, told = Path(folder) / "feats.json", Path(folder) / "frame_shift"
    try:
        if about.is_file():
            seconds = float(config.json_value(about.read_bytes()).get("frame_shift", KALDI))
        else:
            seconds = float(told.read_text()) if told.is_file() else KALDI
        if not 0 < seconds < 1:
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise UserError("it does not tell the time from frame to frame", file=about if about.is_file() else told,
                        hint="make the features again") from None
    return seconds


def write_frame_shift(folder: Path | str, seconds: float) -> None:
    """Note it in a folder of an alignment or a model."""
    config.write_text(Path(folder) / "frame_shift", f"{seconds:g}\n")
