"""Decides claims: each comparison of a claim holds, fails, or is not decided by the data."""

from dataclasses import dataclass

import numpy as np

from lstmp.experiment.difference import Difference, difference, wer_difference
from lstmp.experiment.plan import Claim, Comparison

HOLDS, FAILS, OPEN, UNTESTED = "holds", "fails", "not decided", "not tested"


@dataclass(frozen=True)
class Outcome:
    """The results of one network over its seeds.

    Attributes:
        records: for each seed, the content of ``train.json``.
        errors: for each seed, the number of word errors in every utterance of the first set [N]; empty if nothing was
            decoded.
        words: number of reference words in these utterances [N].
    """

    records: list[dict]
    errors: list[np.ndarray]
    words: np.ndarray

    def values(self, measure: str) -> list[float]:
        """The value of a measure for each seed, in per cent."""
        if measure == "wer":
            return [100 * e.sum() / self.words.sum() for e in self.errors]
        read = {"accuracy": lambda r: r["frame_accuracy_valid"], "early": lambda r: r["epochs"][0]["accuracy_valid"],
                "gap": lambda r: r["frame_accuracy_train"] - r["frame_accuracy_valid"]}[measure]
        return [100 * read(r) for r in self.records]


def compare(c: Comparison, first: Outcome, second: Outcome) -> tuple[Difference, str]:
    """The difference between two networks, and the verdict on the comparison."""
    if c.measure == "wer":
        d = wer_difference(first.errors, second.errors, first.words)
    else:
        d = difference(first.values(c.measure), second.values(c.measure))
    larger_is_better = c.relation == "more" or c.measure != "wer"
    low, high = (d.low, d.high) if larger_is_better else (-d.high, -d.low)
    if c.relation in ("better", "more"):
        return d, HOLDS if low > 0 else FAILS if high < 0 else OPEN
    if c.relation == "no_better":
        return d, HOLDS if high < c.margin else FAILS if low > c.margin else OPEN
    return d, HOLDS if -c.margin < low and high < c.margin else FAILS if low > c.margin or high < -c.margin else OPEN


def verdict(claim: Claim, outcomes: dict[str, Outcome]) -> tuple[str, list[tuple[Comparison, Difference, str]]]:
    """The verdict on a claim, and its comparisons with their differences and verdicts.

    A claim holds if all its comparisons hold, and fails if one of them fails. It is untested if some of its networks
    have not been run.
    """
    names = {n for c in claim.comparisons for n in (c.first, c.second)}
    if not claim.comparisons or not names <= set(outcomes):
        return UNTESTED, []
    rows = [(c, *compare(c, outcomes[c.first], outcomes[c.second])) for c in claim.comparisons]
    verdicts = {v for _, _, v in rows}
    return FAILS if FAILS in verdicts else OPEN if OPEN in verdicts else HOLDS, rows


def sentence(c: Comparison) -> str:
    """Describe a comparison in words."""
    what = {"accuracy": "frame accuracy held out", "early": "frame accuracy held out after one epoch",
            "gap": "frame accuracy in training less that held out", "wer": "WER"}[c.measure]
    how = {"better": "better than", "more": "more than", "no_better": f"no more than {c.margin:g} better than",
           "equal": f"within {c.margin:g} of"}[c.relation]
    return f"{c.first} {how} {c.second}: {what}"
