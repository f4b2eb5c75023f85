"""Decides claims: each comparison of a claim holds, fails, or is not decided by the data."""

from dataclasses import dataclass

import numpy as np

from lstmp.experiment.difference import Difference, Spread, difference, holm, wer_difference, wers
from lstmp.experiment.plan import EFFORTS, Claim, Comparison

HOLDS, FAILS, OPEN, PARTLY, UNTESTED = "holds", "fails", "not decided", "partly run", "not tested"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Outcome:
    """The results of one network over its seeds.

    Attributes:
        records: for each seed, the content of ``train.json``.
        errors: for each seed, the number of word errors in every utterance of the grid's set for claims [N]; empty if
            nothing was decoded.
        words: number of reference words in these utterances [N].
        learning: whether training ended at the last epoch that it was allowed, still learning.
    """

    records: list[dict]
    errors: list[np.ndarray]
    words: np.ndarray
    learning: bool = False

    def values(self, measure: str) -> list[float]:
        """The value of a measure for each seed, in per cent."""
        if measure == "wer":
            return wers(self.errors, self.words)
        read = {"accuracy": lambda r: r["frame_accuracy_valid"], "early": lambda r: r["epochs"][0]["accuracy_valid"],
                "gap": lambda r: r["frame_accuracy_train"] - r["frame_accuracy_valid"]}[measure]
        return [100 * read(r) for r in self.records]

    @property
    def timed(self) -> bool:
        """Whether the minutes of its epochs are known."""
        return all(np.isfinite(e["cpu_seconds"]) for r in self.records for e in r["epochs"])

    @property
    def reached(self) -> float:
        """The held-out accuracy that each seed has reached after some epoch."""
        return min(max(e["accuracy_valid"] for e in r["epochs"]) for r in self.records)

    def effort(self, measure: str, accuracy: float) -> list[float]:
        """Epochs, or core minutes, until each seed had a held-out accuracy; all of its training, if it
        never had."""
        minutes = measure == "minutes"
        return [min(effort(r["epochs"], accuracy, minutes), sum(_of_epoch(e, minutes) for e in r["epochs"]))
                for r in self.records]


def _of_epoch(epoch: dict, minutes: bool) -> float:
    return epoch["cpu_seconds"] / 60 if minutes else 1.0


def effort(epochs: list[dict], accuracy: float, minutes: bool) -> float:
    """Epochs, or core minutes, until the held-out accuracy was reached; linear within an epoch.

    Args:
        epochs: of a training, in order.
        accuracy: from 0 to 1.
        minutes: whether to count these instead of epochs.
    """
    at, spent = 0.0, 0.0
    for epoch in epochs:
        of_epoch = _of_epoch(epoch, minutes)
        if epoch["accuracy_valid"] >= accuracy:
            return spent + of_epoch * (accuracy - at) / (epoch["accuracy_valid"] - at) if accuracy > at else spent
        at, spent = max(at, epoch["accuracy_valid"]), spent + of_epoch
    return float("inf")


@dataclass(frozen=True)
class Compared:
    """A comparison, with the difference of its networks and two one-sided p-values.

    Attributes:
        p_holds: of the hypothesis that it does not hold.
        p_fails: of the hypothesis that it does not fail.
        why: why it cannot be decided, or "".
    """

    comparison: Comparison
    difference: Difference
    p_holds: float
    p_fails: float
    why: str = ""

    @property
    def p(self) -> float:
        """p-value of a decision, whichever it is; 1 if it cannot be decided."""
        return 1.0 if self.why else min(1.0, 2 * min(self.p_holds, self.p_fails))

    def decision(self, p: float, level: float) -> str:
        """What is decided at a level of significance if the p-value, adjusted for the number of comparisons, is p."""
        if p >= level:
            return OPEN
        return HOLDS if self.p_holds < self.p_fails else FAILS


def spreads(claims: list[Claim], outcomes: dict[str, Outcome]) -> dict[str, Spread | None]:
    """For each measure of the claims how networks vary with the seed; not for epochs and minutes, which depend on what
    both networks of a comparison reach."""
    measures = {c.measure for claim in claims for c in claim.comparisons} - {"epochs", "minutes"}
    return {m: Spread.of([o.values(m) for o in outcomes.values()]) for m in sorted(measures)}


def compare(c: Comparison, outcomes: dict[str, Outcome], spread: Spread | None = None) -> Compared:
    """Compare two networks; ``spread`` is that of the measure."""
    first, second = outcomes[c.first], outcomes[c.second]
    if c.measure == "wer":
        d = wer_difference(first.errors, second.errors, first.words, spread=spread)
    elif c.measure in ("epochs", "minutes"):
        level = c.level / 100 or min(first.reached, second.reached)
        d = difference(first.effort(c.measure, level), second.effort(c.measure, level))
    else:
        d = difference(first.values(c.measure), second.values(c.measure), spread=spread)
    larger_is_better = c.relation == "more" or c.measure not in ("wer", "epochs", "minutes")
    above, below = (d.p_above, d.p_below) if larger_is_better else \
        (lambda bound: d.p_below(-bound), lambda bound: d.p_above(-bound))
    if c.relation == "equal":
        p_holds, p_fails = max(above(-c.margin), below(c.margin)), min(above(c.margin), below(-c.margin))
    elif c.relation == "no_better":
        p_holds, p_fails = below(c.margin), above(c.margin)
    else:
        p_holds, p_fails = above(0), below(0)
    return Compared(c, d, p_holds, p_fails, _why_open(c, outcomes))


def _why_open(c: Comparison, outcomes: dict[str, Outcome]) -> str:
    """Why a comparison cannot be decided, whatever the difference."""
    both = list(dict.fromkeys((c.first, c.second)))
    if learning := [n for n in both if outcomes[n].learning and c.measure not in EFFORTS]:
        return f"{' and '.join(learning)} not trained to the end"
    if single := [n for n in both if len(outcomes[n].records) < 2]:
        return f"one seed of {' and '.join(single)}"
    if c.level and (short := [n for n in both if outcomes[n].reached < c.level / 100]):
        return f"not all seeds of {' and '.join(short)} reach {c.level:g} %"
    return ""


def lacking(c: Comparison, outcomes: dict[str, Outcome]) -> dict[str, list[str]]:
    """Why networks cannot be compared at all: reason → those that are not done, or whose minutes are not known."""
    both = list(dict.fromkeys((c.first, c.second)))
    reasons = {"not yet run": [n for n in both if n not in outcomes],
               "minutes not measured": [n for n in both if c.measure == "minutes" and n in outcomes
                                        and not outcomes[n].timed]}
    return {reason: names for reason, names in reasons.items() if names}


def decide(claims: list[Claim], outcomes: dict[str, Outcome], known: dict[str, Spread | None],
           level: float = SIGNIFICANT) -> list[tuple[str, list[tuple[Compared, float, str]]]]:
    """For each claim the verdict, and its comparisons with their adjusted p-values and decisions.

    Args:
        claims: all that are made of the networks.
        outcomes: of the networks that are done.
        known: for each measure how networks vary with the seed, as :func:`spreads` tells it.
        level: of significance.

    A claim holds if all its comparisons hold, and fails if one of them fails. It is partly run, or untested, if some or
    all of its comparisons lack a network. p-values are adjusted for the number of comparisons of all claims, those that
    lack a network too, so that the adjustment does not grow when more networks are run. What these show of the variance
    changes the p-values.
    """
    tested = [[compare(c, outcomes, known.get(c.measure)) for c in claim.comparisons
               if not lacking(c, outcomes)] for claim in claims]
    p_values = [c.p for rows in tested for c in rows]
    adjusted = iter(holm(p_values + [1.0] * (sum(len(claim.comparisons) for claim in claims) - len(p_values))))
    verdicts = []
    for claim, of_claim in zip(claims, tested, strict=True):
        rows = [(c, p := next(adjusted), c.decision(p, level)) for c in of_claim]
        decisions = {decision for _, _, decision in rows}
        verdict = next((v for v in (FAILS, OPEN, HOLDS) if v in decisions), UNTESTED)
        if decisions and verdict != FAILS and len(rows) < len(claim.comparisons):
            verdict = PARTLY
        verdicts.append((verdict, rows))
    return verdicts


def sentence(c: Comparison) -> str:
    """Describe a comparison in words."""
    goal = f"to a held-out frame accuracy of {c.level:g} %" if c.level \
        else "to the held-out frame accuracy that both reach"
    what = {"accuracy": "held-out frame accuracy", "early": "held-out frame accuracy after one epoch",
            "gap": "frame accuracy in training less that held out", "wer": "WER",
            "epochs": f"epochs {goal}", "minutes": f"core minutes {goal}"}[c.measure]
    how = {"better": "better than", "more": "more than", "no_better": f"no more than {c.margin:g} better than",
           "equal": f"within {c.margin:g} of"}[c.relation]
    return f"{c.first} {how} {c.second}: {what}"
