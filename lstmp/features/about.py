"""Reads and writes ``feats.json``, the description of a data dir's features."""

import json
from pathlib import Path
from typing import Any

from lstmp import config
from lstmp.aliases import Json
from lstmp.corpus.datadir import write_table


def write_about(out: Path | str, feature_type: str, dim: int, num_frames: dict[str, int], left_out: int,
                frame_shift: float, **more: Any) -> int:
    """Write ``feats.json`` and ``utt2num_frames`` for existing features.

    Args:
        feature_type: mfcc, fbank, fmllr or online_fmllr.
        dim: D, the dimension.
        num_frames: utterance → T, its number of frames.
        left_out: number of utterances without features.
        frame_shift: seconds from frame to frame.
        more: further keys that describe how the features were made.

    Returns:
        the total number of frames.
    """
    write_table(Path(out) / "utt2num_frames", {utt: str(n) for utt, n in num_frames.items()})
    frames = sum(num_frames.values())
    about = {"kind": feature_type, "dim": dim, "utterances": len(num_frames), "left_out": left_out, "frames": frames,
             "frame_shift": frame_shift, **more}
    config.write_text(Path(out) / "feats.json", json.dumps(about, indent=1) + "\n")
    return frames


def read_about(data_dir: Path | str) -> Json | None:
    """Read ``feats.json`` of a data dir; None if there is none."""
    path = Path(data_dir) / "feats.json"
    return config.read_json(path, "make the features again") if path.is_file() else None
