"""Options of the criterion of lattice-free MMI, read from ``conf/mmi.yaml``."""

from dataclasses import dataclass

from lstmp.config import check


@dataclass(frozen=True)
class MmiConfig:
    """conf/mmi.yaml.

    Attributes:
        tolerance: frames of the alignment by which a phone of the numerator may begin or end earlier or later.
        leaky: coefficient of the leaky HMM; 0: no leaks.
        l2_regularize: factor on the squared outputs of the network.
        cross_entropy: weight of the frame cross entropy of a second output layer; 0: no such layer.
        implementation: auto, native, torch or k2.
    """

    tolerance: int
    leaky: float
    l2_regularize: float
    cross_entropy: float
    implementation: str

    def __post_init__(self):
        for name in ("tolerance", "leaky", "l2_regularize", "cross_entropy"):
            check(getattr(self, name) >= 0, name, "0 or more")
        check(self.leaky < 1, "leaky", "below 1")
        check(self.implementation in ("auto", "native", "torch", "k2"), "implementation", "auto, native, torch or k2")
        check(self.implementation != "k2" or self.leaky == 0, "leaky", "0 where `implementation` is k2, whose graphs "
              "have no leaks")
