"""Which words of transcripts a vocabulary lacks, and which of them it has in another spelling."""

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable

from lstmp.corpus.textlines import APOSTROPHES, alike
from lstmp.errors import UserError

MAX_UNKNOWN = 0.5  # share of running words; a model that is trained beyond it learns silence and noise
KINDS = ("letter case", "apostrophes", "invisible characters or width", "punctuation")


def unknown_words(said: Counter[str], known: Collection[str]) -> Counter[str]:
    """The words that ``known`` lacks, with how often they are said."""
    return Counter({word: n for word, n in said.items() if word not in known})


def spelled_otherwise(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Unknown word → the known one that is the same but for what :data:`KINDS` names; words that have none are left
    out."""
    forms = {word: (alike(word), _without_punctuation(alike(word))) for word in unknown}
    wanted = {form for pair in forms.values() for form in pair if form}
    there: dict[str, str] = {}
    for word in sorted(known) if wanted else ():
        if (form := alike(word)) in wanted:
            there.setdefault(form, word)
    found = {word: next((form for form in pair if form in there), None) for word, pair in forms.items()}
    return {word: there[form] for word, form in found.items() if form}


def difference(word: str, other: str) -> str:
    """In what two words differ that are alike: one of :data:`KINDS`."""
    if word.casefold() == other.casefold():
        return KINDS[0]
    if word.translate(APOSTROPHES).casefold() == other.translate(APOSTROPHES).casefold():
        return KINDS[1]
    return KINDS[2] if alike(word) == alike(other) else KINDS[3]


def hint(said: Counter[str], known: Collection[str]) -> str:
    """What may be wrong where many words are unknown: another spelling, or none that is seen."""
    unknown = unknown_words(said, known)
    there = spelled_otherwise(unknown, known)
    if not there:
        return f"such as {', '.join(word for word, _ in unknown.most_common(3))}"
    word = max(there, key=lambda w: (unknown[w], w))
    share = sum(unknown[w] for w in there) / unknown.total()
    return f"{100 * share:.0f} % of these are there but for {difference(word, there[word])}: {word} as {there[word]}"


def _without_punctuation(form: str) -> str:
    return form.strip("".join({c for c in form if unicodedata.category(c)[0] in "PS" and c != "'"}))  # dogs' is a word


def check_known(said: Counter[str], known: Collection[str], *, file, where, limit: float = MAX_UNKNOWN):
    """Raise if more than ``limit`` of the running words are unknown.

    Args:
        said: word → how often.
        known: the vocabulary.
        file: the transcripts, for the message.
        where: the vocabulary's file, for the message.
        limit: a share from 0 to 1.

    Raises:
        UserError: too many unknown words.
    """
    n, total = unknown_words(said, known).total(), said.total()
    if n > limit * total:
        raise UserError(f"{n:,} of {total:,} words ({100 * n / total:.1f} %) are not in {where}, {hint(said, known)}",
                        file=file, hint="give transcripts and lexicon one spelling (letter case, apostrophes), or a "
                        "lexicon that has these words")
