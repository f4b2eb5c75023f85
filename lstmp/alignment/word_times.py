"""Word times of an alignment: assigns the phones of an utterance to the words of its transcript.

The phones must be pronunciations of the words, with optional silence between them. If the phones have position marks
(_B _I _E _S), so do the pronunciations of the lexicon, and there is only one way to assign them.
"""

import math

from lstmp.corpus.lang import Lang
from lstmp.errors import UserError
from lstmp.gmm.align import Segment

WordPronunciations = list[tuple[int, tuple[int, ...]]]  # (word id, phone ids) in order; optional silence has word 0


def word_segments(phones: list[Segment], words: list[str], lang: Lang) -> list[tuple[str, int, int]]:
    """Compute the times of the words of an utterance.

    Args:
        phones: phones of the utterance, in order.
        words: its transcript; words that are not in the lexicon count as the unknown word.

    Returns:
        (word, first frame, length in frames) of each word, in order.

    Raises:
        UserError: the phones are not a pronunciation of these words.
    """
    try:
        prons = words_by_pronunciations([p.phone for p in phones], lang.word_ids(words)[0], lang)
    except ValueError as e:
        raise UserError(f"its phones are not a pronunciation of its transcript: {e}",
                        hint="give the lang folder and the transcripts that it was aligned with") from None
    times: list[tuple[str, int, int]] = []
    position = 0
    for word, pron in prons:
        first, last = phones[position], phones[position + len(pron) - 1]
        position += len(pron)
        if word:
            times.append((words[len(times)], first.start, last.start + last.length - first.start))
    return times


def words_by_pronunciations(phones: list[int], words: list[int], lang: Lang) -> WordPronunciations:
    """Segment phones into pronunciations of the words of a transcript and optional silence.

    If several segmentations fit, the result is the one whose pronunciations are most probable in the lexicon.

    Args:
        phones: phone ids of an utterance.
        words: word ids of its transcript.

    Returns:
        (word id, phone ids) in order; optional silence has word 0.

    Raises:
        ValueError: no segmentation fits; the message says where.
    """
    read, pause = tuple(phones), (lang.optional_silence,)

    def with_pause(reached):
        for start, (score, history) in list(reached.items()):
            if read[start:start + 1] == pause and reached.get(start + 1, (-math.inf,))[0] < score:
                reached[start + 1] = score, (history, (0, pause))
        return reached

    # number of phones used → log-probability, and history as a linked list (previous, (word, phones))
    reached = with_pause({0: (0.0, None)})
    for word in words:
        following: dict = {}
        for start, (score, history) in reached.items():
            for prob, pron in lang.lexicon.get(word, ()):
                end, total = start + len(pron), score + math.log(prob)
                if read[start:end] == pron and following.get(end, (-math.inf,))[0] < total:
                    following[end] = total, (history, (word, pron))
        if not following:
            raise ValueError(f"no pronunciation of the word {lang.word_names[word]} fits in its place")
        reached = with_pause(following)
    if len(phones) not in reached:
        raise ValueError("phones are left over after the transcript's last word")
    prons, link = [], reached[len(phones)][1]
    while link is not None:
        link, item = link
        prons.append(item)
    return prons[::-1]
