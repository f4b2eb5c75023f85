"""Options of sequence training on lattices, read from ``conf/sequence.yaml``."""

from dataclasses import asdict, dataclass

from lstmp.config import check
from lstmp.decode.config import SearchConfig


@dataclass(frozen=True)
class LatticeConfig:
    """Beams and limits of the lattices, see :class:`lstmp.decode.config.SearchConfig`."""

    acoustic_scale: float
    search_beam: float
    output_beam: float
    min_active: int
    max_active: int
    retries: int

    def __post_init__(self) -> None:
        self.search()

    def search(self) -> SearchConfig:
        """The configuration of the search; it keeps all arcs, not only those that word arcs need."""
        return SearchConfig(**asdict(self), max_word_arcs=1)


@dataclass(frozen=True)
class SequenceConfig:
    """conf/sequence.yaml.

    Attributes:
        lattice: of the lattices.
        accuracy: what must agree with the alignment in a frame, ``state`` or ``phone``.
        one_silence_class: whether all silence phones count as one.
        boost: of boosted MMI.
        reference: what is done with an aligned path outside of the lattice, ``reject`` or ``add``.
        cross_entropy: weight of frame cross entropy.
        search_threads: threads that search the utterances of a batch; 0: chosen by the device.
        weak_lm_order: order of the language model in the graph.
        training: values of conf/lstmp.yaml.
    """

    lattice: LatticeConfig
    accuracy: str
    one_silence_class: bool
    boost: float
    reference: str
    cross_entropy: float
    search_threads: int
    weak_lm_order: int
    training: dict

    def __post_init__(self) -> None:
        check(self.accuracy in ("state", "phone"), "accuracy", "state or phone")
        check(self.reference in ("reject", "add"), "reference", "reject or add")
        check(self.boost >= 0, "boost", "0 or more")
        check(0 <= self.cross_entropy < 1, "cross_entropy", "at least 0 and below 1")
        check(self.search_threads >= 0, "search_threads", "0 or more")
        check(1 <= self.weak_lm_order <= 5, "weak_lm_order", "from 1 to 5")
