"""Computes acoustic scores for the decoder with a trained network: log-posteriors minus log-priors, delay removed.

The outputs of a network trained by LF-MMI are scores as they are. With subsampling there is a row of scores for each
output frame (:mod:`lstmp.features.output_frames`); with `repeat_scores`, that row for each frame of its group. The
scores are multiplied by `acoustic_factor`, see ``conf/lstmp.yaml``.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lstmp import config
from lstmp.aliases import Array
from lstmp.errors import UserError
from lstmp.features.frame_shift import DEFAULT_SECONDS, frame_shift
from lstmp.features.history import Heard
from lstmp.features.load import RAW_MFCC, listener
from lstmp.features.output_frames import output_lengths, padding
from lstmp.gmm.ivector import NAME as IVECTORS
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.gmm.online_fmllr import Adapter
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.data import has_priors
from lstmp.nnet.front import Front
from lstmp.nnet.model import StateNetwork
from lstmp.tensors import are

_LONGEST_DELAY = 1000  # frames
_CHUNK = 50  # output frames at a time: limits the memory, changes no result


class AcousticNetwork:
    """A network folder, as :mod:`lstmp.nnet.train` writes it, as a function from features to acoustic scores.

    Attributes:
        feature: FeatureConfig of the features that it takes; with online fMLLR, raw cepstra.
        live: whether it can recognize while its frames arrive.
        num_pdfs: number of tied states.
        frame_shift: seconds from frame to frame of the features.
        subsampling: S, the frames of the features for which there is one row of scores; 1 with `repeat_scores`.
        front: the part of its input that depends on earlier frames, if any: then it takes raw energies or cepstra.
        adapter: what online fMLLR is done with, if it is.
        has_priors: whether priors are subtracted from its outputs; not if it was trained by LF-MMI, at first or alone.
    """

    def __init__(self, cfg: LstmpConfig, model: StateNetwork, log_priors: torch.Tensor, device: str = "cpu",
                 frame_shift: float = DEFAULT_SECONDS, weights: str = "fp32", ivectors: str = "",
                 online_fmllr: str = ""):
        if device == "cpu":
            model.pack(weights)
        moments = [model.get_buffer(name).cpu().numpy() for name in model.cmvn_buffers]
        front = Front(cfg.normalization(*moments) if moments else None, ivectors, online_fmllr)
        self.front = front if moments or ivectors or online_fmllr else None
        self.adapter = front.adapter
        self.live = cfg.feature.available_online and not model.bidirectional
        self.cfg, self.model, self.log_priors, self.device = cfg, model.eval().to(device), log_priors.to(device), device
        self.feature = RAW_MFCC if self.adapter else cfg.feature
        self.num_pdfs, self.frame_shift, self.has_priors = model.num_pdfs, frame_shift, has_priors(log_priors)
        self.subsampling = cfg.frames_per_row

    @classmethod
    def load(cls, directory, device: str = "cpu", weights: str = "fp32") -> "AcousticNetwork":
        """Read final.safetensors and config.yaml of a network folder.

        Args:
            directory: the folder.
            device: where the scores are computed.
            weights: on a CPU, what the recurrent weights are rounded to: see :mod:`lstmp.nnet.kernels.scoring`.

        Raises:
            UserError: a file is missing or cut off, or the two files do not fit together.
        """
        directory = Path(directory)
        path, hint = directory / "final.safetensors", "train the network again (steps/train_lstmp.sh)"
        cfg = config.load(directory / "config.yaml", LstmpConfig)
        tensors, _ = checkpoint.read(path, hint)
        try:
            priors = tensors.pop("log_priors")
            _check_sizes(cfg, tensors, priors)
            # float32 even if trained with rounded factors: then all machines compute the same scores up to rounding
            model = StateNetwork(replace(cfg, precision="fp32"), len(tensors["feature_mean"]), len(priors))
            model.load_state_dict(tensors)
        except (KeyError, RuntimeError, ValueError):
            raise UserError("does not fit config.yaml in the same folder", file=path, hint=hint) from None
        ivectors = str(directory / IVECTORS) if cfg.ivector_dim else ""
        online_fmllr = str(directory / ONLINE_FMLLR) if cfg.feature.kind == "online_fmllr" else ""
        network = cls(cfg, model, priors, device, frame_shift(directory), weights, ivectors, online_fmllr)
        if network.adapter:
            check_adapter(network.adapter, online_fmllr, cfg, len(model.feature_mean), len(priors))
        elif network.front:
            network.front.check(network.dim, cfg.ivector_dim)
        return network

    @property
    def dim(self) -> int:
        """Dimension of the features that it takes; i-vectors do not count."""
        return self.adapter.cepstra if self.adapter else len(self.model.feature_mean) - self.cfg.ivector_dim

    @property
    def lookahead(self) -> int:
        """Frames after a frame that its scores depend on; with subsampling, after a group."""
        return self.cfg.output_delay * self.model.subsampling + (self.adapter.context if self.adapter else 0)

    def check(self, feats: torch.Tensor):
        """Check that features have the shape [T, dim] with T > 0.

        Raises:
            UserError: they have another shape.
        """
        if feats.dim() != 2 or feats.shape[1] != self.dim or not len(feats):
            raise UserError(f"features of shape {list(feats.shape)}, the network takes [T, {self.dim}]",
                            hint="give the data dir with the features it was trained with")

    def input(self, feats: torch.Tensor, heard: Heard | None = None) -> torch.Tensor:
        """The input of the network [T, D + K] for the features [T, D] of an utterance.

        Args:
            feats: the features; returned unchanged if the network has no front.
            heard: of the speaker before.
        """
        if not self.front:
            return feats
        if self.adapter:
            return NetworkStream(self, heard).inputs(feats)
        return torch.from_numpy(self.front.start(heard).accept(feats.cpu().numpy()))

    def listen(self, feats: Array, heard: Heard | None) -> Heard:
        """What was heard of a speaker after an utterance with the features [T, D]; ``heard``: before it."""
        assert self.front is not None
        if not self.adapter:
            return listener(self.front)(feats, heard)
        stream = NetworkStream(self, heard)
        stream.scores(torch.from_numpy(feats))
        assert stream.input is not None
        return stream.input.heard()

    def __call__(self, feats: torch.Tensor) -> torch.Tensor:
        """Map features [T, D] to acoustic log-likelihoods up to a constant per row, [⌈T / S⌉, num_pdfs]."""
        return self.batch([feats])[0]

    @torch.no_grad()
    def batch(self, utterances: list[torch.Tensor], heard: Sequence[Heard | None] = ()) -> list[torch.Tensor]:
        """Map several utterances, each [T, D], to scores, each [⌈T / S⌉, num_pdfs]; faster if the lengths are similar.

        Args:
            utterances: raw features if the network has a front. With online fMLLR they are scored one by one.
            heard: for these, what was heard of the speaker of each of them before; empty: nothing.

        Raises:
            UserError: the features have another dimension than the network was trained with.
        """
        delay, group = self.cfg.output_delay, self.model.subsampling
        for feats in utterances:
            self.check(feats)
        if not utterances:
            return []
        if self.adapter:
            return [NetworkStream(self, before).scores(feats) for feats, before in
                    zip(utterances, heard or [None] * len(utterances), strict=True)]
        utterances = [self.input(feats, before) for feats, before in
                      zip(utterances, heard or [None] * len(utterances), strict=True)]
        # longest first: then the utterances that have not ended are always the first ones
        order = sorted(range(len(utterances)), key=lambda n: -len(utterances[n]))
        outputs = output_lengths(torch.tensor([len(utterances[n]) for n in order]), group)
        lengths = outputs + delay
        x = torch.zeros(group * int(lengths[0]), len(utterances), len(self.model.feature_mean))
        for column, n in enumerate(order):
            feats = utterances[n]
            x[:len(feats), column] = feats
            x[len(feats):, column] = feats[-1]  # repeated as in training, for its group and for the delay
        x = self.model.normalize(x.to(self.device))
        scores = [x.new_empty(int(count), self.num_pdfs) for count in outputs]
        state, begin = self.model.zero_state(len(utterances)), 0
        for chunk in x.split(len(x) if self.model.bidirectional else _CHUNK * group):
            running = int((lengths > begin).sum())
            state = [(r[:running], c[:running]) for r, c in state]
            log_post, state = self.model(chunk[:, :running], state, lengths[:running])
            rows, end = self.scores_of(log_post), begin + len(log_post)
            for column, length in enumerate(lengths[:running].tolist()):
                first, last = max(begin, delay), min(end, length)
                scores[column][max(0, first - delay):max(0, last - delay)] = rows[first - begin:last - begin, column]
            begin = end
        in_order = dict(zip(order, scores, strict=True))
        return [self.rows_of(in_order[n])[:len(feats)] for n, feats in enumerate(utterances)]

    def scores_of(self, log_posteriors: torch.Tensor) -> torch.Tensor:
        """Turn log-posteriors [..., num_pdfs] into scores, in place."""
        scores, factor = log_posteriors.sub_(self.log_priors), self.cfg.score_factor
        return scores if factor == 1 else scores.mul_(factor)

    def rows_of(self, scores: torch.Tensor) -> torch.Tensor:
        """The rows for the decoder, from the scores of output frames [T, num_pdfs]."""
        return scores.repeat_interleave(self.model.subsampling, 0) if self.cfg.repeat_scores else scores


def check_adapter(adapter: Adapter, path: Path | str, cfg: LstmpConfig, inputs: int, num_pdfs: int):
    """Check that online fMLLR is for a network with these inputs and states.

    Raises:
        UserError: it is for others, or counts frames sooner than the network can say what they are.
    """
    hint = "train it for the states of the network (steps/train_online_fmllr.sh)"
    if (adapter.dim, adapter.num_pdfs) != (inputs, num_pdfs):
        raise UserError(f"for {adapter.num_pdfs} states and inputs of {adapter.dim} values; the network has {num_pdfs} "
                        f"and takes {inputs}", file=path, hint=hint)
    if adapter.cfg.delay < cfg.known_after:
        raise UserError(f"`delay` {adapter.cfg.delay}, but the network knows a frame's states {cfg.known_after} frames "
                        "later", file=path,
                        hint=f"set `delay` to {cfg.known_after} in conf/online_fmllr.yaml, and train it again")


def _check_sizes(cfg: LstmpConfig, tensors: dict[str, torch.Tensor], priors: torch.Tensor):
    """Check sizes before anything is allocated for them.

    Raises:
        KeyError: config.yaml has larger sizes than the file can contain, or the file contains NaN or infinity.
    """
    widest = max(max(t.shape, default=0) for t in tensors.values())
    sizes = (cfg.cells, cfg.recurrent_projection, cfg.projection, cfg.bottleneck, cfg.stack, cfg.subsampling,
             *([*cfg.conv_maps, cfg.conv_time, cfg.conv_freq, cfg.conv_projection] if cfg.conv_maps else []))
    if max(sizes) > widest or cfg.layers > len(tensors) or cfg.label_delay > _LONGEST_DELAY \
            or not are("float32", priors, tensors["feature_mean"], tensors["feature_std"]) \
            or not all(bool(t.isfinite().all()) for t in (*tensors.values(), priors)):
        raise KeyError


class NetworkStream:
    """Computes the scores of one utterance online, while its frames arrive; the same as :meth:`AcousticNetwork.batch`.

    The scores of a frame are available `label_delay` later; with subsampling, those of a group of frames when the
    delay, in whole groups, has passed after the group. :meth:`finish` returns the last ones.

    Args:
        network: a unidirectional network.
        heard: of the speaker before, for a network with a front; None: nothing.

    Attributes:
        input: what makes the network's input, which has the statistics of the speaker so far; None if the input does
            not depend on earlier frames.

    Raises:
        UserError: the network is bidirectional, so that it needs whole utterances.
    """

    def __init__(self, network: AcousticNetwork, heard: Heard | None = None):
        if network.model.bidirectional:
            raise UserError("a bidirectional network needs whole utterances", hint="give a unidirectional one")
        self.network, self._group = network, network.model.subsampling
        self.input = network.front.start(heard) if network.front else None
        # the scores of a network without priors are not posteriors before they have those of the data
        adapter = None if network.has_priors else network.adapter
        self._log_priors = adapter.log_priors if adapter else torch.zeros(network.num_pdfs)
        self._frames = 0  # number of accepted frames
        # those of an incomplete group, or the last one
        self._last_frames = torch.zeros(0, len(network.model.feature_mean))
        self._state, self._to_skip = network.model.zero_state(1), network.cfg.output_delay

    @torch.no_grad()
    def accept(self, feats: torch.Tensor) -> torch.Tensor:
        """Take more frames [T, D], T ≥ 0, and return the scores of earlier frames, [T', num_pdfs]."""
        if not len(feats):
            return torch.zeros(0, self.network.num_pdfs)
        self.network.check(feats)
        return self._of_parts(self.input.parts(feats)) if self.input else self._accept(feats)

    def scores(self, feats: torch.Tensor) -> torch.Tensor:
        """The scores of all frames of an utterance, [T, D]."""
        return torch.cat([self.accept(feats), self.finish()])

    @torch.no_grad()
    def inputs(self, feats: torch.Tensor) -> torch.Tensor:
        """The network's input for all frames of an utterance, [T, D], with online fMLLR: float32 [T, D']."""
        assert self.input is not None
        self.network.check(feats)
        made = []
        for part in itertools.chain(self.input.parts(feats), self.input.rest()):
            made.append(part)
            self._accept(part)
        return torch.cat(made)

    def _of_parts(self, parts: Iterator[torch.Tensor]) -> torch.Tensor:
        """:meth:`accept` of the parts of the network's input, each of which may depend on the scores before."""
        return torch.cat([torch.zeros(0, self.network.num_pdfs), *(self._accept(part) for part in parts)])

    def _accept(self, feats: torch.Tensor) -> torch.Tensor:
        """:meth:`accept` of the network's input."""
        waiting = self._frames % self._group
        self._frames += len(feats)
        if waiting:
            feats = torch.cat([self._last_frames, feats])
        whole = len(feats) - len(feats) % self._group
        self._last_frames = feats[whole:] if whole < len(feats) else feats[-1:]
        return self._scores_of_groups(feats[:whole]) if whole else torch.zeros(0, self.network.num_pdfs)

    def _scores_of_groups(self, feats: torch.Tensor) -> torch.Tensor:
        """The rows of scores that become known with the frames of whole groups, [T, D]."""
        network, scores = self.network, []
        for chunk in feats.unsqueeze(1).split(_CHUNK * self._group):
            log_post, self._state = network.model(network.model.normalize(chunk.to(network.device)), self._state)
            skipped = min(self._to_skip, len(log_post))  # the first outputs, as many as the delay, belong to no frame
            self._to_skip -= skipped
            log_post = log_post[skipped:, 0]
            if self.input and self.input.adapts:
                posteriors = torch.softmax(log_post.cpu() + self._log_priors, 1)
                self.input.hear(posteriors.repeat_interleave(self._group, 0))
            scores.append(network.scores_of(log_post))
        return network.rows_of(torch.cat(scores)).cpu()

    def finish(self) -> torch.Tensor:
        """End the utterance and return the scores of the frames that have none yet."""
        with torch.no_grad():
            rest = self._of_parts(self.input.rest()) if self.input else torch.zeros(0, self.network.num_pdfs)
        if not self._frames:
            return rest
        copies = padding(self._frames, self._group, self.network.cfg.output_delay)
        with torch.no_grad():
            scores = self._accept(self._last_frames[-1:].expand(copies, -1))
        beyond = -(self._frames - copies) % self._group if self.network.cfg.repeat_scores else 0
        # without rows for the copies that complete the last group
        return torch.cat([rest, scores[:len(scores) - beyond]])
