"""Word error rates: counts of insertions, deletions and substitutions by Levenshtein alignment."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import kaldialign
import numpy as np

from lstmp.corpus.coverage import same_but_spelling
from lstmp.corpus.datadir import read_lines, read_table
from lstmp.corpus.textlines import columns, composed, number
from lstmp.errors import UserError
from lstmp.log import warn

Words = dict[str, tuple[str, ...]]  # utterance → its words
_TRN = re.compile(r"(.*)\(([^()\s]*[-_0-9][^()\s]*)\)\s*")  # ids; (LAUGHTER) may be a word
_NO_WORDS = {"<s>", "</s>", "<eps>"}


@dataclass(frozen=True)
class Errors:
    """Errors of a set.

    Attributes:
        utts: the utterances of the reference, sorted.
        counts: int64 [N, 4]: insertions, deletions, substitutions, and reference words of each utterance.
        missing: utterances without a hypothesis; all their words count as deleted.
    """

    utts: tuple[str, ...]
    counts: np.ndarray
    missing: tuple[str, ...]

    @property
    def errors(self) -> np.ndarray:
        """Number of errors in each utterance, int64 [N]."""
        return self.counts[:, :3].sum(axis=1)

    @property
    def words(self) -> np.ndarray:
        """Number of reference words in each utterance, int64 [N]."""
        return self.counts[:, 3]

    @property
    def wer(self) -> float:
        """Word error rate of the set in per cent."""
        return 100.0 * int(self.errors.sum()) / int(self.words.sum())


def read_refs(data_dir) -> Words:
    """Read the reference, ``text`` of a data dir."""
    return {utt: tuple(text.split()) for utt, text in read_table(Path(data_dir) / "text").items()}


def read_hyps(path) -> Words:
    """Read hypotheses, one per line: ``utt word word …``. A hypothesis may have no words.

    Sclite's form ``word word … (utt)`` is accepted too. Symbols such as ``<s>`` are removed, with a warning.

    Raises:
        UserError: no such file, not UTF-8, a blank line, an utterance is given twice, or a file with times (STM, CTM).
    """
    lines = read_lines(path)
    _check_no_times(lines, path)
    trn = [found for line in lines if (found := _TRN.fullmatch(line))]
    is_trn = len(trn) == len({found[2] for found in trn}) == len(lines)
    hyps: Words = {}
    symbols = 0
    for n, line in enumerate(lines, 1):
        utt, *_ = columns(line) or [""]
        rest = line.partition(utt)[2] if utt else ""
        if is_trn:
            rest, utt = trn[n - 1].groups()
        if not utt or utt in hyps:
            raise UserError(f"`{utt}` is given twice" if utt else "blank line", file=path, line=n,
                            hint="decode this set again")
        words = tuple(composed(rest).split())
        hyps[utt] = tuple(word for word in words if word not in _NO_WORDS)
        symbols += len(words) - len(hyps[utt])
    if symbols:
        warn(f"{path}: {symbols} symbols that are no words are left out: <s>, </s> or <eps>")
    return hyps


def _check_no_times(lines: list[str], path):
    """Raise a UserError for sclite's STM and CTM files, whose times and channels would count as words."""
    rows = [fields for line in lines if not line.startswith(";;") and (fields := columns(line))]
    for kind, begin, end in (("STM", 3, 4), ("CTM", 2, 3)):
        if rows and all(len(row) > end and number(row[begin]) is not None and number(row[end]) is not None
                        for row in rows):
            raise UserError(f"there are times in each line, as in {kind} files", file=path, line=1,
                            hint="write `utterance word word …`, or sclite's `word word … (utterance)`")


def count_errors(refs: Words, hyps: Words, file=None) -> Errors:
    """Count the errors in every utterance of ``refs``. ``file``: the file of the hypotheses, for messages.

    Raises:
        UserError: a hypothesis of an utterance that is not in the reference, or a reference without words.
    """
    for n, utt in enumerate(hyps, 1):
        if utt not in refs:
            raise UserError(f"`{utt}` is not in the reference", file=file, line=n,
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
    """Substitutions whose words differ only in letter case, apostrophes, width, invisible characters or punctuation:
    (reference word, hypothesis word) → count."""
    pairs: Counter[tuple[str, str]] = Counter()
    for utt, hyp in hyps.items():
        if refs[utt] != hyp:
            pairs.update((r, h) for r, h in kaldialign.align(refs[utt], hyp, "") if r and h and r != h)
    return Counter({(r, h): n for (r, h), n in pairs.items() if same_but_spelling(r, h)})
