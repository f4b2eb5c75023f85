"""Loads the training frames once for all processes of a team: into files that every process maps into its memory.

Frames that are not kept in memory are read by each process from their archives; the first process tells the others
which utterances can be used.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import files
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import Frames, FrameSet
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.frame_files import FrameFiles
from lstmp.nnet.model import StateNetwork


def team_frames(cfg: LstmpConfig, team: Team, out: Path, prepare) -> tuple[StateNetwork, Frames, Frames]:
    """Return the result of ``prepare()``, (network, training frames, held-out frames), in all processes.

    Only the process of rank 0 calls ``prepare``. The frames are in ``out/.frames``, on the file system that all
    machines share, until all processes have mapped them. Each machine's page cache holds what has been read of them,
    once for all processes, and drops it when memory is short.
    """
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)  # left behind by a run that was killed
    if team.size == 1:
        return prepare()
    about = model = None
    if team.leads:
        model, *sets = prepare()
        shared = [frames if isinstance(frames, FrameFiles) else _Written.write(out / ".frames" / name, frames)
                  for name, frames in zip(("train", "valid"), sets, strict=True)]
        about = dict(model.named_buffers()), model.num_pdfs, model.w_second is not None, shared
    buffers, num_pdfs, second_output, shared = team.gather(about)[0]  # the other processes wait here
    train, valid = (frames.map() if isinstance(frames, _Written) else frames for frames in shared)
    if model is None:
        model = StateNetwork(cfg, len(buffers["feature_mean"]), num_pdfs, second_output)
        for name, values in buffers.items():
            model.get_buffer(name).copy_(values)
    team.gather(None)  # all have mapped the files, so that they can be deleted: open maps stay valid
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)  # on NFS, files with open maps stay until training ends
    return model, train, valid


@dataclass(frozen=True)
class _Written:
    """A frame set whose features and pdf-ids are in two files of ``folder``."""

    folder: Path
    utts: list[str]
    offsets: torch.Tensor
    dim: int
    frame_shift: float

    @classmethod
    def write(cls, folder: Path, frames: FrameSet) -> "_Written":
        """Write the files piece by piece, so that the frames are in memory only once."""
        for name, values in (("features", frames.features), ("pdfs", frames.pdfs)):
            with files.replacing(folder / name) as tmp, open(tmp, "wb") as f:
                for piece in values.split(1 << 16):
                    f.write(piece.contiguous().numpy().data)
        return cls(folder, frames.utts, frames.offsets, frames.dim, frames.frame_shift)

    def map(self) -> FrameSet:
        """The frame set, whose memory the files are mapped into."""
        count = int(self.offsets[-1])
        features = np.memmap(self.folder / "features", np.float32, "c", shape=(count, self.dim))
        pdfs = np.memmap(self.folder / "pdfs", np.int64, "c", shape=(count,))
        return FrameSet(self.utts, self.offsets, torch.from_numpy(features), torch.from_numpy(pdfs), self.frame_shift)
