"""How often each pronunciation was said, and with silence around it: the files of Kaldi's ``get_prons.sh``.

A pronunciation is a word with its phones, ``("READ", "R", "EH1", "D")``, without position marks. ``("<eps>", "SIL")``
is optional silence; ``("<s>",)`` and ``("</s>",)`` are the ends of an utterance.
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
MEND = "make the counts again with steps/get_prons.sh"

Pron = tuple[str, ...]


@dataclass
class PronCounts:
    """Counts over utterances.

    Attributes:
        prons: of each pronunciation, and of optional silence.
        silence_before, none_before: how often silence, or none, stands before a pronunciation or the end.
        silence_after, none_after: the same after a pronunciation or the start.
        bigrams: (v, w) → how often w follows v, with silence between them or not; the ends included.
    """

    prons: Counter = field(default_factory=Counter)
    silence_before: Counter = field(default_factory=Counter)
    none_before: Counter = field(default_factory=Counter)
    silence_after: Counter = field(default_factory=Counter)
    none_after: Counter = field(default_factory=Counter)
    bigrams: Counter = field(default_factory=Counter)

    def add(self, said: Iterable[Pron]):
        """Count one utterance: its pronunciations in order, optional silences among them."""
        said = list(said)
        self.prons.update(said)
        everything = [START, *said, END]
        for v, w in pairwise(everything):
            if v[0] != SILENCE:
                (self.silence_after if w[0] == SILENCE else self.none_after)[v] += 1
            if w[0] != SILENCE:
                (self.silence_before if v[0] == SILENCE else self.none_before)[w] += 1
        self.bigrams.update(pairwise([p for p in everything if p[0] != SILENCE]))

    def write(self, directory):
        """Write the three files, sorted by pronunciation, that of counts of pronunciations by count first."""
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
        """Read the three files, Kaldi's or ours.

        Raises:
            UserError: a file is absent or a line malformed.
        """
        d, counts = Path(directory), cls()
        for n, line in numbered_lines(d / PRONS):
            fields = columns(line)
            if len(fields) < 3:
                raise UserError("expected `count word phones`", file=d / PRONS, line=n, hint=MEND)
            counts.prons[tuple(fields[1:])] += _count(fields[0], d / PRONS, n)
        kinds = (counts.silence_before, counts.none_before, counts.silence_after, counts.none_after)
        for n, line in numbered_lines(d / SILENCES):
            fields = columns(line)
            if len(fields) < 5:
                raise UserError("expected four counts (silence and none before, silence and none after), word and "
                                "phones", file=d / SILENCES, line=n, hint=MEND)
            for column, text in zip(kinds, fields[:4], strict=True):
                column[tuple(fields[4:])] += _count(text, d / SILENCES, n)
        for n, line in numbered_lines(d / BIGRAMS):
            fields = line.split("\t")
            if len(fields) != 3 or not all(map(columns, fields)):
                raise UserError("expected a count and two pronunciations, separated by tabs", file=d / BIGRAMS, line=n,
                                hint=MEND)
            v, w = (tuple(columns(f)) for f in fields[1:])
            counts.bigrams[v, w] += _count(fields[0], d / BIGRAMS, n)
        return counts


def write_counts(path, counts: dict[Pron, int]):
    """Write ``count word phones`` lines, the most frequent first."""
    lines = [f"{n} {' '.join(p)}\n" for p, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    config.write_text(path, "".join(lines))


def _count(text: str, path, n: int) -> int:
    if not config.is_count(text, 18):
        raise UserError(f"expected a count, found {text}", file=path, line=n, hint=MEND)
    return int(text)
