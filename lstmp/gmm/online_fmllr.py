"""Online fMLLR: cepstra, spliced, under LDA+MLLT and a transform of the speaker that is estimated while he speaks.

The transform of :mod:`lstmp.gmm.fmllr` maximizes the likelihood of frames whose states are known. Here the network that
reads the transformed features says itself how probable each state was in the frames before, and each state has one
Gaussian, of the features of the training data under the transforms of their speakers. So there is no decoding before
the decoding, and no dependence on its result.

The statistics are those of the utterance so far, and of the speaker's earlier utterances if they are known. The
transform is the most probable one for them (:mod:`lstmp.gmm.transform_prior`): before anything was heard, that of an
average speaker. A new one is estimated every `period` frames, from the frames that are at least `delay` older, so that
it does not matter how the frames are divided, nor which delay the network has.

Before the transform, the mean of the cepstra is normalized as in :mod:`lstmp.features.online_cmvn`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.config import check
from lstmp.errors import UserError
from lstmp.features.history import Heard
from lstmp.features.online_cmvn import OnlineNormalization
from lstmp.gmm.fmllr import SpeakerStats
from lstmp.gmm.transform_prior import TransformPrior, is_prior
from lstmp.tensors import opened, write_tensors

NAME = "online_fmllr.safetensors"
# what an estimate from statistics that no data can have may raise
IMPOSSIBLE = (RuntimeError, ZeroDivisionError, ValueError, TypeError)
_ROUNDS_AT_FIRST = 20  # of an estimate that begins with the average speaker


@dataclass(frozen=True)
class OnlineFmllrConfig:
    """The values of conf/online_fmllr.yaml, explained there."""

    period: int
    delay: int
    axes: int
    least_variance: float
    frame_weight: float
    max_frames: float
    silence_weight: float
    rounds: int
    window: int
    speaker_frames: int
    global_frames: int
    frames: int

    def __post_init__(self) -> None:
        for name in ("period", "rounds", "window", "global_frames", "frames"):
            check(getattr(self, name) >= 1, name, "at least 1")
        for name in ("delay", "speaker_frames"):
            check(getattr(self, name) >= 0, name, "0 or more")
        check(self.axes >= 0, "axes", "0 or more")
        check(self.least_variance > 0, "least_variance", "above 0")
        check(0 < self.frame_weight <= 1, "frame_weight", "above 0 and at most 1")
        check(self.max_frames > 0, "max_frames", "above 0")
        check(0 <= self.silence_weight <= 1, "silence_weight", "from 0 to 1")

    def normalization(self, mean: Array, variance: Array) -> OnlineNormalization:
        """The online CMVN of the cepstra; ``mean`` and ``variance``, [C], are those of the training data."""
        return OnlineNormalization(self.window, self.speaker_frames, self.global_frames, False, mean, variance)


class Adapter:
    """What online fMLLR is done with.

    Args:
        cfg: configuration.
        transform: float32 [D, C (1 + 2 context)], LDA+MLLT of the spliced cepstra.
        precision, target: float32 [P, D], w/σ² and w·μ/σ² of each state, with its weight w.
        weight: float32 [P], w: `silence_weight` for states of silence, 1 for the others.
        log_priors: float32 [P], of the states; the outputs of a network trained by LF-MMI have no priors in them.
        second, linear: float64 [D, (D + 1)(D + 2)/2] and [D, D + 1], statistics of the training data without
            transforms, in the form of :class:`.SpeakerStats`, for each frame of weight 1.
        cmvn_mean, cmvn_variance: float32 [C], of the cepstra of the training data.
        axes, variances: float32 [K, D (D + 1)] and [K], of :class:`.TransformPrior`.

    Attributes:
        dim: D.
        cepstra: C.
        context: frames on each side that are spliced.
        num_pdfs: P.
        normalization: the online CMVN.
        projection: float64, the transform of the spliced cepstra; in double precision frames are the same, however
            they are divided.
        terms: float64 [P, 2 D + 1], precision, target and weight of each state.
        prior: what is known of the transforms of speakers.
    """

    TENSORS = ("transform", "precision", "target", "weight", "log_priors", "second", "linear", "cmvn_mean",
               "cmvn_variance", "axes", "variances")

    def __init__(self, cfg: OnlineFmllrConfig, transform: torch.Tensor, precision: torch.Tensor, target: torch.Tensor,
                 weight: torch.Tensor, log_priors: torch.Tensor, second: torch.Tensor, linear: torch.Tensor,
                 cmvn_mean: torch.Tensor, cmvn_variance: torch.Tensor, axes: torch.Tensor, variances: torch.Tensor):
        self.cfg, self.transform, self.precision, self.target, self.weight = cfg, transform, precision, target, weight
        self.log_priors = log_priors
        self.second, self.linear, self.cmvn_mean, self.cmvn_variance = second, linear, cmvn_mean, cmvn_variance
        self.dim, self.cepstra, self.num_pdfs = len(transform), len(cmvn_mean), len(precision)
        self.context = transform.shape[1] // self.cepstra // 2
        self.normalization = cfg.normalization(cmvn_mean.numpy(), cmvn_variance.numpy())
        self.projection = transform.double().t()
        self.terms = torch.cat([precision, target, weight[:, None]], 1).double()
        self.axes, self.variances = axes, variances
        self.prior = TransformPrior(second, linear, axes, variances, cfg.least_variance, cfg.frame_weight)

    def write(self, path: Path) -> None:
        """Write the adapter to one safetensors file."""
        tensors = {name: getattr(self, name).contiguous() for name in self.TENSORS}
        write_tensors(path, tensors, {"online_fmllr": json.dumps(asdict(self.cfg))})

    @classmethod
    def read(cls, path: Path) -> "Adapter":
        """Read what :meth:`write` wrote.

        Raises:
            UserError: the file is missing or damaged.
        """
        hint = "train it again (steps/train_online_fmllr.sh)"
        with opened(path, "not for online fMLLR, or cut off", hint, ("no such file", hint)) as f:
            cfg = config.build(config.json_value(f.metadata()["online_fmllr"]), OnlineFmllrConfig, file=path)
            x = {name: f.get_tensor(name) for name in cls.TENSORS}
        dim, columns = x["transform"].shape if x["transform"].dim() == 2 else (0, 0)
        pdfs, cepstra = x["weight"].numel(), x["cmvn_mean"].numel()
        shapes = {"precision": (pdfs, dim), "target": (pdfs, dim), "weight": (pdfs,), "log_priors": (pdfs,),
                  "linear": (dim, dim + 1),
                  "second": (dim, (dim + 1) * (dim + 2) // 2), "cmvn_mean": (cepstra,), "cmvn_variance": (cepstra,)}
        if any(x[name].shape != shape for name, shape in shapes.items()) or not min(dim, cepstra) \
                or columns % cepstra or columns // cepstra % 2 == 0 \
                or not all(bool(a.isfinite().all()) for a in x.values()) \
                or min(float(x["precision"].min()), float(x["weight"].min())) < 0 \
                or not is_prior(x["axes"], x["variances"], dim * (dim + 1)) \
                or any(a.dtype != (torch.float64 if name in ("second", "linear") else torch.float32)
                       for name, a in x.items()):
            raise UserError("not for online fMLLR", file=path, hint=hint)
        try:
            return cls(cfg, **x)
        except IMPOSSIBLE:
            raise UserError("not for online fMLLR", file=path, hint=hint) from None

    def with_axes(self, axes: torch.Tensor, variances: torch.Tensor) -> "Adapter":
        """The same with another prior of the transforms."""
        return Adapter(self.cfg, **{name: getattr(self, name) for name in self.TENSORS}
                       | {"axes": axes, "variances": variances})

    def start(self, heard: Heard | None = None) -> "OnlineFmllr":
        """What adapts the frames of an utterance; ``heard``: of its speaker before."""
        return OnlineFmllr(self, heard)


class OnlineFmllr:
    """Adapts the frames of one utterance while they arrive.

    Frames go in with :meth:`parts`; between two of its parts, :meth:`hear` must be told the posteriors of all frames
    that are at least `delay` older than the end of the first part.

    Args:
        adapter: what it is done with.
        heard: of the speaker before; None: nothing.
    """

    def __init__(self, adapter: Adapter, heard: Heard | None = None):
        dim = adapter.dim
        self.adapter, self._cmvn = adapter, adapter.normalization.start(heard)
        self._stats, self._coordinates = SpeakerStats.zeros(dim), adapter.prior.origin
        if heard and heard.fmllr:
            self._stats = SpeakerStats(*(torch.from_numpy(x.copy()) for x in heard.fmllr))
            self._limit()
            self._coordinates = adapter.prior.estimate(self._stats, adapter.prior.origin, _ROUNDS_AT_FIRST)
        self._transform = adapter.prior.transform(self._coordinates)
        self._cepstra = np.zeros((0, adapter.cepstra), np.float32)  # normalized, those that are still neighbours
        self._begun, self._frames = False, 0  # frames that were adapted
        self._waiting = torch.zeros(0, dim)  # spliced and transformed frames that are not adapted yet
        # of the frames that do not count yet: themselves, and the terms of those whose posteriors are known
        self._unheard, self._terms = torch.zeros(0, dim), torch.zeros(0, 2 * dim + 1)

    def parts(self, cepstra: Array) -> Iterator[torch.Tensor]:
        """Take the next frames [T, C] and yield those adapted that can be, float32 [T', D], part by part."""
        new = self._cmvn.accept(cepstra)
        if len(new) and not self._begun:
            new = np.concatenate([np.repeat(new[:1], self.adapter.context, 0), new])  # before the first frame
            self._begun = True
        yield from self._adapted(new)

    def rest(self) -> Iterator[torch.Tensor]:
        """As :meth:`parts`: the last frames, at the end of the utterance."""
        yield from self._adapted(np.repeat(self._cepstra[-1:], self.adapter.context, 0))

    def hear(self, posteriors: torch.Tensor) -> None:
        """Take the posteriors of the states in the next adapted frames, float32 [T, P]."""
        self._terms = torch.cat([self._terms, (posteriors.double() @ self.adapter.terms).float()])

    def hear_states(self, pdfs: torch.Tensor) -> None:
        """As :meth:`hear`, of frames whose states are known: int64 [T]."""
        self._terms = torch.cat([self._terms, self.adapter.terms[pdfs].float()])

    def heard(self) -> Heard:
        """The statistics of the speaker so far."""
        stats = SpeakerStats(*(x.clone() for x in self._stats.tensors()))
        self._count(stats, min(len(self._terms), len(self._unheard)))
        return Heard(self._cmvn.speaker(), fmllr=tuple(x.numpy() for x in stats.tensors()))

    def _adapted(self, cepstra: Array) -> Iterator[torch.Tensor]:
        context, cfg = self.adapter.context, self.adapter.cfg
        cepstra = np.concatenate([self._cepstra, cepstra])
        self._cepstra = cepstra[max(0, len(cepstra) - 2 * context):len(cepstra) if context else 0]
        ready = len(cepstra) - 2 * context
        if ready > 0:
            index = np.arange(ready)[:, None] + np.arange(1 + 2 * context)
            spliced = torch.from_numpy(cepstra[index].reshape(ready, -1)).double()
            self._waiting = torch.cat([self._waiting, (spliced @ self.adapter.projection).float()])
        while len(self._waiting):
            if self._frames and self._frames % cfg.period == 0:
                self._renew()
            count = min(len(self._waiting), cfg.period - self._frames % cfg.period)
            frames, self._waiting = self._waiting[:count], self._waiting[count:]
            self._unheard = torch.cat([self._unheard, frames])
            self._frames += count
            yield torch.addmm(self._transform[:, -1], frames.double(), self._transform[:, :-1].t()).float()

    def _renew(self) -> None:
        """Estimate a new transform, with the frames that are old enough."""
        count = len(self._unheard) - self.adapter.cfg.delay
        if count <= 0:
            return
        assert count <= len(self._terms), "the posteriors of older frames must be told before further ones are adapted"
        self._count(self._stats, count)
        self._unheard, self._terms = self._unheard[count:], self._terms[count:]
        self._limit()
        prior = self.adapter.prior
        self._coordinates = prior.estimate(self._stats, self._coordinates, self.adapter.cfg.rounds)
        self._transform = prior.transform(self._coordinates)

    def _count(self, stats: SpeakerStats, count: int) -> None:
        """Add the first ``count`` frames that do not count yet to ``stats``."""
        precision, target, weight = self._terms[:count].split([self.adapter.dim, self.adapter.dim, 1], 1)
        stats.add(self._unheard[:count], precision, target, weight[:, 0])

    def _limit(self) -> None:
        """Let older frames count for less, if there are more than `max_frames`."""
        share = self.adapter.cfg.max_frames / max(float(self._stats.beta), 1e-10)
        if share < 1:
            self._stats = SpeakerStats(*(x * share for x in self._stats.tensors()))
