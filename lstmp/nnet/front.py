"""The part of a network's input that depends on earlier frames: online CMVN, and i-vectors beside the energies.

It is computed from raw filterbank energies, in the same way in training, for whole utterances and while frames arrive.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lstmp.aliases import Array
from lstmp.errors import UserError
from lstmp.features.history import Heard
from lstmp.features.online_cmvn import OnlineNormalization
from lstmp.gmm.ivector import Extractor, OnlineIvectors
from lstmp.stage import digest


@dataclass(frozen=True)
class Front:
    """How the input of a network is made of raw energies.

    Attributes:
        normalization: online CMVN, or None.
        ivectors: file of an i-vector extractor, whose vectors follow the energies; "": none.
    """

    normalization: OnlineNormalization | None
    ivectors: str = ""

    @property
    def added(self) -> int:
        """Number of dimensions that i-vectors add."""
        return self.extractor.dim if self.extractor else 0

    @functools.cached_property
    def extractor(self) -> Extractor | None:
        """The extractor, read once."""
        return Extractor.read(Path(self.ivectors)) if self.ivectors else None

    @property
    def gaussians(self) -> int:
        """Number of Gaussians of the i-vectors' background model; 0 without i-vectors."""
        return len(self.extractor.weights) if self.extractor else 0

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the file of the extractor; "" without i-vectors."""
        return digest(self.ivectors) if self.ivectors else ""

    def check(self, filters: int, ivector_dim: int):
        """Check that the i-vectors have ``ivector_dim`` dimensions and are of as many energies.

        Raises:
            UserError: they have not, or the file is damaged.
        """
        extractor = self.extractor
        if extractor and (extractor.filters, extractor.dim) != (filters, ivector_dim):
            raise UserError(f"i-vectors of {extractor.dim} dimensions, of {extractor.filters} energies; the network "
                            f"takes {ivector_dim} of {filters}", file=self.ivectors,
                            hint="set `ivector_dim` of the network to `dim` of conf/ivector.yaml")

    def start(self, heard: Heard | None = None) -> "OnlineInput":
        """What makes the input of an utterance; ``heard``: of its speaker before."""
        return OnlineInput(self, heard)


class OnlineInput:
    """Makes the input of one utterance while its frames arrive."""

    def __init__(self, front: Front, heard: Heard | None = None):
        self._cmvn = front.normalization.start(heard) if front.normalization else None
        self._ivectors = OnlineIvectors(front.extractor, heard) if front.extractor else None

    def accept(self, frames: Array) -> Array:
        """The input for the next frames, float32 [T, D + K], from raw energies [T, D]."""
        energies = self._cmvn.accept(frames) if self._cmvn else frames
        return np.concatenate([energies, self._ivectors.accept(frames)], 1) if self._ivectors else energies

    def heard(self) -> Heard:
        """What was heard of the speaker so far."""
        if self._ivectors:
            return self._ivectors.heard()
        assert self._cmvn is not None
        return self._cmvn.heard()
