"""Features of a data dir as a model sees them: normalized per speaker, with derivatives or context, transformed.

The archives hold the plain features; all the rest is computed on reading (0.2 ms an utterance), so that one archive
serves models that want them differently.
"""

from dataclasses import dataclass
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.config import check
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError
from lstmp.features.about import extraction
from lstmp.features.ark import archives_of, read_mat, read_scp
from lstmp.features.frame_shift import frame_shift


@dataclass(frozen=True)
class FeatureConfig:
    """What a model takes as input.

    Attributes:
        kind: "mfcc", "fbank", or "fmllr": those that a speaker-adapted GMM sees (steps/make_fmllr.sh).
        cmvn: cepstral mean and variance normalization per speaker: "none", "mean" or "mean_var".
        deltas: order of the time derivatives to append: 0, 1 or 2; they multiply the dimension by 1 + order.
    """

    kind: str
    cmvn: str
    deltas: int

    def __post_init__(self) -> None:
        check(self.kind in ("mfcc", "fbank", "fmllr"), "kind", "mfcc, fbank or fmllr")
        check(self.cmvn in ("none", "mean", "mean_var"), "cmvn", "none, mean or mean_var")
        check(self.deltas in (0, 1, 2), "deltas", "0, 1 or 2")

    @property
    def plain_energies(self) -> bool:
        """Log-mel energies as they are: a frame needs no other frames, nor anything known of its speaker."""
        return (self.kind, self.cmvn, self.deltas) == ("fbank", "none", 0)


def archives(data_dir: Path | str) -> list[Path]:
    """The archives that a data dir's ``feats.scp`` and ``cmvn.scp`` point into: what a stage depends on, beside them.

    The archives of a subset or of other features of the same utterances differ, where the tables may not.
    """
    scps = [path for name in ("feats.scp", "cmvn.scp") if (path := Path(data_dir) / name).is_file()]
    return archives_of(rx for path in scps for rx in read_scp(path).values())


def data_inputs(data_dir: Path | str, *more: str) -> list[Path]:
    """What a stage depends on that reads a data dir's features, for :class:`lstmp.stage.Stage`.

    These are the tables of features, of normalization and of speakers, what the features are, and the archives that
    hold them, wherever they lie.

    Args:
        more: names of other files of the data dir that it reads, such as ``text``.
    """
    names = ("feats.scp", "cmvn.scp", "utt2spk", "feats.json", *more)
    return [Path(data_dir) / name for name in names] + archives(data_dir)


def splice(feats: torch.Tensor, context: int) -> torch.Tensor:
    """Each frame beside its neighbours: [T, D] → [T, (1 + 2·context)·D], from the earliest to the latest.

    The first and the last frame are repeated beyond the ends, as in Kaldi.
    """
    if not context or not len(feats):
        return feats
    at = torch.arange(len(feats))[:, None] + torch.arange(-context, context + 1)
    return feats[at.clamp(0, len(feats) - 1)].reshape(len(feats), -1)


def affine_transform(feats: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Features [T, D] under an affine transform [D', D + 1], whose last column is the offset: [T, D']."""
    return torch.addmm(affine[:, -1], feats, affine[:, :-1].t())


class Features:
    """The features of a data dir.

    Args:
        data_dir: Kaldi data dir with features.
        cfg: what to make of them.
        transform: linear transform [D, D'] of what ``cfg`` gives, such as LDA+MLLT. If D' is an odd multiple of that
            dimension, it takes as many neighbouring frames side by side, see :func:`splice`.
        adapted: speaker → affine transform [D, D + 1] that comes last (fMLLR); an utterance of a speaker that it
            lacks stays as it is.
        context: without a transform, lay so many frames on each side beside each frame.

    Attributes:
        utts: ids of the utterances that have features, sorted.
        dim: D of :meth:`load`.
        frame_shift: seconds.

    Raises:
        UserError: no feats.scp, another kind of features than asked for, an utterance without speaker, a speaker
            without CMVN statistics, or another dimension than the transform takes.
    """

    def __init__(self, data_dir: Path | str, cfg: FeatureConfig, transform: torch.Tensor | None = None,
                 adapted: dict[str, torch.Tensor] | None = None, context: int = 0):
        self.dir, self.cfg, self._transform, self.adapted = Path(data_dir), cfg, transform, adapted or {}
        if not (self.dir / "feats.scp").is_file():
            raise UserError("no such file", file=self.dir / "feats.scp",
                            hint=f"run steps/make_{cfg.kind}.sh {data_dir}")
        self._check_kind()
        self.frame_shift = frame_shift(self.dir)
        self._scp = read_scp(self.dir / "feats.scp")
        self.utts = sorted(self._scp)
        if not self.utts:
            raise UserError("no utterance in it", file=self.dir / "feats.scp", hint="see the log of its making")
        self._speaker = read_table(self.dir / "utt2spk")
        self._base_dim = read_mat(self._scp[self.utts[0]]).shape[1]
        self.dim, self._context = self._base_dim * (1 + cfg.deltas), context
        if transform is not None:
            frames, rest = divmod(transform.shape[1], self.dim)
            self._context = frames // 2
            if rest or frames % 2 == 0:
                raise UserError(f"features of {self.dim} dimensions for a transform of {transform.shape[1]}",
                                file=self.dir / "feats.scp",
                                hint="make the features with the configuration that the model was trained with")
        self.dim = self.dim * (1 + 2 * self._context) if transform is None else len(transform)
        self._stats = self._read_cmvn() if cfg.cmvn != "none" else {}
        self._num_frames = self._read_num_frames()

    def num_frames(self, utt: str) -> int:
        """T of utterance ``utt``."""
        if utt not in self._num_frames:
            self._num_frames[utt] = len(read_mat(self._rx(utt)))
        return self._num_frames[utt]

    def speaker(self, utt: str) -> str:
        """The speaker of utterance ``utt``."""
        return self._speaker[utt]

    def load(self, utt: str) -> torch.Tensor:
        """Features of utterance ``utt``: torch.float32 [T, dim], normalized, with derivatives or context, transformed.

        Derivatives are Kaldi's ``add-deltas``: slope of the regression line over 2 frames to each side, the first and
        last frame repeated beyond the ends.

        Raises:
            UserError: the archive is missing, cut off or damaged, or holds NaN, another dimension or no frame.
        """
        mat = read_mat(self._rx(utt), dim=self._base_dim)
        if not len(mat):
            raise UserError(f"utterance {utt} has no frames", file=self.dir / "feats.scp", hint="leave it out")
        if self.cfg.cmvn != "none":
            stats = self._stats[self._speaker[utt]]
            mat = knf.apply_cmvn(stats, knf.CmvnOptions(norm_vars=self.cfg.cmvn == "mean_var"), mat)
        if self.cfg.deltas:
            mat = knf.compute_deltas(knf.DeltaOptions(order=self.cfg.deltas, window=2), mat)
        feats = splice(torch.from_numpy(mat), self._context)
        if self._transform is not None:
            feats = feats @ self._transform.t()
        affine = self.adapted.get(self._speaker.get(utt, "")) if self.adapted else None
        return feats if affine is None else affine_transform(feats, affine)

    def _rx(self, utt: str) -> str:
        if utt not in self._scp:
            raise UserError(f"utterance {utt} has no features", file=self.dir / "feats.scp",
                            hint="see the log of their making, or take the utterances of feats.scp")
        return self._scp[utt]

    def _check_kind(self) -> None:
        about, path = extraction(self.dir), self.dir / "feats.json"  # data dirs made by Kaldi have none
        if about is None:
            return
        if "kind" not in about:
            raise UserError("not what extract wrote", file=path, hint="make the features again")
        if about["kind"] != self.cfg.kind:
            raise UserError(f"the features are {about['kind']}, the model takes {self.cfg.kind}", file=path,
                            hint=f"give the data dir with {self.cfg.kind} features")

    def _read_cmvn(self) -> dict[str, Array]:
        """Speaker → statistics [2, D+1]: sums and count, sums of squares."""
        path = self.dir / "cmvn.scp"
        if not path.is_file():
            raise UserError("no such file", file=path, hint=f"run steps/compute_cmvn.sh {self.dir}")
        scp = read_scp(path)
        for utt in self.utts:
            if utt not in self._speaker:
                raise UserError(f"utterance {utt} has no speaker", file=self.dir / "utt2spk", hint="add its line")
            if self._speaker[utt] not in scp:
                raise UserError(f"speaker {self._speaker[utt]} has no statistics", file=path,
                                hint=f"run steps/compute_cmvn.sh {self.dir}")
        stats = {speaker: read_mat(rx, dim=self._base_dim + 1, dtype=np.float64) for speaker, rx in scp.items()}
        for speaker, s in stats.items():
            if len(s) != 2 or not s[0, -1] >= 1:
                raise UserError(f"speaker {speaker} has statistics of no frame", file=path,
                                hint=f"run steps/compute_cmvn.sh {self.dir}")
        return stats

    def _read_num_frames(self) -> dict[str, int]:
        path = self.dir / "utt2num_frames"
        if not path.is_file():
            return {}
        counts = {}
        for number, (utt, value) in enumerate(read_table(path).items(), 1):
            if not config.is_count(value):
                raise UserError(f"{value!r} is not a number of frames", file=path, line=number,
                                hint="delete the file, it is only a shortcut")
            counts[utt] = int(value)
        return counts
