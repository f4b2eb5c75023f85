"""Loads features as a model's input: normalized per speaker, with derivatives or context frames, transformed.

Archives contain the raw features. Everything else is computed on reading (0.2 ms per utterance), so one archive serves
models with different inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import kaldi_native_fbank as knf
import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.config import check
from lstmp.corpus.datadir import read_table
from lstmp.errors import UserError
from lstmp.features.about import read_about
from lstmp.features.ark import archives_of, position, read_mat, read_scp
from lstmp.features.frame_shift import frame_shift
from lstmp.features.history import Heard, History
from lstmp.features.online_cmvn import mean_and_variance

_ONLINE = ("online_mean", "online_mean_var")


@dataclass(frozen=True)
class FeatureConfig:
    """The features that a model takes as input.

    Attributes:
        kind: "mfcc", "fbank", "fmllr": the input of a speaker-adapted GMM (steps/make_fmllr.sh); or for networks
            "online_fmllr", the same adapted by what was heard before (:mod:`lstmp.gmm.online_fmllr`).
        cmvn: mean and variance normalization, per speaker: "none", "mean" or "mean_var"; or for networks
            "online_mean" or "online_mean_var", see :mod:`lstmp.features.online_cmvn`.
        deltas: order of the time derivatives to append: 0, 1 or 2; they multiply the dimension by 1 + order.
    """

    kind: str
    cmvn: str
    deltas: int

    def __post_init__(self) -> None:
        check(self.kind in ("mfcc", "fbank", "fmllr", "online_fmllr"), "kind", "mfcc, fbank, fmllr or online_fmllr")
        check(self.cmvn in ("none", "mean", "mean_var", *_ONLINE), "cmvn",
              f"none, mean, mean_var, {' or '.join(_ONLINE)}")
        check(self.deltas in (0, 1, 2), "deltas", "0, 1 or 2")
        check(not self.online_cmvn or self.deltas == 0, "deltas", f"0 with cmvn {self.cmvn}")
        check(not self.online_cmvn or self.kind != "fmllr", "cmvn", "none with kind fmllr")
        check(self.kind != "online_fmllr" or (self.cmvn, self.deltas) == ("none", 0), "cmvn",
              "none, and deltas 0, with kind online_fmllr")

    @property
    def online_cmvn(self) -> bool:
        """Whether each frame is normalized by earlier frames; then the network does it, from raw features."""
        return self.cmvn in _ONLINE

    @property
    def available_online(self) -> bool:
        """Whether the features of a frame do not depend on later frames or on the speaker's other speech."""
        return self.kind == "online_fmllr" or (self.kind == "fbank" and self.cmvn in ("none", *_ONLINE)
                                               and self.deltas == 0)

    @property
    def plain_energies(self) -> bool:
        """Raw log-mel energies: a frame depends on no other frames and on no speaker statistics."""
        return (self.kind, self.cmvn, self.deltas) == ("fbank", "none", 0)


RAW_MFCC = FeatureConfig("mfcc", "none", 0)


def archives(data_dir: Path | str) -> list[Path]:
    """List the archives that ``feats.scp`` and ``cmvn.scp`` of a data dir refer to, as further inputs of a stage.

    If features are recomputed, archives change even if the tables stay the same.
    """
    scps = [path for name in ("feats.scp", "cmvn.scp") if (path := Path(data_dir) / name).is_file()]
    return archives_of(rx for path in scps for rx in read_scp(path).values())


def data_inputs(data_dir: Path | str, *more: str) -> list[Path]:
    """List the inputs of a stage that reads a data dir's features, for :class:`lstmp.stage.Stage`.

    These are the tables of features, CMVN statistics and speakers, ``feats.json``, and the archives, in any folder.

    Args:
        more: names of further files of the data dir that the stage reads, such as ``text``.
    """
    names = ("feats.scp", "cmvn.scp", "utt2spk", "feats.json", *more)
    return [Path(data_dir) / name for name in names] + archives(data_dir)


def splice(feats: torch.Tensor, context: int) -> torch.Tensor:
    """Concatenate each frame with its neighbours in order of time: [T, D] → [T, (1 + 2·context)·D].

    The first and last frames are repeated at the edges, as in Kaldi.
    """
    if not context or not len(feats):
        return feats
    index = torch.arange(len(feats))[:, None] + torch.arange(-context, context + 1)
    return feats[index.clamp(0, len(feats) - 1)].reshape(len(feats), -1)


def affine_transform(feats: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """Apply an affine transform [D', D + 1], whose last column is the offset, to features [T, D]: [T, D']."""
    return torch.addmm(affine[:, -1], feats, affine[:, :-1].t())


class Online(Protocol):
    """Makes the input of one utterance while its frames arrive: :class:`lstmp.nnet.front.OnlineInput`."""

    def accept(self, frames: Array) -> Array: ...
    def heard(self) -> Heard: ...


class Front(Protocol):
    """What depends on earlier frames in a network's input: :class:`lstmp.nnet.front.Front`, or online CMVN alone."""

    @property
    def added(self) -> int: ...
    def start(self, heard: Heard | None = None) -> Online: ...


def listener(front: Front) -> Callable[[Array, Heard | None], Heard]:
    """What :meth:`Features.history` needs, for an input that depends on earlier frames alone."""
    def listen(raw: Array, before: Heard | None) -> Heard:
        online = front.start(before)
        online.accept(raw)
        return online.heard()
    return listen


class Features:
    """The features of a data dir.

    Args:
        data_dir: Kaldi data dir with features.
        cfg: how to process them.
        transform: linear transform [D, D'], such as LDA+MLLT, applied to the features that ``cfg`` describes. If D' is
            an odd multiple of their dimension, that many neighbouring frames are spliced first, see :func:`splice`.
        adapted: speaker → affine transform [D, D + 1], applied last (fMLLR); other speakers are not adapted.
        context: without a transform, splice each frame with this many frames on each side.
        front: for the training of a network: the part of its input that depends on earlier frames, which :meth:`load`
            then makes. What was heard of the speaker is that of :meth:`.History.pair`. None: features with online CMVN
            are loaded raw, because the network normalizes them.

    Attributes:
        utts: ids of the utterances that have features, sorted.
        dim: D of the features that :meth:`load` returns.
        frame_shift: in seconds.

    Raises:
        UserError: there is no feats.scp, features are of another type or dimension than ``cfg`` and ``transform`` need,
            an utterance has no speaker, or a speaker has no CMVN statistics.
    """

    def __init__(self, data_dir: Path | str, cfg: FeatureConfig, transform: torch.Tensor | None = None,
                 adapted: dict[str, torch.Tensor] | None = None, context: int = 0,
                 front: Front | None = None):
        self.dir, self.cfg, self._transform, self.adapted = Path(data_dir), cfg, transform, adapted or {}
        self.front = front
        if not (self.dir / "feats.scp").is_file():
            raise UserError("no such file", file=self.dir / "feats.scp",
                            hint=f"run steps/make_{cfg.kind}.sh {data_dir}")
        self._check_type()
        self.frame_shift = frame_shift(self.dir)
        self._scp = read_scp(self.dir / "feats.scp")
        self.utts = sorted(self._scp)
        if not self.utts:
            raise UserError("no utterance in it", file=self.dir / "feats.scp", hint="see the log of its making")
        self._speaker = read_table(self.dir / "utt2spk")
        self._base_dim = read_mat(self._scp[self.utts[0]]).shape[1]
        self.dim, self._context = self._base_dim * (1 + cfg.deltas), context
        if transform is not None:
            frames, remainder = divmod(transform.shape[1], self.dim)
            self._context = frames // 2
            if remainder or frames % 2 == 0:
                raise UserError(f"features of {self.dim} dimensions for a transform of {transform.shape[1]}",
                                file=self.dir / "feats.scp",
                                hint="make the features with the configuration that the model was trained with")
        self.dim = self.dim * (1 + 2 * self._context) if transform is None else len(transform)
        self.dim += front.added if front else 0
        self._history = self.history(listener(front)) if front else None
        self._stats = self._read_cmvn() if cfg.cmvn != "none" and not cfg.online_cmvn else {}
        self._num_frames = self._read_num_frames()

    def num_frames(self, utt: str) -> int:
        """T, the number of frames of utterance ``utt``."""
        if utt not in self._num_frames:
            self._num_frames[utt] = len(read_mat(self._rx(utt)))
        return self._num_frames[utt]

    def num_frames_or_0(self, utt: str) -> int:
        """:meth:`num_frames`, or 0 if the archive is damaged; the error is raised when the features are loaded."""
        try:
            return self.num_frames(utt)
        except UserError:
            return 0

    def position(self, utt: str) -> tuple[str, int]:
        """The archive with the features of utterance ``utt``, and their offset in bytes."""
        return position(self._rx(utt))

    def speaker(self, utt: str) -> str:
        """The speaker of utterance ``utt``."""
        return self._speaker[utt]

    def load(self, utt: str) -> torch.Tensor:
        """Load utterance ``utt``: torch.float32 [T, dim], normalized, with derivatives or context, transformed.

        Derivatives are those of Kaldi's ``add-deltas``: the slope of a regression line over 2 frames on each side;
        the first and last frames are repeated at the edges.

        Raises:
            UserError: the archive is missing, truncated or damaged, or the matrix has NaN, no frames or another
                dimension.
        """
        mat = self._raw(utt)
        if self.front:
            assert self._history is not None
            mat = self.front.start(self._history.pair(utt)).accept(mat)
        elif self.cfg.cmvn != "none" and not self.cfg.online_cmvn:
            stats = self._stats[self._speaker[utt]]
            mat = knf.apply_cmvn(stats, knf.CmvnOptions(norm_vars=self.cfg.cmvn == "mean_var"), mat)
        if self.cfg.deltas:
            mat = knf.compute_deltas(knf.DeltaOptions(order=self.cfg.deltas, window=2), mat)
        feats = splice(torch.from_numpy(mat), self._context)
        if self._transform is not None:
            feats = feats @ self._transform.t()
        affine = self.adapted.get(self._speaker.get(utt, "")) if self.adapted else None
        return feats if affine is None else affine_transform(feats, affine)

    def training_moments(self) -> tuple[Array, Array]:
        """Mean and variance of all speakers, float64 [D] each, for online CMVN."""
        return mean_and_variance(self._read_cmvn().values())

    def history(self, listen: Callable[[Array, Heard | None], Heard]) -> History:
        """What was heard before each utterance.

        Args:
            listen: (raw features of an utterance, what was heard before it) → what was heard after it.
        """
        for utt in self.utts:
            if utt not in self._speaker:
                raise UserError(f"utterance {utt} has no speaker", file=self.dir / "utt2spk", hint="add its line")
        return History(((utt, self._speaker[utt]) for utt in self.utts),
                       lambda utt, before: listen(self._raw(utt), before))

    def _raw(self, utt: str) -> Array:
        mat = read_mat(self._rx(utt), dim=self._base_dim)
        if not len(mat):
            raise UserError(f"utterance {utt} has no frames", file=self.dir / "feats.scp", hint="leave it out")
        return mat

    def _rx(self, utt: str) -> str:
        if utt not in self._scp:
            raise UserError(f"utterance {utt} has no features", file=self.dir / "feats.scp",
                            hint="see the log of the features stage, or use only utterances in feats.scp")
        return self._scp[utt]

    def _check_type(self) -> None:
        about, path = read_about(self.dir), self.dir / "feats.json"  # absent in data dirs made by Kaldi
        if about is None:
            return
        if "kind" not in about:
            raise UserError("not a description of features", file=path, hint="make the features again")
        if about["kind"] != self.cfg.kind:
            raise UserError(f"the features are {about['kind']}, the model needs {self.cfg.kind}", file=path,
                            hint=f"give the data dir with {self.cfg.kind} features")

    def _read_cmvn(self) -> dict[str, Array]:
        """Read the CMVN statistics: speaker → [2, D+1], sums and count, sums of squares."""
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
                raise UserError(f"speaker {speaker} has statistics of 0 frames", file=path,
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
                                hint="delete the file; it is only a cache")
            counts[utt] = int(value)
        return counts
