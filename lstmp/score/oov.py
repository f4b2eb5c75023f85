"""Recognition of out-of-vocabulary (unknown) words: how many are recognized, and how many new words are written.

    steps/score_oov.sh --row words DIR/words.txt exp/R/x/decode_words_test --row pieces DIR/words.txt \
        exp/R/x/decode_pieces_test

A word of the reference is unknown if it is not in the vocabulary of the row. It counts as recognized if the Levenshtein
alignment pairs it with the same word. *New words* are words of the hypotheses that are not in the vocabulary; only a
system that recognizes pieces of words can write them.
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

_SCORE_KEYS = ("wer", "ci", "ins", "del", "sub", "lmwt", "wip")  # keys of score.json


@dataclass(frozen=True)
class OovCounts:
    """Counts of a set.

    Attributes:
        words: words of the reference.
        unknown: words of the reference that are not in the vocabulary.
        recognized: those of the unknown words that were recognized.
        made_up: new words, words of the hypotheses that are not in the vocabulary.
        right: those of the new words that are correct.
        known_errors: errors on the known words: all errors except those paired with an unknown reference word.
    """

    words: int
    unknown: int
    recognized: int
    made_up: int
    right: int
    known_errors: int

    @property
    def recall(self) -> tuple[float, float, float]:
        """Share of the unknown words that were recognized, and its 95 % interval (E. B. Wilson, 1927)."""
        if not self.unknown:
            return 0.0, 0.0, 1.0
        interval = binomtest(self.recognized, self.unknown).proportion_ci(method="wilson")
        return self.recognized / self.unknown, interval.low, interval.high

    @property
    def known_wer(self) -> float:
        """Word error rate of the known words in per cent, including insertions."""
        return 100 * self.known_errors / max(self.words - self.unknown, 1)


def count_unknown(refs: Words, hyps: Words, vocabulary: set[str]) -> OovCounts:
    """Count the unknown words of a set. A missing hypothesis counts as empty."""
    words = unknown = recognized = made_up = right = errors = 0
    for utt, ref in refs.items():
        for ref_word, hyp_word in kaldialign.align(ref, hyps.get(utt, ()), ""):
            words += ref_word != ""
            if ref_word and ref_word not in vocabulary:
                unknown += 1
                recognized += ref_word == hyp_word
            else:
                errors += ref_word != hyp_word
            if hyp_word and hyp_word not in vocabulary and not is_whole(hyp_word):  # symbols such as <UNK> do not count
                made_up += 1
                right += ref_word == hyp_word
    return OovCounts(words, unknown, recognized, made_up, right, errors)


def read_vocabulary(path) -> set[str]:
    """The words in the first column of a word list or a words.txt."""
    return set(first_columns(path))


def row_of(label: str, words, decoded: DecodedSet) -> dict:
    """The row of a scored decode dir, as in results.json; ``words``: file with the vocabulary."""
    best = decoded.dir / "best.txt"
    if not best.is_file():
        raise UserError("no such file", file=best, hint="score this set first (stage 11)")
    score = config.read_json(decoded.dir / "score.json", "score this set first (stage 11)")
    counts = count_unknown(read_refs(decoded.data), read_hyps(best), read_vocabulary(words))
    recall, low, high = counts.recall
    return {"system": label, "set": decoded.data.name, **{k: score[k] for k in _SCORE_KEYS}, "words": counts.words,
            "unknown": counts.unknown, "recognized": counts.recognized, "recall": 100 * recall,
            "recall_ci": [100 * low, 100 * high], "known_wer": counts.known_wer, "made_up": counts.made_up,
            "right": counts.right}


def page(record: dict) -> str:
    """RESULTS.md, made from "note" and "rows" of results.json."""
    rows = record["rows"]
    head = ["system", "set", "unknown words", "WER %", "WER % of known words", "unknown words recognized", "new words",
            "new words that are correct"]
    cells = [[r["system"], r["set"], f"{r['unknown']:,} ({100 * r['unknown'] / r['words']:.2f} %)",
              f"**{r['wer']:.2f}** [{r['ci'][0]:.2f}, {r['ci'][1]:.2f}]", f"{r['known_wer']:.2f}",
              f"{r['recognized']:,}: **{r['recall']:.1f} %** [{r['recall_ci'][0]:.1f}, {r['recall_ci'][1]:.1f}]",
              f"{r['made_up']:,}", f"{r['right']:,}"] for r in rows]
    title = "# Words that are not in the dictionary\n\n"
    return title + f"{record['note']}\n\n".lstrip() + table(head, cells, left=2) + "\n"


@command
def main(argv=None):
    p = argparse.ArgumentParser(prog="steps/score_oov.sh", description=__doc__.split("\n")[0])
    p.add_argument("--row", nargs=3, action="append", required=True, metavar=("LABEL", "WORDS", "DIR"),
                   help="name of the row, file with the vocabulary, scored decode dir (or DIR=DATA)")
    p.add_argument("--note", default="", help="text above the table")
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
