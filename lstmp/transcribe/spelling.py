"""Looks up the words of an ordinary written transcript in a lexicon.

A word is looked up unchanged, and then without the punctuation around it; each time also in upper case, in lower case,
and ignoring case. If the lexicon lacks a word with hyphens or slashes but has all of its parts, the parts are used.
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

UNKNOWN = "<unknown-word>"  # the lexicon entry with which words that the lexicon lacks are aligned

_DASHES = re.compile(r"[\u2012-\u2015\u2026]|--+|\.\.\.+")  # between words, with or without blanks
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")  # not the joiners: words may be spelled with them
_PARTS = re.compile(r"[-\u2010\u2011/_]")
_SPOKEN = frozenset("&%@#")  # Unicode calls them punctuation, but they are spoken
_NOISE = re.compile(r"<.+>|\[.+\]|\{.+\}")  # such as [laughter], whose brackets are not punctuation around a word


@dataclass(frozen=True)
class SpokenWord:
    """A word of a transcript.

    Attributes:
        written: the word as written in the transcript, without the punctuation around it.
        words: the corresponding words of the lexicon; UNKNOWN if the lexicon lacks it.
    """

    written: str
    words: tuple[str, ...]

    @property
    def known(self) -> bool:
        return self.words != (UNKNOWN,)


class Speller:
    """Looks up written words in a lexicon.

    Args:
        known: the words of the lexicon.
    """

    def __init__(self, known: Collection[str]):
        self.known = known
        self._folded: dict[str, str] = {}
        for word in sorted(known):
            self._folded.setdefault(alike(word), word)

    def read(self, text: str) -> list[SpokenWord]:
        """Split a text into its words; tokens of punctuation alone are skipped."""
        text = _DASHES.sub(" ", _INVISIBLE.sub("", composed(text)))
        return [word for token in text.split() if (word := self._word(token))]

    def _word(self, token: str) -> SpokenWord | None:
        if found := self._find(token):
            return SpokenWord(token, (found,))
        if _NOISE.fullmatch(token):
            return SpokenWord(token, (UNKNOWN,))
        core = _stripped(token)
        if not core:
            spoken = any(c in _SPOKEN or unicodedata.category(c)[0] != "P" for c in token)
            return SpokenWord(token, (UNKNOWN,)) if spoken else None
        for candidate in (_stripped(token, "'."), _stripped(token, "'"), core):  # U.S., 'em and dogs' may be words
            if found := self._find(candidate):
                return SpokenWord(candidate, (found,))
        parts = [self._find(_stripped(part, "'")) or self._find(_stripped(part)) for part in _PARTS.split(core) if part]
        known = tuple(part for part in parts if part)
        return SpokenWord(core, known if len(parts) > 1 and len(known) == len(parts) else (UNKNOWN,))

    def _find(self, word: str) -> str | None:
        """Find a word in the lexicon, ignoring case, the form of apostrophes, and joiners."""
        for form in (word, word.translate(APOSTROPHES)):
            for cased in (form, form.upper(), form.lower()):
                if cased in self.known:
                    return cased
        return self._folded.get(alike(word))


def _stripped(token: str, keep: str = "") -> str:
    """Strip all characters except letters, digits and ``keep`` from both ends of a token."""
    outer = [c for c in token if unicodedata.category(c)[0] not in "LNM" and c.translate(APOSTROPHES) not in keep]
    return token.strip("".join(set(outer)))


def known_words(lang_dir: Path) -> set[str]:
    """The words with pronunciations in a lang folder, except the one that represents unknown words."""
    return {*first_columns(lang_dir / "lexiconp.txt")} - {*first_columns(lang_dir / "oov.txt")}


def read_pronunciations(lexicon) -> dict[str, list[Entry]]:
    """Read a lexicon file: word → its entries. With None the result is empty."""
    prons: dict[str, list[Entry]] = {}
    for entry in read_lexicon(lexicon) if lexicon else ():
        prons.setdefault(entry[0], []).append(entry)
    return prons


def write_lang(lang_dir: Path, transcripts: Iterable[list[SpokenWord]], prons: dict[str, list[Entry]], lexicon,
               out: Path) -> Path:
    """Write a lang folder for the alignment of these words. Returns ``out``.

    Args:
        lang_dir: lang folder of the model.
        transcripts: the words of each transcript.
        prons: additional pronunciations, read from the file ``lexicon``.
        out: the folder to write. UNKNOWN gets the pronunciation of the word that represents unknown words.

    Raises:
        UserError: a pronunciation contains a phone that the model lacks.
    """
    needed = {w for words in transcripts for x in words for w in x.words}
    write_part(lang_dir, needed - {UNKNOWN}, out)
    lang = Lang.load(out)
    unknown = [(UNKNOWN, prob, tuple(plain_phone(lang.phone_names[i]) for i in phones)) for prob, phones in
               lang.lexicon[lang.oov]] if UNKNOWN in needed else []
    try:
        add_pronunciations(out, [*unknown, *(entry for word in sorted(needed) for entry in prons.get(word, ()))])
    except UserError as e:
        raise UserError(e.what, file=lexicon, hint=e.hint) from None
    return out
