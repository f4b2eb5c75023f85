"""The phone language model of LF-MMI: an n-gram without smoothing, as a deterministic acceptor without epsilons.

A state is a history of phones. Reading a phone leads to the longest history that is a state. All histories of two
phones that occur are states, so the model never backs off below a trigram; of the longer ones only the most frequent
are states. Probabilities are relative frequencies of what follows when the acceptor reads the training data, its
maximum-likelihood estimate. There are no back-off arcs, because a denominator graph grows with its arcs, and sequences
that never occur need no probability (Povey et al. 2016, "Purely sequence-trained neural networks for ASR based on
lattice-free MMI").
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lstmp.config import check
from lstmp.errors import UserError

BEGIN = 0  # in a history: the begin of the utterance


@dataclass(frozen=True)
class PhoneLmConfig:
    """The group ``phone_lm`` of conf/denominator.yaml.

    Attributes:
        order: 2, 3 or 4; the next phone depends on ``order - 1`` phones.
        extra_states: for order 4, the maximum number of histories of three phones.
    """

    order: int
    extra_states: int

    def __post_init__(self):
        check(2 <= self.order <= 4, "phone_lm.order", "2, 3 or 4")
        check(self.extra_states >= 0, "phone_lm.extra_states", "0 or more")


@dataclass(frozen=True)
class PhoneLm:
    """An acceptor of phone sequences. State 0 is the start. Each state has at most one arc for each phone.

    Attributes:
        histories: for each of the S states the last phones that were read, oldest first; ``BEGIN`` comes before the
            first phone of an utterance.
        source, phone, target: int64 [A], the arcs, sorted by source and phone.
        log_prob: float64 [A], natural logarithms.
        final: float64 [S], log-probability that the utterance ends in this state, −inf if none does.
    """

    histories: list[tuple[int, ...]]
    source: np.ndarray
    phone: np.ndarray
    target: np.ndarray
    log_prob: np.ndarray
    final: np.ndarray


def estimate(sequences: Iterable[Iterable[int]], cfg: PhoneLmConfig) -> PhoneLm:
    """Estimate the model from phone sequences; each ends with the end of an utterance. Empty ones do not count.

    Raises:
        UserError: there are no phones.
    """
    data = [tuple(s) for s in sequences]
    data = [s for s in data if s]
    if not data:
        raise UserError("no phones to estimate a phone language model from", hint="give an alignment with utterances")
    longest, kept = cfg.order - 1, frozenset[tuple[int, ...]]()
    if longest == 3:
        kept = _most_frequent(data, longest, cfg.extra_states)

    def after(history: tuple[int, ...], phone: int) -> tuple[int, ...]:
        longer = (*history, phone)[-longest:]
        return longer[1:] if len(longer) == 3 and longer not in kept else longer

    counts: Counter[tuple[tuple[int, ...], int]] = Counter()  # (history, next phone, or BEGIN for the end)
    for phones in data:
        history: tuple[int, ...] = (BEGIN,)
        for phone in phones:
            counts[history, phone] += 1
            history = after(history, phone)
        counts[history, BEGIN] += 1
    return _acceptor(counts, after)


def _most_frequent(data: list[tuple[int, ...]], length: int, number: int) -> frozenset[tuple[int, ...]]:
    """The most frequent histories of ``length`` phones; of equally frequent ones those with the lowest phone ids."""
    counts: Counter[tuple[int, ...]] = Counter()
    for phones in data:
        padded = (BEGIN, *phones)
        counts.update(zip(*(padded[i:] for i in range(length)), strict=False))
    return frozenset(sorted(counts, key=lambda h: (-counts[h], h))[:number])


def _acceptor(counts: Counter, after) -> PhoneLm:
    total: Counter[tuple[int, ...]] = Counter()
    for (history, _), count in counts.items():
        total[history] += count
    histories = [(BEGIN,), *sorted(total.keys() - {(BEGIN,)})]
    number = {h: i for i, h in enumerate(histories)}
    final = np.full(len(histories), -np.inf)
    arcs = []
    for (history, phone), count in counts.items():
        log_prob = np.log(count / total[history])
        if phone == BEGIN:
            final[number[history]] = log_prob
        else:
            arcs.append((number[history], phone, number[after(history, phone)], log_prob))
    source, phone, target, log_prob = map(np.array, zip(*sorted(arcs), strict=True))
    return PhoneLm(histories, source, phone, target, log_prob, final)
