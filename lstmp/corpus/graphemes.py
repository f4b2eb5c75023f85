"""Lexicons without a dictionary: a word's letters are its phones.

What was first done for Romanian and Spanish by S. Kanthak and H. Ney, "Context-dependent acoustic modeling using
graphemes for large vocabulary speech recognition", ICASSP 2002: triphones learn most of what a spelling leaves open.
"""

import unicodedata
from pathlib import Path

from lstmp.corpus.arpa import DATA, arpa_words, check_arpa
from lstmp.corpus.datadir import read_table
from lstmp.corpus.dictionary import SILENCE_WORD, UNKNOWN_WORD, Dictionary
from lstmp.corpus.lexicon import RESERVED, Entry
from lstmp.corpus.pieces import is_whole
from lstmp.corpus.textlines import composed, numbered_lines
from lstmp.errors import UserError
from lstmp.log import warn


def spelled(word: str) -> tuple[str, ...]:
    """The letters, digits and combining signs of a word, in capitals; all else, such as apostrophes, is mute."""
    return tuple(c for c in composed(word).upper() if unicodedata.category(c)[0] in "LMN"
                 and "VARIATION SELECTOR" not in unicodedata.name(c, ""))


def is_graphemic(dictionary: Dictionary) -> bool:
    """Whether all words of a dictionary are pronounced as they are spelled."""
    silence = set(dictionary.silence)
    return all(phones == spelled(word) or set(phones) <= silence for word, _, phones in dictionary.entries)


def spell_words(sources) -> list[Entry]:
    """Lexicon entries of all words of data dirs (their transcripts), ARPA language models, and texts.

    A word without any letter, and one in brackets, such as [NOISE], is left out, with a warning.

    Raises:
        UserError: a source is missing or damaged.
    """
    words: set[str] = set()
    for source in map(Path, sources):
        words |= _words_of(source)
    words = {w for w in words if not RESERVED.fullmatch(w) and w not in (SILENCE_WORD, UNKNOWN_WORD)}
    entries = [(word, 1.0, phones) for word in sorted(words) if not is_whole(word) and len(word.split()) == 1
               and (phones := spelled(word))]
    if mute := sorted(words - {e[0] for e in entries}):
        warn(f"{len(mute)} words without letters, in brackets or with a space are left out: {' '.join(mute[:5])}")
    return entries


def _words_of(source: Path) -> set[str]:
    if source.is_dir():
        return {word for line in read_table(source / "text").values() for word in line.split()}
    words: set[str] = set()
    for _, line in numbered_lines(source):
        if line.strip() == DATA:  # commentary may stand before it
            break
        words.update(line.split())
    else:
        return words
    check_arpa(source)
    if not (words := arpa_words(source)):
        raise UserError("no words in it", file=source, hint="give a language model with 1-grams")
    return words
