"""Which states count as the same in the accuracy of a frame."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from lstmp.aliases import Array
from lstmp.gmm.transition import TransitionModel


@dataclass(frozen=True, eq=False)
class FrameAccuracy:
    """The accuracy of a frame of a path.

    Attributes:
        group: int [P], pdfs of the same number count as the same.
        silence: bool [P], whether a pdf belongs to silence.
        one_silence_class: whether all silence counts as the same; otherwise silence is never right.
    """

    group: Array
    silence: Array
    one_silence_class: bool

    @classmethod
    def of(cls, transitions: TransitionModel, num_pdfs: int, silence: Collection[int], accuracy: str,
           one_silence_class: bool) -> "FrameAccuracy":
        """The accuracy by ``state`` or by ``phone``; ``silence``: the silence phones."""
        silent, group = np.zeros(num_pdfs, bool), np.arange(num_pdfs)
        rows = transitions.tuples.tolist()
        for phone, _, pdf in rows:
            silent[pdf] |= phone in silence
        if accuracy == "phone":
            first: dict[int, int] = {}
            for phone, _, pdf in rows:  # joins the pdfs of a phone, and so the phones that share a pdf
                group[group == group[pdf]] = group[first.setdefault(phone, pdf)]
        return cls(group, silent, one_silence_class)

    def __call__(self, pdf: Array, reference: Array) -> Array:
        """float64 [A]: 1 where a pdf counts as the aligned one, 0 elsewhere; both int [A]."""
        if self.one_silence_class:
            right = (self.group[pdf] == self.group[reference]) | self.silence[pdf] & self.silence[reference]
        else:
            right = (self.group[pdf] == self.group[reference]) & ~self.silence[pdf]
        return right.astype(np.float64)
