"""Makes graphemic lexicons, in which the letters of a word are its phones; they need no pronunciation dictionary.

See S. Kanthak and H. Ney, "Context-dependent acoustic modeling using graphemes for large vocabulary speech
recognition", ICASSP 2002. Context-dependent models (triphones) learn most of the pronunciation that the spelling does
not determine.
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
    """Return the letters, digits and combining marks of a word in upper case; other characters are dropped.

    The Turkish ı is not changed, because it would become the same letter as i.
    """
    letters = "ı".join(part.upper() for part in composed(word).split("ı"))
    return tuple(c for c in letters if unicodedata.category(c)[0] in "LMN"
                 and "VARIATION SELECTOR" not in unicodedata.name(c, ""))


def is_graphemic(dictionary: Dictionary) -> bool:
    """Whether the phones of all words of a dictionary are their letters."""
    silence = set(dictionary.silence)
    return all(phones == spelled(word) or set(phones) <= silence for word, _, phones in dictionary.entries)


def spell_words(sources) -> list[Entry]:
    """Make lexicon entries for all words of data dirs (their transcripts), ARPA language models and texts.

    Words without letters, and words in brackets such as [NOISE], are left out with a warning.

    Args:
        sources: paths of the data dirs, language models and texts.

    Raises:
        UserError: a source is missing or damaged.
    """
    words: set[str] = set()
    for source in map(Path, sources):
        words |= _words_of(source)
    words = {w for w in words if not RESERVED.fullmatch(w) and w not in (SILENCE_WORD, UNKNOWN_WORD)}
    entries = [(word, 1.0, phones) for word in sorted(words) if not is_whole(word) and len(word.split()) == 1
               and (phones := spelled(word))]
    if left_out := sorted(words - {e[0] for e in entries}):
        warn(f"{len(left_out)} words without letters, in brackets or with a space are left out: "
             f"{' '.join(left_out[:5])}")
    return entries


def _words_of(source: Path) -> set[str]:
    if source.is_dir():
        return {word for line in read_table(source / "text").values() for word in line.split()}
    words: set[str] = set()
    for _, line in numbered_lines(source):
        if line.strip() == DATA:  # comments may precede this line
            break
        words.update(line.split())
    else:
        return words
    check_arpa(source)
    if not (words := arpa_words(source)):
        raise UserError("the language model has no words", file=source, hint="give a language model with 1-grams")
    return words
