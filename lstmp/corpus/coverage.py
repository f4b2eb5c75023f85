"""Finds words of transcripts that are missing from a vocabulary, or that it contains in a different spelling."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

from lstmp.corpus.textlines import APOSTROPHES, alike
from lstmp.errors import UserError

MAX_UNKNOWN = 0.5  # fraction of running words; with more unknown words, training learns only silence and noise
DIFFERENCES = ("letter case", "apostrophes", "invisible characters or width", "punctuation", "accents or vowel signs")
# accents, Hebrew points, Arabic vowel signs, and the Arabic stroke that stretches words (tatweel)
_SIGNS = re.compile("[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u0652\u0670]")


def unknown_words(counts: Counter[str], known: Collection[str]) -> Counter[str]:
    """Return the words that are not in ``known``, with their counts."""
    return Counter({word: n for word, n in counts.items() if word not in known})


def other_spellings(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Map unknown words to known words that differ from them only in one of ``DIFFERENCES``.

    Unknown words without such a known word are left out.
    """
    forms = {word: _forms(word) for word in unknown}
    wanted = {form for forms_of_word in forms.values() for form in forms_of_word if form}
    by_form: dict[str, str] = {}
    by_form_without_signs: dict[str, str] = {}
    for word in sorted(known) if wanted else ():
        form = alike(word)
        if form in wanted:
            by_form.setdefault(form, word)
        if (plain := _without_signs(form)) in wanted:
            by_form_without_signs.setdefault(plain, word)
    spellings = {}
    for word, (form, bare, plain) in forms.items():
        other = by_form.get(form) or by_form.get(bare) or by_form_without_signs.get(plain)
        if other:
            spellings[word] = other
    return spellings


def same_but_spelling(word: str, other: str) -> bool:
    """Whether two words differ only in letter case, apostrophes, width, invisible characters or punctuation."""
    (form, bare, _), (other_form, other_bare, _) = _forms(word), _forms(other)
    return form == other_form or bare == other_bare != ""


def _forms(word: str) -> tuple[str, str, str]:
    """Return the word normalized, also without surrounding punctuation, and also without accents and vowel signs."""
    bare = _without_punctuation(form := alike(word))
    return form, bare, _without_signs(bare)


def difference(word: str, other: str) -> str:
    """Return how two words with similar spelling differ: one of ``DIFFERENCES``."""
    if word.casefold() == other.casefold():
        return DIFFERENCES[0]
    if word.translate(APOSTROPHES).casefold() == other.translate(APOSTROPHES).casefold():
        return DIFFERENCES[1]
    (form, bare, _), (other_form, other_bare, _) = _forms(word), _forms(other)
    return DIFFERENCES[2] if form == other_form else DIFFERENCES[3] if bare == other_bare else DIFFERENCES[4]


def describe_unknown(counts: Counter[str], known: Collection[str]) -> str:
    """Describe the unknown words for a message: how many have a different spelling in ``known``, or some examples."""
    unknown = unknown_words(counts, known)
    spellings = other_spellings(unknown, known)
    if not spellings:
        return f"such as {', '.join(word for word, _ in unknown.most_common(3))}"
    word = max(spellings, key=lambda w: (unknown[w], w))
    share = sum(unknown[w] for w in spellings) / unknown.total()
    other = spellings[word]
    return (f"{100 * share:.0f} % of these are spelled differently there, for example {word} as {other} (different "
            f"{difference(word, other)})")


def _without_punctuation(form: str) -> str:
    return form.strip("".join({c for c in form if unicodedata.category(c)[0] in "PS" and c != "'"}))  # dogs' is a word


def _without_signs(form: str) -> str:
    return form if form.isascii() else unicodedata.normalize("NFC", _SIGNS.sub("", unicodedata.normalize("NFD", form)))


def check_known(counts: Counter[str], known: Collection[str], *, file, where, limit: float = MAX_UNKNOWN):
    """Raise an error if more than the fraction ``limit`` of the running words is unknown.

    Args:
        counts: word → number of occurrences.
        known: the vocabulary.
        file: path of the transcripts, for the message.
        where: path of the vocabulary, for the message.
        limit: a fraction from 0 to 1.

    Raises:
        UserError: too many words are unknown.
    """
    n, total = unknown_words(counts, known).total(), counts.total()
    if n > limit * total:
        raise UserError(f"{n:,} of {total:,} words ({100 * n / total:.1f} %) are not in {where}, "
                        f"{describe_unknown(counts, known)}", file=file, hint="use the same spelling in transcripts "
                        "and lexicon (letter case, apostrophes), or a lexicon that contains these words")
