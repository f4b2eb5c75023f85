"""Word errors of hypotheses against a reference: insertions, deletions, substitutions by Levenshtein alignment."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from lstmp.corpus.datadir import read_lines, read_table
from lstmp.corpus.textlines import alike, columns, composed
from lstmp.errors import UserError

Words = dict[str, tuple[str, ...]]  # utterance → its words


@dataclass(frozen=True)
class Errors:
    """Errors of a set, one row of ``counts`` an utterance.

    Attributes:
        utts: the reference's utterances, sorted.
        counts: int64 [N, 4]: insertions, deletions, substitutions, reference words.
        missing: utterances without hypothesis; all their words are counted as deleted.
    """

    utts: tuple[str, ...]
    counts: np.ndarray
    missing: tuple[str, ...]

    @property
    def errors(self) -> np.ndarray:
        """int64 [N]: all errors of each utterance."""
        return self.counts[:, :3].sum(axis=1)

    @property
    def words(self) -> np.ndarray:
        """int64 [N]: reference words of each utterance."""
        return self.counts[:, 3]

    @property
    def wer(self) -> float:
        """Word error rate of the set in per cent."""
        return 100.0 * int(self.errors.sum()) / int(self.words.sum())


def read_refs(data_dir) -> Words:
    """The reference: ``text`` of a data dir."""
    return {utt: tuple(text.split()) for utt, text in read_table(Path(data_dir) / "text").items()}


def read_hyps(path) -> Words:
    """Hypotheses, ``utt word word …`` a line; an utterance alone on its line has no word.

    Raises:
        UserError: no such file, not UTF-8, a blank line, an utterance twice.
    """
    hyps: Words = {}
    for number, line in enumerate(read_lines(path), 1):
        utt, *_ = columns(line) or [""]
        if not utt or utt in hyps:
            raise UserError(f"`{utt}` is given twice" if utt else "blank line", file=path, line=number,
                            hint="decode this set again")
        hyps[utt] = tuple(composed(line.partition(utt)[2]).split())
    return hyps


def count_errors(refs: Words, hyps: Words, file=None) -> Errors:
    """Errors of every utterance of ``refs``. ``file``, where the hypotheses are from, is for messages only.

    Raises:
        UserError: a hypothesis of an utterance that is not in the reference, or a reference without words.
    """
    for number, utt in enumerate(hyps, 1):
        if utt not in refs:
            raise UserError(f"`{utt}` is not in the reference", file=file, line=number,
                            hint="score with the data dir that was decoded")
    counts = np.zeros((len(refs), 4), dtype=np.int64)
    utts = tuple(sorted(refs))
    for row, utt in zip(counts, utts, strict=True):
        e = kaldialign.edit_distance(refs[utt], hyps.get(utt, ()))
        row[:] = e["ins"], e["del"], e["sub"], e["ref_len"]
    if counts[:, 3].sum() == 0:
        raise UserError("the reference has no words", file=file, hint="check `text` of the data dir")
    return Errors(utts, counts, tuple(u for u in utts if u not in hyps))


def spelling_errors(refs: Words, hyps: Words) -> Counter[tuple[str, str]]:
    """(reference word, hypothesis word) → how often, of the substitutions in which the two words differ in letter case,
    apostrophes, width or invisible characters alone."""
    pairs: Counter[tuple[str, str]] = Counter()
    for utt, hyp in hyps.items():
        if refs[utt] != hyp:
            pairs.update((r, h) for r, h in kaldialign.align(refs[utt], hyp, "") if r and h and r != h)
    return Counter({(r, h): n for (r, h), n in pairs.items() if alike(r) == alike(h)})
