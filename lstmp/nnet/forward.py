"""Computes acoustic scores for the decoder with a trained network: log-posteriors minus log-priors, delay removed."""

from dataclasses import replace
from pathlib import Path

import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.features.frame_shift import DEFAULT_SECONDS, frame_shift
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.model import StateNetwork
from lstmp.tensors import are

_LONGEST_DELAY = 1000  # frames
_CHUNK = 50  # frames at a time: limits the memory, changes no result


class AcousticNetwork:
    """A network folder, as :mod:`lstmp.nnet.train` writes it, as a function from features to acoustic scores.

    Attributes:
        feature: FeatureConfig of the input.
        num_pdfs: number of tied states.
        frame_shift: seconds.
    """

    def __init__(self, cfg: LstmpConfig, model: StateNetwork, log_priors: torch.Tensor, device: str = "cpu",
                 frame_shift: float = DEFAULT_SECONDS, weights: str = "fp32"):
        if device == "cpu":
            model.pack(weights)
        self.cfg, self.model, self.log_priors, self.device = cfg, model.eval().to(device), log_priors.to(device), device
        self.feature, self.num_pdfs, self.frame_shift = cfg.feature, model.num_pdfs, frame_shift

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
        return cls(cfg, model, priors, device, frame_shift(directory), weights)

    @property
    def dim(self) -> int:
        """Dimension of the input features."""
        return len(self.model.feature_mean)

    def check(self, feats: torch.Tensor):
        """Check that features have the shape [T, dim] with T > 0.

        Raises:
            UserError: they have another shape.
        """
        if feats.dim() != 2 or feats.shape[1] != self.dim or not len(feats):
            raise UserError(f"features of shape {list(feats.shape)}, the network takes [T, {self.dim}]",
                            hint="give the data dir with the features it was trained with")

    def __call__(self, feats: torch.Tensor) -> torch.Tensor:
        """Map features [T, D] to acoustic log-likelihoods up to a constant per frame, [T, num_pdfs]."""
        return self.batch([feats])[0]

    @torch.no_grad()
    def batch(self, utterances: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map several utterances, each [T, D], to scores, each [T, num_pdfs]; faster if the lengths are similar.

        Raises:
            UserError: the features have another dimension than the network was trained with.
        """
        delay = self.cfg.label_delay
        for feats in utterances:
            self.check(feats)
        if not utterances:
            return []
        # longest first: then the utterances that have not ended are always the first ones
        order = sorted(range(len(utterances)), key=lambda n: -len(utterances[n]))
        lengths = torch.tensor([len(utterances[n]) + delay for n in order])
        x = torch.zeros(int(lengths[0]), len(utterances), self.dim)
        for column, n in enumerate(order):
            feats = utterances[n]
            x[:len(feats), column] = feats
            x[len(feats):, column] = feats[-1]  # the last frame is repeated for the delay, as in training
        x = self.model.normalize(x.to(self.device))
        scores = [x.new_empty(len(feats), self.num_pdfs) for feats in utterances]
        state, begin = self.model.zero_state(len(utterances)), 0
        for chunk in x.split(len(x) if self.model.bidirectional else _CHUNK):
            running = int((lengths > begin).sum())
            state = [(r[:running], c[:running]) for r, c in state]
            log_post, state = self.model(chunk[:, :running], state, lengths[:running])
            log_post.sub_(self.log_priors)
            for column, n in enumerate(order[:running]):
                first, last = max(begin, delay), min(begin + len(chunk), int(lengths[column]))
                scores[n][max(0, first - delay):max(0, last - delay)] = log_post[first - begin:last - begin, column]
            begin += len(chunk)
        return scores


def _check_sizes(cfg: LstmpConfig, tensors: dict[str, torch.Tensor], priors: torch.Tensor):
    """Check sizes before anything is allocated for them.

    Raises:
        KeyError: config.yaml has larger sizes than the file can contain, or the file contains NaN or infinity.
    """
    widest = max(max(t.shape, default=0) for t in tensors.values())
    sizes = (cfg.cells, cfg.recurrent_projection, cfg.projection, cfg.bottleneck, cfg.stack)
    if max(sizes) > widest or cfg.layers > len(tensors) or cfg.label_delay > _LONGEST_DELAY \
            or not are("float32", priors, tensors["feature_mean"], tensors["feature_std"]) \
            or not all(bool(t.isfinite().all()) for t in (*tensors.values(), priors)):
        raise KeyError


class NetworkStream:
    """Computes the scores of one utterance online, while its frames arrive; the same as :meth:`AcousticNetwork.batch`.

    The scores of a frame are available ``label_delay`` frames later; :meth:`finish` returns the last ones.

    Raises:
        UserError: the network is bidirectional, so that it needs whole utterances.
    """

    def __init__(self, network: AcousticNetwork):
        if network.model.bidirectional:
            raise UserError("a bidirectional network needs whole utterances", hint="give a unidirectional one")
        self.network = network
        self._last_frame: torch.Tensor | None = None
        self._state, self._to_skip = network.model.zero_state(1), network.cfg.label_delay

    @torch.no_grad()
    def accept(self, feats: torch.Tensor) -> torch.Tensor:
        """Take more frames [T, D], T ≥ 0, and return the scores of earlier frames, [T', num_pdfs]."""
        if not len(feats):
            return torch.zeros(0, self.network.num_pdfs)
        self.network.check(feats)
        self._last_frame, scores = feats[-1:], []
        for chunk in feats.unsqueeze(1).split(_CHUNK):
            x = self.network.model.normalize(chunk.to(self.network.device))
            log_post, self._state = self.network.model(x, self._state, torch.tensor([len(x)]))
            scores.append(log_post.sub_(self.network.log_priors)[:, 0])
        new = torch.cat(scores)
        skipped = min(self._to_skip, len(new))  # the first label_delay outputs belong to no frame
        self._to_skip -= skipped
        return new[skipped:].cpu()

    def finish(self) -> torch.Tensor:
        """End the utterance and return the scores of the frames that have none yet."""
        if self._last_frame is None:
            return torch.zeros(0, self.network.num_pdfs)
        return self.accept(self._last_frame.expand(self.network.cfg.label_delay, -1))
