"""What the features of a data dir are: ``feats.json``, written wherever they are made or taken over."""

import json
from pathlib import Path
from typing import Any

from lstmp import config
from lstmp.aliases import Json
from lstmp.corpus.datadir import write_table


def write_about(out: Path | str, kind: str, dim: int, num_frames: dict[str, int], left_out: int, frame_shift: float,
                **more: Any) -> int:
    """Write ``feats.json`` and ``utt2num_frames`` of features that are there.

    Args:
        kind: mfcc, fbank or fmllr.
        dim: D.
        num_frames: utterance → T.
        left_out: how many utterances have none.
        frame_shift: seconds from frame to frame.
        more: how they were made.

    Returns:
        the number of all frames.
    """
    write_table(Path(out) / "utt2num_frames", {utt: str(n) for utt, n in num_frames.items()})
    frames = sum(num_frames.values())
    about = {"kind": kind, "dim": dim, "utterances": len(num_frames), "left_out": left_out, "frames": frames,
             "frame_shift": frame_shift, **more}
    config.write_text(Path(out) / "feats.json", json.dumps(about, indent=1) + "\n")
    return frames


def extraction(data_dir: Path | str) -> Json | None:
    """What ``feats.json`` says of how the features of a data dir were made; None where there is none."""
    path = Path(data_dir) / "feats.json"
    return config.read_json(path, "make the features again") if path.is_file() else None
