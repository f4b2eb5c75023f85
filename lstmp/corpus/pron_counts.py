"""Counts pronunciations and the silence around them, and reads and writes the files of Kaldi's ``get_prons.sh``.

A pronunciation is a word with its phones without position marks, ``("READ", "R", "EH1", "D")``. ``("<eps>", "SIL")`` is
optional silence; ``("<s>",)`` and ``("</s>",)`` are the start and the end of an utterance.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from lstmp import config
from lstmp.corpus.textlines import columns, numbered_lines
from lstmp.errors import UserError

PRONS, SILENCES, BIGRAMS = "pron_counts_nowb.txt", "sil_counts_nowb.txt", "pron_bigram_counts_nowb.txt"
START, END, SILENCE = ("<s>",), ("</s>",), "<eps>"
HINT = "create the counts again with steps/get_prons.sh"

Pron = tuple[str, ...]


@dataclass
class PronCounts:
    """Counts over utterances.

    Attributes:
        prons: counts of pronunciations and of optional silence.
        silence_before, none_before: how often silence, or no silence, precedes a pronunciation or the end.
        silence_after, none_after: how often silence, or no silence, follows a pronunciation or the start.
        bigrams: (v, w) → how often w follows v, with or without silence between them; v may be the start, w the end.
    """

    prons: Counter = field(default_factory=Counter)
    silence_before: Counter = field(default_factory=Counter)
    none_before: Counter = field(default_factory=Counter)
    silence_after: Counter = field(default_factory=Counter)
    none_after: Counter = field(default_factory=Counter)
    bigrams: Counter = field(default_factory=Counter)

    def add(self, prons: Iterable[Pron]):
        """Count the pronunciations of one utterance, given in order and including optional silences."""
        prons = list(prons)
        self.prons.update(prons)
        sequence = [START, *prons, END]
        for v, w in pairwise(sequence):
            if v[0] != SILENCE:
                (self.silence_after if w[0] == SILENCE else self.none_after)[v] += 1
            if w[0] != SILENCE:
                (self.silence_before if v[0] == SILENCE else self.none_before)[w] += 1
        self.bigrams.update(pairwise([p for p in sequence if p[0] != SILENCE]))

    def write(self, directory):
        """Write the three files, sorted by pronunciation; the pronunciation counts are sorted by count first."""
        d = Path(directory)
        write_counts(d / PRONS, self.prons)
        columns = (self.silence_before, self.none_before, self.silence_after, self.none_after)
        prons = sorted(set().union(*columns))
        config.write_text(d / SILENCES, "".join(
            f"{' '.join(str(c[p]) for c in columns)} {' '.join(p)}\n" for p in prons))
        config.write_text(d / BIGRAMS, "".join(
            f"{n}\t{' '.join(v)}\t{' '.join(w)}\n" for (v, w), n in sorted(self.bigrams.items())))

    @classmethod
    def read(cls, directory) -> "PronCounts":
        """Read the three files, written by Kaldi or by :meth:`write`.

        Raises:
            UserError: a file is missing or a line is malformed.
        """
        d, counts = Path(directory), cls()
        for n, line in numbered_lines(d / PRONS):
            fields = columns(line)
            if len(fields) < 3:
                raise UserError("expected `count word phones`", file=d / PRONS, line=n, hint=HINT)
            counts.prons[tuple(fields[1:])] += _count(fields[0], d / PRONS, n)
        counters = (counts.silence_before, counts.none_before, counts.silence_after, counts.none_after)
        for n, line in numbered_lines(d / SILENCES):
            fields = columns(line)
            if len(fields) < 5:
                raise UserError("expected four counts (silence and no silence before and after the word), word and "
                                "phones", file=d / SILENCES, line=n, hint=HINT)
            for counter, text in zip(counters, fields[:4], strict=True):
                counter[tuple(fields[4:])] += _count(text, d / SILENCES, n)
        for n, line in numbered_lines(d / BIGRAMS):
            fields = line.split("\t")
            if len(fields) != 3 or not all(map(columns, fields)):
                raise UserError("expected a count and two pronunciations, separated by tabs", file=d / BIGRAMS, line=n,
                                hint=HINT)
            v, w = (tuple(columns(f)) for f in fields[1:])
            counts.bigrams[v, w] += _count(fields[0], d / BIGRAMS, n)
        return counts


def write_counts(path, counts: dict[Pron, int]):
    """Write ``count word phones`` lines, the most frequent first."""
    lines = [f"{n} {' '.join(p)}\n" for p, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    config.write_text(path, "".join(lines))


def _count(text: str, path, n: int) -> int:
    if not config.is_count(text, 18):
        raise UserError(f"expected a count, found {text}", file=path, line=n, hint=HINT)
    return int(text)
