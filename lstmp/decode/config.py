"""The configuration of decoding, ``conf/decode.yaml``."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from lstmp.config import check
from lstmp.gmm.adapt import FmllrConfig
from lstmp.nnet.kernels.scoring import WEIGHTS

Search = TypeVar("Search", bound="SearchConfig")


@dataclass(frozen=True)
class SearchConfig:
    """Beams and limits of the search.

    Attributes:
        acoustic_scale: factor of the acoustic log-likelihoods in the search; graph scores are not scaled.
        search_beam: a state is dropped if its score is this much worse than the best state of its frame.
        output_beam: a path is dropped from the lattice if its score is this much worse than the best path.
        max_word_arcs: word arcs per frame. The lattice keeps the best path through each of them.
        min_active, max_active: target range of active states per frame. The beam is adapted to stay roughly within it.
        retries: number of further attempts if no path survives, each with twice the beam and twice the states.
    """

    acoustic_scale: float
    search_beam: float
    output_beam: float
    max_word_arcs: int
    min_active: int
    max_active: int
    retries: int

    def __post_init__(self) -> None:
        for name in ("acoustic_scale", "search_beam", "output_beam"):
            check(getattr(self, name) > 0, name, "greater than zero")
        check(self.max_word_arcs > 0, "max_word_arcs", "greater than zero")
        check(self.min_active >= 0, "min_active", "zero or more")
        check(self.min_active < self.max_active < 2**24, "max_active", "greater than min_active, below 2^24")
        check(0 <= self.retries <= 6, "retries", "from 0 to 6")

    def wider(self: Search) -> Search:
        """The configuration of the next attempt."""
        return dataclasses.replace(self, search_beam=2 * self.search_beam, max_active=2 * self.max_active)

    def attempts(self: Search) -> Iterator[Search]:
        """The configurations of the first search and of the further attempts."""
        cfg = self
        yield cfg
        for _ in range(self.retries):
            yield (cfg := cfg.wider())


@dataclass(frozen=True)
class DecodeFmllrConfig(FmllrConfig):
    """Decoding with a speaker-adapted model: each pass has its own beam instead of ``search_beam`` and ``max_active``.

    Attributes:
        passes: number of searches: the first without transforms, each later one with those of the previous pass.
        first_beam, first_max_active: of the first pass.
        second_beam, second_max_active: of the later passes.
    """

    first_beam: float
    first_max_active: int
    second_beam: float
    second_max_active: int
    passes: int = 2  # default for configurations in models exported before this option existed

    def __post_init__(self) -> None:
        super().__post_init__()
        check(2 <= self.passes <= 9, "passes", "from 2 to 9")
        for name in ("first_beam", "first_max_active", "second_beam", "second_max_active"):
            check(getattr(self, name) > 0, name, "greater than zero")


LATER_OPTIONS = {"network_weights": "fp32", "speaker_history": False}  # at these values they are not recorded


@dataclass(frozen=True)
class DecodeConfig(SearchConfig):
    """All of ``conf/decode.yaml``: the search, its division into jobs, and the grid for scoring.

    Attributes:
        utts_per_job: utterances per lattice file. A run that was killed keeps its finished lattice files.
        max_failed: the decoding is an error if more than this share of the utterances fails. Each failed utterance
            counts as an empty hypothesis.
        lm_weights, word_penalties: the grid of LM weights and word insertion penalties.
        fmllr: passes and beams for speaker-adapted models.
        engine: ``auto``, ``native`` or ``k2``, see :func:`lstmp.decode.search.choose_engine`.
        network_weights: what a network's recurrent weights are rounded to, on a CPU: see
            :mod:`lstmp.nnet.kernels.scoring`.
        speaker_history: whether online CMVN, i-vectors and online fMLLR of a network begin an utterance with the
            statistics of the speaker's earlier utterances, in the order of their ids.
    """

    utts_per_job: int
    max_failed: float
    lm_weights: list[int]
    word_penalties: list[float]
    fmllr: DecodeFmllrConfig
    engine: str = "auto"  # default for configurations in models exported before this option existed
    network_weights: str = "fp32"  # likewise
    speaker_history: bool = False  # likewise

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.engine in ("auto", "native", "k2"), "engine", "auto, native or k2")
        check(self.network_weights in WEIGHTS, "network_weights", f"one of {', '.join(WEIGHTS)}")
        check(self.utts_per_job > 0, "utts_per_job", "greater than zero")
        check(0 <= self.max_failed <= 1, "max_failed", "from 0 to 1")
        for name in ("lm_weights", "word_penalties"):
            values = getattr(self, name)
            check(len(values) > 0 and len(set(values)) == len(values), name, "a list of different numbers")
        check(min(self.lm_weights) > 0, "lm_weights", "numbers greater than zero")

    def first_pass(self) -> "DecodeConfig":
        """The configuration of the search without transforms."""
        return self._with(self.fmllr.first_beam, self.fmllr.first_max_active)

    def second_pass(self) -> "DecodeConfig":
        """The configuration of the searches with adapted features."""
        return self._with(self.fmllr.second_beam, self.fmllr.second_max_active)

    def _with(self, beam: float, max_active: int) -> "DecodeConfig":
        return dataclasses.replace(self, search_beam=beam, max_active=max_active,
                                   min_active=min(self.min_active, max_active - 1))
