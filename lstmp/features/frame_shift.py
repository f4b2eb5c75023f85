"""Reads and writes the frame shift of features, alignments and models.

It is set in one place: ``frame_shift_ms`` of the feature configuration, which ``feats.json`` records. Alignments and
networks inherit it from their features, in a file ``frame_shift`` that contains the seconds, as in Kaldi.
"""

from pathlib import Path

from lstmp import config
from lstmp.errors import UserError

DEFAULT_SECONDS = 0.01  # seconds: Kaldi's default


def frame_shift(folder: Path | str) -> float:
    """Read the frame shift in seconds of a data dir, an alignment or a model; Kaldi's 10 ms if it is not recorded.

    Raises:
        UserError: ``feats.json`` or ``frame_shift`` is damaged.
    """
    feats_json, frame_shift_file = Path(folder) / "feats.json", Path(folder) / "frame_shift"
    try:
        if feats_json.is_file():
            seconds = float(config.json_value(feats_json.read_bytes()).get("frame_shift", DEFAULT_SECONDS))
        else:
            seconds = float(frame_shift_file.read_text()) if frame_shift_file.is_file() else DEFAULT_SECONDS
        if not 0 < seconds < 1:
            raise ValueError
    except (ValueError, TypeError, AttributeError):
        raise UserError("it does not contain a valid frame shift", hint="make the features again",
                        file=feats_json if feats_json.is_file() else frame_shift_file) from None
    return seconds


def write_frame_shift(folder: Path | str, seconds: float) -> None:
    """Write the frame shift to a folder of an alignment or a model."""
    config.write_text(Path(folder) / "frame_shift", f"{seconds:g}\n")
