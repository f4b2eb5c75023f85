"""Probabilities of silence before and after each pronunciation: Kaldi's ``lexiconp_silprob.txt`` and ``silprob.txt``.

The model is that of Chen, Xu, Povey and Khudanpur, "Pronunciation and silence probability modeling for ASR"
(Interspeech 2015). Between a pronunciation v and the next pronunciation w, silence has the weight P(s | v) · F(s | w),
and no silence has the weight (1 − P(s | v)) · F(n | w). P is the probability of silence after v. F is a correction for
w: it is above 1 if silence precedes w more often than the preceding words predict. The start of the sentence is treated
as a v, its end as a w.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lstmp import config
from lstmp.corpus.textlines import columns, number, numbered_lines
from lstmp.errors import UserError

LEXICON, SENTENCE = "lexiconp_silprob.txt", "silprob.txt"
HINT = "create the folder again with local/add_pron_probs.sh or local/prepare_lang.sh"


class SilenceTerms(NamedTuple):
    """The silence terms of one pronunciation.

    Attributes:
        after: P(s | v), the probability of silence after it.
        left_silence: F(s | w), the factor of silence before it.
        left_none: F(n | w), the factor of no silence before it.
    """

    after: float
    left_silence: float
    left_none: float


@dataclass(frozen=True)
class SilenceModel:
    """The terms of all pronunciations and of the ends of a sentence.

    Attributes:
        start: P(s | <s>), the probability of silence at the start of a sentence.
        end_silence, end_none: F(s | </s>) and F(n | </s>).
        overall: probability of silence at any word boundary.
        terms: (word, phones) → terms. Words and phones are names in a dictionary folder, and ids in
            :class:`lstmp.corpus.lang.Lang`.
    """

    start: float
    end_silence: float
    end_none: float
    overall: float
    terms: dict[tuple, SilenceTerms] = field(default_factory=dict)

    @classmethod
    def constant(cls, sil_prob: float) -> "SilenceModel":
        """Build a model with the same probability of silence at the start and after every word."""
        return cls(sil_prob, 1.0, 1.0, sil_prob)

    def of(self, word, phones: tuple) -> SilenceTerms:
        """Return the terms of a pronunciation; if it has none, they are made from the overall probability."""
        return self.terms.get((word, phones)) or SilenceTerms(self.overall, 1.0, 1.0)

    @classmethod
    def read(cls, directory, prons: dict[tuple, float],
             key: Callable[[str, tuple[str, ...]], tuple] = lambda word, phones: (word, phones)) -> "SilenceModel":
        """Read the two files of a folder.

        Args:
            directory: a dictionary or lang folder.
            prons: (word, phones) → probability, from ``lexiconp.txt`` of the same folder, which must agree.
            key: function from a word and its phones, as written in the file, to a key of ``prons``; raises KeyError if
                they are unknown.

        Raises:
            UserError: a file is missing or malformed, or the two lexicons differ.
        """
        path, terms = Path(directory) / LEXICON, {}
        for n, line in numbered_lines(path):
            if not (fields := columns(line)):
                continue
            if len(fields) < 6:
                raise UserError("expected `word probability P(s after) F(s before) F(no s before) phones`", file=path,
                                line=n, hint=HINT)
            prob, after, left_silence, left_none = (_number(x, path, n) for x in fields[1:5])
            try:
                pron = key(fields[0], tuple(fields[5:]))
            except KeyError:
                pron = None
            if pron is None or prons.get(pron) != prob:
                raise UserError(f"this pronunciation of {fields[0]} is not in lexiconp.txt, or has another probability",
                                file=path, line=n, hint=HINT)
            if pron in terms:
                raise UserError(f"this pronunciation of {fields[0]} is given twice", file=path, line=n, hint=HINT)
            terms[pron] = SilenceTerms(_below_one(after, path, n), left_silence, left_none)
        if len(terms) < len(prons):
            raise UserError(f"{len(prons) - len(terms)} of the {len(prons)} pronunciations of lexiconp.txt are missing",
                            file=path, hint=HINT)
        return cls(*_read_sentence(Path(directory) / SENTENCE), terms)

    def write(self, directory, entries: Iterable[tuple[str, float, tuple[str, ...]]], terms: Iterable[SilenceTerms]):
        """Write the two files.

        Args:
            directory: the folder.
            entries: (word, probability, phones), as they are to be written.
            terms: silence terms of each entry.
        """
        lines = [f"{word} {prob!r} {t.after!r} {t.left_silence!r} {t.left_none!r} {' '.join(phones)}\n"
                 for (word, prob, phones), t in zip(entries, terms, strict=True)]
        config.write_text(Path(directory) / LEXICON, "".join(lines))
        config.write_text(Path(directory) / SENTENCE, f"<s> {self.start!r}\n</s>_s {self.end_silence!r}\n"
                          f"</s>_n {self.end_none!r}\noverall {self.overall!r}\n")


def _read_sentence(path: Path) -> tuple[float, float, float, float]:
    values, names = {}, ("<s>", "</s>_s", "</s>_n", "overall")
    for n, line in numbered_lines(path):
        if fields := columns(line):
            if len(fields) != 2 or fields[0] not in names or fields[0] in values:
                raise UserError(f"expected the lines {', '.join(names)}, each once with a number", file=path, line=n,
                                hint=HINT)
            value = _number(fields[1], path, n)
            values[fields[0]] = _below_one(value, path, n) if fields[0] in ("<s>", "overall") else value
    if missing := [name for name in names if name not in values]:
        raise UserError(f"there is no line for {missing[0]}", file=path, hint=HINT)
    start, end_silence, end_none, overall = (values[name] for name in names)
    return start, end_silence, end_none, overall


def _number(text: str, path, n: int) -> float:
    value = number(text)
    if value is None or not 0 < value < math.inf:
        raise UserError(f"expected a number above 0, found {text}", file=path, line=n, hint=HINT)
    return value


def _below_one(value: float, path, n: int) -> float:
    if value >= 1:
        raise UserError(f"expected a probability of silence between 0 and 1, found {value}", file=path, line=n,
                        hint=HINT)
    return value
