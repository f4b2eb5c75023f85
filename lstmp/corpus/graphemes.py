"""Lexicons without a dictionary: a word's letters are its phones.

What was first done for Romanian and Spanish by S. Kanthak and H. Ney, "Context-dependent acoustic modeling using
graphemes for large vocabulary speech recognition", ICASSP 2002: triphones learn most of what a spelling leaves open.
"""

import unicodedata
from pathlib import Path

from lstmp.corpus.arpa import check_arpa
from lstmp.corpus.datadir import read_table
from lstmp.corpus.dictionary import RESERVED, SILENCE_WORD, UNKNOWN_WORD, Dictionary, Entry
from lstmp.corpus.pieces import is_whole
from lstmp.corpus.textlines import numbered_lines
from lstmp.errors import UserError
from lstmp.log import warn


def spelled(word: str) -> tuple[str, ...]:
    """The letters, digits and combining signs of a word, in capitals; all else, such as apostrophes, is mute."""
    return tuple(c for c in unicodedata.normalize("NFC", word).upper() if unicodedata.category(c)[0] in "LMN")


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
    entries = [(word, 1.0, phones) for word in sorted(words) if not is_whole(word) and (phones := spelled(word))]
    if mute := sorted(words - {e[0] for e in entries}):
        warn(f"{len(mute)} words without letters, or in brackets, are left out: {' '.join(mute[:5])}")
    return entries


def _words_of(source: Path) -> set[str]:
    if source.is_dir():
        return {word for line in read_table(source / "text").values() for word in line.split()}
    head = next((line for _, line in numbered_lines(source) if line.strip()), "")
    if head.strip() != "\\data\\":
        return {word for _, line in numbered_lines(source) for word in line.split()}
    check_arpa(source)
    words, within = set(), False
    for _, line in numbered_lines(source):
        if line.startswith("\\"):
            if within:
                break
            within = line.strip() == "\\1-grams:"
        elif within and (fields := line.split()):
            words.add(fields[1])
    if not words:
        raise UserError("no words in it", file=source, mend="give a language model with 1-grams")
    return words
