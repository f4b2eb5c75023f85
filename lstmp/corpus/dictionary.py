"""The pronunciation dictionary: built from a lexicon file, read from and written to ``data/<recipe>/dict/``.

The format of the folder is Kaldi's. The base of a phone is its name without the digits at the end: ``AA0 AA1 AA2`` are
the stress variants of ``AA``.
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
        silence: silence phones; each one forms a separate class.
        nonsilence: for each base phone, a tuple of its stress variants.
        optional_silence: the silence phone that may occur between words.
        extra_questions: phone groups for additional questions of the decision tree.
        silence_model: silence probabilities of each pronunciation; None: the same probability everywhere.
    """

    entries: list[Entry]
    silence: tuple[str, ...]
    nonsilence: list[tuple[str, ...]]
    optional_silence: str
    extra_questions: list[tuple[str, ...]]
    silence_model: SilenceModel | None = None

    @classmethod
    def from_lexicon(cls, path) -> "Dictionary":
        """Build the dictionary from a lexicon file (:mod:`lstmp.corpus.lexicon`)."""
        return cls.from_entries(read_lexicon(path), path)

    @classmethod
    def from_entries(cls, entries: list[Entry], path=None) -> "Dictionary":
        """Build the dictionary from entries: derive the phone classes from the phone names, add ``!SIL`` and ``<UNK>``.

        Args:
            entries: (word, probability, phones).
            path: file of the entries, for messages.

        Raises:
            UserError: there are no words, or ``!SIL`` or ``<UNK>`` has an entry with different phones.
        """
        for word, phone in ((SILENCE_WORD, SILENCE), (UNKNOWN_WORD, NOISE)):
            if any(e[0] == word and e[2] != (phone,) for e in entries):
                raise UserError(f"{word} must be pronounced {phone}", file=path,
                                hint="remove it; it is added automatically")
        entries = sorted({*entries, (SILENCE_WORD, 1.0, (SILENCE,)), (UNKNOWN_WORD, 1.0, (NOISE,))})
        phones = sorted({p for _, _, pronunciation in entries for p in pronunciation} - {SILENCE, NOISE})
        bases: dict[str, list[str]] = {}
        stresses: dict[str, list[str]] = {}
        for phone in phones:
            base, stress = split_stress(phone)
            bases.setdefault(base, []).append(phone)
            stresses.setdefault(stress, []).append(phone)
        if not phones:
            raise UserError("the lexicon has no words", file=path, hint="write one entry `WORD PHONE PHONE …` per line")
        questions = [(SILENCE, NOISE), *(tuple(stresses[s]) for s in sorted(stresses))]
        return cls(entries, (SILENCE, NOISE), [tuple(bases[b]) for b in sorted(bases)], SILENCE, questions)

    @classmethod
    def load(cls, directory) -> "Dictionary":
        """Read a ``dict/`` folder that Kaldi or this program wrote.

        Raises:
            UserError: a file is missing, a phone is in two classes or in none, or the lexicon with silence
                probabilities does not match the lexicon without them.
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
            raise UserError("expected exactly one phone of silence_phones.txt", file=d / "optional_silence.txt",
                            hint=f"write {SILENCE}")
        questions = d / "extra_questions.txt"
        question_groups = _groups(questions) if questions.exists() else []  # optional in Kaldi
        for n, group in question_groups:
            for phone in group:
                if phone not in seen:
                    raise UserError(f"phone {phone} is in no phone list", file=questions, line=n, hint="remove it")
        # a folder of Kaldi may have only lexicon.txt
        without_probs = not (d / "lexiconp.txt").exists() and (d / "lexicon.txt").exists()
        entries = read_lexicon(d / ("lexicon.txt" if without_probs else "lexiconp.txt"), phones=seen)
        model = None
        if any((d / name).exists() for name in (silence_model.LEXICON, silence_model.SENTENCE)):
            model = SilenceModel.read(d, {(word, phones): prob for word, prob, phones in entries})
        return cls(entries, silence, nonsilence, optional[0], [g for _, g in question_groups], model)

    def write(self, directory):
        """Write the five files of the folder, and two more if there is a silence model."""
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
    """Split a phone name into base and stress: ``AA1`` → ``("AA", "1")``. A name that has only digits is a base."""
    base = phone.rstrip("0123456789")
    return (base, phone[len(base):]) if base else (phone, "")


def _groups(path) -> list[tuple[int, tuple[str, ...]]]:
    return [(n, tuple(group)) for n, line in numbered_lines(path) if (group := columns(line))]
