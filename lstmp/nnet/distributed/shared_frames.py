"""Loads the training frames once for all processes of a team: into files that every process maps into its memory.

Frames that are not kept in memory are read by each process from their archives; the first process tells the others
which utterances can be used.
"""

import shutil
from pathlib import Path

from lstmp.nnet import checkpoint
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
        shared = [frames if isinstance(frames, FrameFiles) else _write_frames(out / ".frames" / name, frames)
                  for name, frames in zip(("train.safetensors", "valid.safetensors"), sets, strict=True)]
        about = model.feature_mean, model.feature_std, model.num_pdfs, shared
    mean, std, num_pdfs, shared = team.gather(about)[0]  # the other processes wait here
    train, valid = (frames if isinstance(frames, FrameFiles) else _map_frames(frames) for frames in shared)
    if model is None:
        model = StateNetwork(cfg, len(mean), num_pdfs)
        model.feature_mean.copy_(mean), model.feature_std.copy_(std)
    team.gather(None)  # all have mapped the files, so that they can be deleted: open maps stay valid
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)  # on NFS, files with open maps stay until training ends
    return model, train, valid


def _write_frames(path: Path, frames: FrameSet) -> Path:
    checkpoint.write(path, {"offsets": frames.offsets, "features": frames.features, "pdfs": frames.pdfs},
                     {"utts": frames.utts, "frame_shift": frames.frame_shift})
    return path


def _map_frames(path: Path) -> FrameSet:
    tensors, about = checkpoint.read(path, hint="run the same command again")
    return FrameSet(about["utts"], tensors["offsets"], tensors["features"], tensors["pdfs"], about["frame_shift"])
