"""Training frames in one file that all processes of a team map into their memory: loaded once, not once for each."""

import shutil
from pathlib import Path

from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import FrameSet
from lstmp.nnet.distributed.team import Team
from lstmp.nnet.model import StateNetwork


def team_frames(cfg: LstmpConfig, team: Team, out: Path, prepare) -> tuple[StateNetwork, FrameSet, FrameSet]:
    """What ``prepare()`` gives: the network, training and held-out frames; called in the process of rank 0 only.

    The frames lie in ``out/.frames``, on the file system that all machines share, until all have mapped them. The
    system keeps what is read of them in memory, once a machine, and lets go of it when memory is short.
    """
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)  # of a run that was killed
    if team.size == 1:
        return prepare()
    paths = [out / ".frames" / name for name in ("train.safetensors", "valid.safetensors")]
    about = model = None
    if team.leads:
        model, *sets = prepare()
        for path, frames in zip(paths, sets, strict=True):
            checkpoint.write(path, {"offsets": frames.offsets, "features": frames.features, "pdfs": frames.pdfs},
                             {"utts": frames.utts, "frame_shift": frames.frame_shift})
        about = model.feature_mean, model.feature_std, model.num_pdfs
    mean, std, num_pdfs = team.gather(about)[0]  # the others wait here
    sets = [_mapped(path) for path in paths]
    if model is None:
        model = StateNetwork(cfg, len(mean), num_pdfs)
        model.feature_mean.copy_(mean), model.feature_std.copy_(std)
    team.gather(None)  # all have mapped the files, whose names can go: the system keeps them until the last one ends
    if team.leads:
        shutil.rmtree(out / ".frames", ignore_errors=True)  # NFS keeps the files of open maps there until the end
    return model, *sets


def _mapped(path: Path) -> FrameSet:
    tensors, about = checkpoint.read(path, hint="run the same command again")
    return FrameSet(about["utts"], tensors["offsets"], tensors["features"], tensors["pdfs"], about["frame_shift"])
