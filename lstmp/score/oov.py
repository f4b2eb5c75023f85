"""Words that the vocabulary lacks: how many of them are recognized, and at what price.

    steps/score_oov.sh --row words DIR/words.txt exp/R/x/decode_words_test --row pieces DIR/words.txt \
        exp/R/x/decode_pieces_test

A word of the reference that is not in the list of a row counts as recognized where the alignment of least errors has
the same word opposite to it. *Made up* are the words of the hypotheses that are not in the list: those that only a
system of pieces can write.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import kaldialign
from scipy.stats import binomtest

from lstmp import config
from lstmp.corpus.pieces import is_whole
from lstmp.corpus.textlines import first_columns
from lstmp.errors import UserError, command
from lstmp.score.report import table
from lstmp.score.score import DecodedSet
from lstmp.score.wer import Words, read_hyps, read_refs

_SCORED = ("wer", "ci", "ins", "del", "sub", "lmwt", "wip")  # as score.json has them


@dataclass(frozen=True)
class Unknown:
    """Counts of a set.

    Attributes:
        words: of the reference.
        unknown, recognized: those that the vocabulary lacks, and those of them that were recognized.
        made_up, right: words of the hypotheses that the vocabulary lacks, and those of them that were said.
        known_errors: errors on the known words: of the alignment, all but those opposite to an unknown word.
    """

    words: int
    unknown: int
    recognized: int
    made_up: int
    right: int
    known_errors: int

    @property
    def recall(self) -> tuple[float, float, float]:
        """Share of the unknown words that was recognized, and its interval of 95 % (E. B. Wilson, 1927)."""
        if not self.unknown:
            return 0.0, 0.0, 1.0
        found = binomtest(self.recognized, self.unknown).proportion_ci(method="wilson")
        return self.recognized / self.unknown, found.low, found.high

    @property
    def known_wer(self) -> float:
        """Word error rate of the known words, in per cent; insertions count."""
        return 100 * self.known_errors / max(self.words - self.unknown, 1)


def count_unknown(refs: Words, hyps: Words, vocabulary: set[str]) -> Unknown:
    """Count over a set; a missing hypothesis is empty."""
    words = unknown = recognized = made_up = right = errors = 0
    for utt, ref in refs.items():
        for said, found in kaldialign.align(ref, hyps.get(utt, ()), ""):
            words += said != ""
            if said and said not in vocabulary:
                unknown += 1
                recognized += said == found
            else:
                errors += said != found
            if found and found not in vocabulary and not is_whole(found):  # <UNK> says nothing
                made_up += 1
                right += said == found
    return Unknown(words, unknown, recognized, made_up, right, errors)


def read_vocabulary(path) -> set[str]:
    """The first column of a list of words, or of a words.txt."""
    return set(first_columns(path))


def row_of(label: str, words, decoded: DecodedSet) -> dict:
    """The figures of a scored decode dir."""
    best = decoded.dir / "best.txt"
    if not best.is_file():
        raise UserError("no such file", file=best, hint="score this set first (stage 11)")
    score = config.read_json(decoded.dir / "score.json", "score this set first (stage 11)")
    n = count_unknown(read_refs(decoded.data), read_hyps(best), read_vocabulary(words))
    recall, low, high = n.recall
    return {"system": label, "set": decoded.data.name, **{k: score[k] for k in _SCORED}, "words": n.words,
            "unknown": n.unknown, "recognized": n.recognized, "recall": 100 * recall,
            "recall_ci": [100 * low, 100 * high], "known_wer": n.known_wer, "made_up": n.made_up, "right": n.right}


def page(record: dict) -> str:
    """A page in Markdown, from "note" and "rows" of results.json."""
    rows = record["rows"]
    head = ["system", "set", "unknown words", "WER %", "of known words", "unknown words recognized", "words made up",
            "of these right"]
    cells = [[r["system"], r["set"], f"{r['unknown']:,} ({100 * r['unknown'] / r['words']:.2f} %)",
              f"**{r['wer']:.2f}** [{r['ci'][0]:.2f}, {r['ci'][1]:.2f}]", f"{r['known_wer']:.2f}",
              f"{r['recognized']:,}: **{r['recall']:.1f} %** [{r['recall_ci'][0]:.1f}, {r['recall_ci'][1]:.1f}]",
              f"{r['made_up']:,}", f"{r['right']:,}"] for r in rows]
    return f"{record['note']}\n\n".lstrip() + table(head, cells, left=2) + "\n"


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/score_oov.sh", description=__doc__.split("\n")[0])
    p.add_argument("--row", nargs=3, action="append", required=True, metavar=("LABEL", "WORDS", "DIR"),
                   help="a name, a list of the known words, a scored decode dir (or DIR=DATA)")
    p.add_argument("--note", default="", help="text to stand above the table")
    p.add_argument("--out", type=Path, help="folder for RESULTS.md and results.json (default: print the table)")
    a = p.parse_args(argv)
    record = {"note": a.note, "rows": [row_of(label, words, DecodedSet.parse(text)) for label, words, text in a.row]}
    if a.out is None:
        print(page(record), end="")
        return
    config.write_text(a.out / "results.json", json.dumps(record, indent=1) + "\n")
    config.write_text(a.out / "RESULTS.md", page(record))


if __name__ == "__main__":
    main()
