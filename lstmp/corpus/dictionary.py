"""The pronunciation dictionary: a lexicon file, checked, and Kaldi's ``data/<recipe>/dict/`` folder.

A phone's base is its name without the digits at its end: ``AA0 AA1 AA2`` are the stress variants of ``AA``.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.corpus import silence_model
from lstmp.corpus.silence_model import SilenceModel
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError

SILENCE, NOISE = "SIL", "SPN"
SILENCE_WORD, UNKNOWN_WORD = "!SIL", "<UNK>"
RESERVED = re.compile(r"#\d+|<eps>|<s>|</s>")
_PROBABILITY = re.compile(r"\d*\.\d+(?:[eE]-?\d+)?|\d+[eE]-\d+")
_STRANGE_SPACE = re.compile(r"[^\S \t]")
_POSITION_MARK = re.compile(r".*_[BIES]")

Entry = tuple[str, float, tuple[str, ...]]


@dataclass(frozen=True)
class Dictionary:
    """Pronunciations and phone classes.

    Attributes:
        entries: (word, probability, phones), sorted, without duplicates.
        silence: silence phones; each is a class of its own.
        nonsilence: one tuple for each base phone: its stress variants.
        optional_silence: the silence phone that may stand between words.
        extra_questions: phone groups that the decision tree may ask about.
        silence_model: how likely silence is around each pronunciation; None: the same everywhere.
    """

    entries: list[Entry]
    silence: tuple[str, ...]
    nonsilence: list[tuple[str, ...]]
    optional_silence: str
    extra_questions: list[tuple[str, ...]]
    silence_model: SilenceModel | None = None

    @classmethod
    def from_lexicon(cls, path) -> "Dictionary":
        """The dictionary of a lexicon file (:func:`read_lexicon`)."""
        return cls.from_entries(read_lexicon(path), path)

    @classmethod
    def from_entries(cls, entries: list[Entry], path=None) -> "Dictionary":
        """Phone classes from the phones' names, and the two special words ``!SIL`` and ``<UNK>`` added.

        Raises:
            UserError: there is no word, or one of the two is there with other phones; ``path`` is named.
        """
        for word, phone in ((SILENCE_WORD, SILENCE), (UNKNOWN_WORD, NOISE)):
            if any(e[0] == word and e[2] != (phone,) for e in entries):
                raise UserError(f"{word} must be pronounced {phone}", file=path,
                                mend="remove it; it is added by itself")
        entries = sorted({*entries, (SILENCE_WORD, 1.0, (SILENCE,)), (UNKNOWN_WORD, 1.0, (NOISE,))})
        phones = sorted({p for _, _, pronunciation in entries for p in pronunciation} - {SILENCE, NOISE})
        bases: dict[str, list[str]] = {}
        stresses: dict[str, list[str]] = {}
        for phone in phones:
            base, stress = split_stress(phone)
            bases.setdefault(base, []).append(phone)
            stresses.setdefault(stress, []).append(phone)
        if not phones:
            raise UserError("the lexicon has no words", file=path, mend="write `WORD PHONE PHONE …`, one a line")
        questions = [(SILENCE, NOISE), *(tuple(stresses[s]) for s in sorted(stresses))]
        return cls(entries, (SILENCE, NOISE), [tuple(bases[b]) for b in sorted(bases)], SILENCE, questions)

    @classmethod
    def load(cls, directory) -> "Dictionary":
        """Read a ``dict/`` folder, Kaldi's or ours.

        Raises:
            UserError: a file is absent, a phone is in two classes or in none, the lexicon with silence probabilities
                does not fit the one without.
        """
        d = Path(directory)
        silence = [f for _, f in _groups(d / "silence_phones.txt")]
        nonsilence = [f for _, f in _groups(d / "nonsilence_phones.txt")]
        seen: set[str] = set()
        for name in ("silence_phones.txt", "nonsilence_phones.txt"):
            for n, group in _groups(d / name):
                for phone in group:
                    _check_phone(phone, d / name, n)
                    if phone in seen:
                        raise UserError(f"phone {phone} is listed twice", file=d / name, line=n,
                                        mend="keep one of the two")
                    seen.add(phone)
        silence = tuple(p for group in silence for p in group)
        optional = [p for _, group in _groups(d / "optional_silence.txt") for p in group]
        if len(optional) != 1 or optional[0] not in silence:
            raise UserError("expected one phone of silence_phones.txt", file=d / "optional_silence.txt",
                            mend=f"write {SILENCE}")
        questions = d / "extra_questions.txt"
        for n, group in _groups(questions):
            for phone in group:
                if phone not in seen:
                    raise UserError(f"phone {phone} is in no phone list", file=questions, line=n, mend="remove it")
        path = d / "lexiconp.txt"
        entries = read_lexicon(path, phones=seen)
        model = None
        if any((d / name).exists() for name in (silence_model.LEXICON, silence_model.SENTENCE)):
            model = SilenceModel.read(d, {(word, phones): prob for word, prob, phones in entries})
        return cls(entries, silence, nonsilence, optional[0], [g for _, g in _groups(questions)], model)

    def write(self, directory):
        """Write the folder's five files, and two more if there is a silence model."""
        d = Path(directory)
        if self.silence_model is None:
            for name in (silence_model.LEXICON, silence_model.SENTENCE):
                (d / name).unlink(missing_ok=True)
        else:
            terms = [self.silence_model.of(word, phones) for word, _, phones in self.entries]
            self.silence_model.write(d, self.entries, terms)
        lines = [f"{word} {prob!r} {' '.join(phones)}" for word, prob, phones in self.entries]
        config.write_text(d / "lexiconp.txt", "\n".join(lines) + "\n")
        config.write_text(d / "silence_phones.txt", "\n".join(self.silence) + "\n")
        for name, groups in (("nonsilence_phones", self.nonsilence), ("extra_questions", self.extra_questions)):
            config.write_text(d / f"{name}.txt", "".join(" ".join(g) + "\n" for g in groups))
        config.write_text(d / "optional_silence.txt", self.optional_silence + "\n")


def split_stress(phone: str) -> tuple[str, str]:
    """Split a phone's name into base and stress: ``AA1`` → ``("AA", "1")``; a name of digits only is a base."""
    base = phone.rstrip("0123456789")
    return (base, phone[len(base):]) if base else (phone, "")


def read_lexicon(path, phones: set[str] | None = None) -> list[Entry]:
    """Read ``WORD PHONE PHONE …`` lines, or ``WORD PROBABILITY PHONE …`` if the first line has a number with a point.

    Args:
        path: plain text or gzip, UTF-8, fields separated by spaces or tabs.
        phones: the phones that may be used; None: any.

    Returns:
        entries sorted by word, probability and phones, duplicates removed.

    Raises:
        UserError: a word without phones, a symbol that is reserved, a probability outside (0, 1], an unknown phone.
    """
    entries: dict[tuple[str, tuple[str, ...]], float] = {}
    checked: set[str] = set()
    with_probability = None
    for n, line in numbered_lines(path):
        if _STRANGE_SPACE.search(line):
            raise UserError("a space that is neither a blank nor a tab", file=path, line=n,
                            mend="separate the fields by blanks or tabs")
        word, *rest = line.split() or [""]
        if not word:
            raise UserError("empty line", file=path, line=n, mend="remove it")
        if RESERVED.fullmatch(word):
            raise UserError(f"{word} is a reserved symbol, it cannot be a word", file=path, line=n,
                            mend="remove the line")
        if with_probability is None:
            with_probability = bool(rest) and bool(_PROBABILITY.fullmatch(rest[0]))
        prob = 1.0
        if with_probability:
            prob = _read_probability(rest.pop(0) if rest else "", path, n)
        if not rest:
            raise UserError(f"word {word} has no phones", file=path, line=n, mend="write `WORD PHONE PHONE …`, "
                            "the fields separated by blanks or tabs, or remove the line")
        for phone in rest:
            if phone not in checked:
                _check_phone(phone, path, n)
                if phones is not None and phone not in phones:
                    raise UserError(f"phone {phone} is in no phone list", file=path, line=n,
                                    mend="add it to nonsilence_phones.txt or correct the entry")
                checked.add(phone)
        key = (word, tuple(rest))
        entries[key] = max(prob, entries.get(key, 0.0))
    if not entries:
        raise UserError("the lexicon is empty", file=path, mend="write `WORD PHONE PHONE …`, one a line")
    return sorted((word, prob, pronunciation) for (word, pronunciation), prob in entries.items())


def _read_probability(text: str, path, n: int) -> float:
    try:
        prob = float(text)
    except ValueError:
        prob = -1.0
    if not 0 < prob <= 1:
        raise UserError(f"expected a pronunciation probability in (0, 1], found {text or 'nothing'}", file=path, line=n,
                        mend="give every line a probability or none")
    return prob


def _check_phone(phone: str, path, n: int):
    if RESERVED.fullmatch(phone) or phone.startswith("#"):
        raise UserError(f"{phone} is a reserved symbol, it cannot be a phone", file=path, line=n, mend="rename it")
    if _POSITION_MARK.fullmatch(phone):
        raise UserError(f"phone {phone} ends in a position mark", file=path, line=n,
                        mend="give phones without _B _I _E _S; they are added by prepare_lang")
    if _PROBABILITY.fullmatch(phone):
        raise UserError(f"{phone} is a number where a phone should be", file=path, line=n,
                        mend="give every line a probability or none")


def _groups(path) -> list[tuple[int, tuple[str, ...]]]:
    return [(n, tuple(line.split())) for n, line in numbered_lines(path) if line.split()]
