"""The words of a transcript as people write it, found in a lexicon.

A word is looked for as it stands, then without the punctuation around it, each in upper case, in lower case, and
whatever the case. Where a word with hyphens or slashes is not there but all its parts are, it is these.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from lstmp.corpus.lang import Lang
from lstmp.corpus.lexicon import Entry, read_lexicon
from lstmp.corpus.part_of_lang import add_pronunciations, plain_phone, write_part
from lstmp.corpus.textlines import APOSTROPHES, alike, composed, first_columns
from lstmp.errors import UserError

UNKNOWN = "<unknown-word>"  # the entry by which words that the lexicon lacks are aligned

_DASHES = re.compile(r"[\u2012-\u2015\u2026]|--+|\.\.\.+")  # between words, with or without blanks
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")  # all but the joiners, which may be spelling
_PARTS = re.compile(r"[-\u2010\u2011/_]")
_SPOKEN = frozenset("&%@#")  # punctuation to Unicode, but said
_NOISE = re.compile(r"<.+>|\[.+\]|\{.+\}")  # such as [laughter]: its brackets are no punctuation around a word


@dataclass(frozen=True)
class Spoken:
    """A word of a transcript.

    Attributes:
        written: as the transcript has it, without the punctuation around it.
        words: the words of the lexicon that it is; UNKNOWN if the lexicon lacks it.
    """

    written: str
    words: tuple[str, ...]

    @property
    def known(self) -> bool:
        return self.words != (UNKNOWN,)


class Speller:
    """Finds written words in a lexicon.

    Args:
        known: the words of the lexicon.
    """

    def __init__(self, known: Collection[str]):
        self.known = known
        self._folded: dict[str, str] = {}
        for word in sorted(known):
            self._folded.setdefault(alike(word), word)

    def read(self, text: str) -> list[Spoken]:
        """The words of a text; what is punctuation alone is none."""
        text = _DASHES.sub(" ", _INVISIBLE.sub("", composed(text)))
        return [word for token in text.split() if (word := self._word(token))]

    def _word(self, token: str) -> Spoken | None:
        if found := self._find(token):
            return Spoken(token, (found,))
        if _NOISE.fullmatch(token):
            return Spoken(token, (UNKNOWN,))
        core = _stripped(token)
        if not core:
            said = any(c in _SPOKEN or unicodedata.category(c)[0] != "P" for c in token)
            return Spoken(token, (UNKNOWN,)) if said else None
        for candidate in (_stripped(token, "'."), _stripped(token, "'"), core):  # U.S., 'em and dogs' may be words
            if found := self._find(candidate):
                return Spoken(candidate, (found,))
        parts = [self._find(_stripped(part, "'")) or self._find(_stripped(part)) for part in _PARTS.split(core) if part]
        known = tuple(part for part in parts if part)
        return Spoken(core, known if len(parts) > 1 and len(known) == len(parts) else (UNKNOWN,))

    def _find(self, word: str) -> str | None:
        """The word of the lexicon that this is, whatever its case, the form of its apostrophes, and joiners in it."""
        for form in (word, word.translate(APOSTROPHES)):
            for cased in (form, form.upper(), form.lower()):
                if cased in self.known:
                    return cased
        return self._folded.get(alike(word))


def _stripped(token: str, keep: str = "") -> str:
    """A token without what is neither letter nor digit at both ends, ``keep`` excepted."""
    outer = [c for c in token if unicodedata.category(c)[0] not in "LNM" and c.translate(APOSTROPHES) not in keep]
    return token.strip("".join(set(outer)))


def known_words(lang_dir: Path) -> set[str]:
    """The words that a lang folder has pronunciations of, without the one that stands for unknown words."""
    return {*first_columns(lang_dir / "lexiconp.txt")} - {*first_columns(lang_dir / "oov.txt")}


def read_pronunciations(lexicon) -> dict[str, list[Entry]]:
    """Word → its entries in a lexicon file; None: there is none."""
    prons: dict[str, list[Entry]] = {}
    for entry in read_lexicon(lexicon) if lexicon else ():
        prons.setdefault(entry[0], []).append(entry)
    return prons


def write_lang(lang_dir: Path, said: Iterable[list[Spoken]], prons: dict[str, list[Entry]], lexicon, out: Path) -> Path:
    """Write a lang folder to align these words with; returns ``out``.

    Args:
        lang_dir: the model's.
        said: the words of each transcript.
        prons: more pronunciations, read from the file ``lexicon``.
        out: the folder. UNKNOWN is pronounced there as the word that stands for unknown ones.

    Raises:
        UserError: a pronunciation has a phone that the model lacks.
    """
    needed = {w for words in said for x in words for w in x.words}
    write_part(lang_dir, needed - {UNKNOWN}, out)
    lang = Lang.load(out)
    unknown = [(UNKNOWN, prob, tuple(plain_phone(lang.phone_names[i]) for i in phones)) for prob, phones in
               lang.lexicon[lang.oov]] if UNKNOWN in needed else []
    try:
        add_pronunciations(out, [*unknown, *(entry for word in sorted(needed) for entry in prons.get(word, ()))])
    except UserError as e:
        raise UserError(e.what, file=lexicon, hint=e.hint) from None
    return out
