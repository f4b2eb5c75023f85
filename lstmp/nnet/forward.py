"""A trained network as the decoder wants it: features in, log-posteriors minus log-priors out, without the delay."""

from pathlib import Path

import torch

from lstmp import config
from lstmp.errors import UserError
from lstmp.nnet import checkpoint
from lstmp.nnet.config import LstmpConfig
from lstmp.nnet.model import LstmpNetwork

_CHUNK = 50  # frames at a time: bounds the memory, changes no result


class AcousticNetwork:
    """Scores of a network folder as :mod:`lstmp.nnet.train` writes it.

    Attributes:
        feature: FeatureConfig of the input.
        num_pdfs: number of tied states.
        frame_shift: seconds.
    """

    frame_shift = 0.01

    def __init__(self, cfg: LstmpConfig, model: LstmpNetwork, log_priors: torch.Tensor, device: str = "cpu"):
        self.cfg, self.model, self.log_priors, self.device = cfg, model.eval().to(device), log_priors.to(device), device
        self.feature, self.num_pdfs = cfg.feature, model.num_pdfs

    @classmethod
    def load(cls, directory, device: str = "cpu") -> "AcousticNetwork":
        """Read final.safetensors and config.yaml of a network folder.

        Raises:
            UserError: a file is missing, cut off, or does not fit the other.
        """
        directory = Path(directory)
        path, mend = directory / "final.safetensors", "train the network again (steps/train_lstmp.sh)"
        cfg = config.load(directory / "config.yaml", LstmpConfig)
        tensors, _ = checkpoint.read(path, mend)
        try:
            priors = tensors.pop("log_priors")
            model = LstmpNetwork(cfg, len(tensors["feature_mean"]), len(priors))
            model.load_state_dict(tensors)
        except (KeyError, RuntimeError):
            raise UserError("does not fit config.yaml beside it", file=path, mend=mend) from None
        return cls(cfg, model, priors, device)

    def __call__(self, feats: torch.Tensor) -> torch.Tensor:
        """Features [T, D] → acoustic log-likelihoods up to a constant, [T, num_pdfs]."""
        return self.batch([feats])[0]

    @torch.no_grad()
    def batch(self, utterances: list[torch.Tensor]) -> list[torch.Tensor]:
        """Several utterances at once, each [T, D] → each [T, num_pdfs]; faster where the lengths are alike.

        Raises:
            UserError: the features have another dimension than the network was trained with.
        """
        delay, dim = self.cfg.label_delay, len(self.model.feature_mean)
        for feats in utterances:
            if feats.dim() != 2 or feats.shape[1] != dim or not len(feats):
                raise UserError(f"features of shape {list(feats.shape)}, the network takes [T, {dim}]",
                                mend="give the data dir with the features it was trained with")
        lengths = [len(feats) + delay for feats in utterances]
        x = torch.zeros(max(lengths), len(utterances), dim)
        for n, feats in enumerate(utterances):
            x[:len(feats), n] = feats
            x[len(feats):, n] = feats[-1]  # the last frame stands for the frames of the delay, as in training
        x = self.model.normalize(x.to(self.device))
        state, scores = self.model.zero_state(len(utterances)), []
        for chunk in x.split(len(x) if self.model.bidirectional else _CHUNK):
            log_post, state = self.model(chunk, state, torch.tensor(lengths))
            scores.append(log_post.sub_(self.log_priors))
        scores = torch.cat(scores)
        return [scores[delay:length, n] for n, length in enumerate(lengths)]
