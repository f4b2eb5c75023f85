"""Words of a transcript in an alignment: which phones belong to which word.

The phones of an utterance are read as pronunciations of its words with silence between them. Where phones carry
position marks (_B _I _E _S) the lexicon's pronunciations do too, and only one reading is possible.
"""

import math

from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.gmm.align import Segment

Said = list[tuple[int, tuple[int, ...]]]


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
    try:
        said = words_by_pronunciations([p.phone for p in phones], lang.word_ids(words)[0], lang)
    except ValueError as e:
        raise UserError(f"its phones are no pronunciation of its transcript: {e}",
                        hint="give the lang folder and the transcripts that it was aligned with") from None
    found: list[tuple[str, int, int]] = []
    at = 0
    for word, spelling in said:
        first, last = phones[at], phones[at + len(spelling) - 1]
        at += len(spelling)
        if word:
            found.append((words[len(found)], first.start, last.start + last.length - first.start))
    return found


def words_by_pronunciations(phones: list[int], words: list[int], lang: Lang) -> Said:
    """What was said: pronunciations of a transcript, and optional silence, laid along the phones.

    Where several readings fit, it is the one whose pronunciations are most probable in the lexicon.

    Args:
        phones: phone ids of an utterance.
        words: word ids of its transcript.

    Returns:
        (word id, phone ids) in order; optional silence has word 0.

    Raises:
        ValueError: no reading fits; says where.
    """
    read, pause = tuple(phones), (lang.optional_silence,)

    def with_pause(reached):
        for at, (score, said) in list(reached.items()):
            if read[at:at + 1] == pause and reached.get(at + 1, (-math.inf,))[0] < score:
                reached[at + 1] = score, (said, (0, pause))
        return reached

    reached = with_pause({0: (0.0, None)})  # number of phones read → log-probability and what was said, newest first
    for word in words:
        following: dict = {}
        for at, (score, said) in reached.items():
            for prob, p in lang.lexicon.get(word, ()):
                end, total = at + len(p), score + math.log(prob)
                if read[at:end] == p and following.get(end, (-math.inf,))[0] < total:
                    following[end] = total, (said, (word, p))
        if not following:
            raise ValueError(f"no pronunciation of the word {lang.word_names[word]} fits in its place")
        reached = with_pause(following)
    if len(phones) not in reached:
        raise ValueError("phones are left over after the transcript's last word")
    said, link = [], reached[len(phones)][1]
    while link is not None:
        link, item = link
        said.append(item)
    return said[::-1]
