"""The pronunciation dictionary: a lexicon file, checked, and Kaldi's ``data/<recipe>/dict/`` folder.

A phone's base is its name without the digits at its end: ``AA0 AA1 AA2`` are the stress variants of ``AA``.
"""

from dataclasses import dataclass
from pathlib import Path

from lstmp import config
from lstmp.corpus import silence_model
from lstmp.corpus.lexicon import Entry, check_phone, read_lexicon
from lstmp.corpus.silence_model import SilenceModel
from lstmp.corpus.textlines import columns, numbered_lines
from lstmp.errors import UserError

SILENCE, NOISE = "SIL", "SPN"
SILENCE_WORD, UNKNOWN_WORD = "!SIL", "<UNK>"


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
        """The dictionary of a lexicon file (:mod:`lstmp.corpus.lexicon`)."""
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
                                hint="remove it; it is added by itself")
        entries = sorted({*entries, (SILENCE_WORD, 1.0, (SILENCE,)), (UNKNOWN_WORD, 1.0, (NOISE,))})
        phones = sorted({p for _, _, pronunciation in entries for p in pronunciation} - {SILENCE, NOISE})
        bases: dict[str, list[str]] = {}
        stresses: dict[str, list[str]] = {}
        for phone in phones:
            base, stress = split_stress(phone)
            bases.setdefault(base, []).append(phone)
            stresses.setdefault(stress, []).append(phone)
        if not phones:
            raise UserError("the lexicon has no words", file=path, hint="write `WORD PHONE PHONE …`, one a line")
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
        silence = tuple(p for _, group in _groups(d / "silence_phones.txt") for p in group)
        nonsilence = [f for _, f in _groups(d / "nonsilence_phones.txt")]
        seen: set[str] = set()
        for name in ("silence_phones.txt", "nonsilence_phones.txt"):
            for n, group in _groups(d / name):
                for phone in group:
                    check_phone(phone, d / name, n)
                    if phone in seen:
                        raise UserError(f"phone {phone} is listed twice", file=d / name, line=n,
                                        hint="keep one of the two")
                    seen.add(phone)
        optional = [p for _, group in _groups(d / "optional_silence.txt") for p in group]
        if len(optional) != 1 or optional[0] not in silence:
            raise UserError("expected one phone of silence_phones.txt", file=d / "optional_silence.txt",
                            hint=f"write {SILENCE}")
        questions = d / "extra_questions.txt"
        asked = _groups(questions) if questions.exists() else []  # Kaldi does without
        for n, group in asked:
            for phone in group:
                if phone not in seen:
                    raise UserError(f"phone {phone} is in no phone list", file=questions, line=n, hint="remove it")
        plain = not (d / "lexiconp.txt").exists() and (d / "lexicon.txt").exists()  # as Kaldi's folders may be
        entries = read_lexicon(d / ("lexicon.txt" if plain else "lexiconp.txt"), phones=seen)
        model = None
        if any((d / name).exists() for name in (silence_model.LEXICON, silence_model.SENTENCE)):
            model = SilenceModel.read(d, {(word, phones): prob for word, prob, phones in entries})
        return cls(entries, silence, nonsilence, optional[0], [g for _, g in asked], model)

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


def _groups(path) -> list[tuple[int, tuple[str, ...]]]:
    return [(n, tuple(group)) for n, line in numbered_lines(path) if (group := columns(line))]
