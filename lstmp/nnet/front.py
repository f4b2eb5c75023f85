"""The part of a network's input that depends on earlier frames.

It is online CMVN, and i-vectors beside the energies: computed from raw filterbank energies, in the same way in
training, for whole utterances and while frames arrive. Or it is online fMLLR of cepstra, which depends on the network's
output for the frames before.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lstmp.aliases import Array
from lstmp.errors import UserError
from lstmp.features.history import Heard
from lstmp.features.online_cmvn import OnlineNormalization
from lstmp.gmm.ivector import NAME as IVECTORS
from lstmp.gmm.ivector import Extractor, OnlineIvectors
from lstmp.gmm.online_fmllr import NAME as ONLINE_FMLLR
from lstmp.gmm.online_fmllr import Adapter
from lstmp.stage import digest


def front_files(network: Path) -> list[Path]:
    """The files of i-vectors or online fMLLR in the folder of a network, if it has any, as inputs or outputs of a
    stage."""
    return [path for name in (IVECTORS, ONLINE_FMLLR) if (path := network / name).is_file()]


@dataclass(frozen=True)
class Front:
    """How the input of a network is made of raw energies.

    Attributes:
        normalization: online CMVN, or None.
        ivectors: file of an i-vector extractor, whose vectors follow the energies; "": none.
        online_fmllr: file for online fMLLR, which is then all; "": none.
    """

    normalization: OnlineNormalization | None
    ivectors: str = ""
    online_fmllr: str = ""

    @property
    def added(self) -> int:
        """Number of dimensions that i-vectors add."""
        return self.extractor.dim if self.extractor else 0

    @functools.cached_property
    def extractor(self) -> Extractor | None:
        """The extractor, read once."""
        return Extractor.read(Path(self.ivectors)) if self.ivectors else None

    @functools.cached_property
    def adapter(self) -> Adapter | None:
        """What online fMLLR is done with, read once."""
        return Adapter.read(Path(self.online_fmllr)) if self.online_fmllr else None

    @property
    def gaussians(self) -> int:
        """Number of Gaussians of the i-vectors' background model; 0 without i-vectors."""
        return len(self.extractor.weights) if self.extractor else 0

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the file of the extractor, or for online fMLLR; "" without either."""
        file = self.ivectors or self.online_fmllr
        return digest(file) if file else ""

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
    """Makes the input of one utterance while its frames arrive.

    Attributes:
        adapts: whether the input depends on the network's output, so that :meth:`hear` must be told what it is.
    """

    def __init__(self, front: Front, heard: Heard | None = None):
        self._fmllr = front.adapter.start(heard) if front.adapter else None
        self.adapts = self._fmllr is not None
        self._cmvn = front.normalization.start(heard) if front.normalization else None
        self._ivectors = OnlineIvectors(front.extractor, heard) if front.extractor else None

    def parts(self, frames: torch.Tensor) -> Iterator[torch.Tensor]:
        """The input for the next frames [T, D], part by part; see :meth:`.OnlineFmllr.parts`."""
        if self._fmllr:
            yield from self._fmllr.parts(frames.cpu().numpy())
        else:
            yield torch.from_numpy(self.accept(frames.cpu().numpy()))

    def rest(self) -> Iterator[torch.Tensor]:
        """As :meth:`parts`: the input that is still to come at the end of the utterance."""
        if self._fmllr:
            yield from self._fmllr.rest()

    def hear(self, posteriors: torch.Tensor) -> None:
        """Take the posteriors of the states in the next frames, float32 [T, P]; for online fMLLR."""
        assert self._fmllr is not None
        self._fmllr.hear(posteriors)

    def accept(self, frames: Array) -> Array:
        """The input for the next frames, float32 [T, D + K], from raw energies [T, D]; not for online fMLLR."""
        energies = self._cmvn.accept(frames) if self._cmvn else frames
        return np.concatenate([energies, self._ivectors.accept(frames)], 1) if self._ivectors else energies

    def heard(self) -> Heard:
        """What was heard of the speaker so far."""
        if self._fmllr:
            return self._fmllr.heard()
        if self._ivectors:
            return self._ivectors.heard()
        assert self._cmvn is not None
        return self._cmvn.heard()
