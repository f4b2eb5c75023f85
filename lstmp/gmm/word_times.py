"""Words of a transcript in an alignment: which phones belong to which word.

The phones of an utterance are read as pronunciations of its words with silence between them. Where phones carry
position marks (_B _I _E _S) the lexicon's pronunciations do too, and only one reading is possible; without marks the
reading with the pronunciations that come first in the lexicon is taken.
"""

from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.gmm.align import Segment


def word_segments(phones: list[Segment], words: list[str], lang: Lang) -> list[tuple[str, int, int]]:
    """Times of the words.

    Args:
        phones: the utterance's phones in order.
        words: its transcript; words that the lexicon does not have are pronounced as the unknown word.

    Returns:
        (word, first frame, length in frames) of each word, in order.

    Raises:
        UserError: the phones are no pronunciation of these words.
    """
    ids = [p.phone for p in phones]
    starts = _word_starts(ids, lang.word_ids(words)[0], lang)
    if starts is None:
        raise UserError("its phones are no pronunciation of its transcript",
                        mend="give the lang folder and the transcripts that it was aligned with")
    ends = [end for _, end in starts]
    return [(word, phones[first].start, phones[end - 1].start + phones[end - 1].length - phones[first].start)
            for word, (first, _), end in zip(words, starts, ends, strict=True)]


def _word_starts(phones: list[int], words: list[int], lang: Lang) -> list[tuple[int, int]] | None:
    """(first phone, phone after the last) of each word; None if there is no reading."""
    silence = lang.optional_silence

    def after_silence(i: int):
        yield i
        while i < len(phones) and phones[i] == silence:
            i += 1
            yield i

    reached = [{0: (0, 0)}]  # for each number of words: where they end → (where the last begins, the end before)
    for word in words:
        here: dict[int, tuple[int, int]] = {}
        for end in reached[-1]:
            for first in after_silence(end):
                for _, pronunciation in lang.lexicon.get(word, ()):
                    last = first + len(pronunciation)
                    if tuple(phones[first:last]) == pronunciation:
                        here.setdefault(last, (first, end))
        reached.append(here)
    ends = [end for end in reached[-1] if len(phones) in after_silence(end)]
    if not ends:
        return None
    end, found = ends[0], []
    for here in reversed(reached[1:]):
        first, before = here[end]
        found.append((first, end))
        end = before
    return found[::-1]
