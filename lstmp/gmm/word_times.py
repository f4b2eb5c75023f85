"""When each word of a transcript was said, from the phones of its alignment."""

from collections.abc import Sequence
from dataclasses import dataclass

from lstmp.corpus.lang import Lang
from lstmp.gmm.align import Segment


@dataclass(frozen=True)
class WordSpan:
    """A word with its first frame and its length in frames."""

    word: str
    start: int
    length: int


def word_spans(phones: list[Segment], words: Sequence[str], lang: Lang) -> list[WordSpan] | None:
    """Divide an alignment's phones among the words, by their pronunciations and with silence between them.

    Position marks in the phones' names are not needed: every way to divide is tried, and the first taken.

    Returns:
        A span for each word; None where the phones are not those of the words.
    """
    ids, _ = lang.word_ids(words)
    tried: set[tuple[int, int]] = set()
    sequence = [p.phone for p in phones]

    def silence(at):
        while at < len(sequence) and sequence[at] == lang.optional_silence:
            at += 1
        return at

    todo = [(0, silence(0), [])]  # word, phone, (first phone, phone after it) of the words before
    while todo:
        k, at, found = todo.pop()
        if k == len(ids):
            if at == len(sequence):
                return [WordSpan(w, phones[a].start, phones[b - 1].start + phones[b - 1].length - phones[a].start)
                        for w, (a, b) in zip(words, found, strict=True)]
            continue
        if (k, at) in tried:
            continue
        tried.add((k, at))
        for _, spelling in lang.lexicon.get(ids[k], []):
            end = at + len(spelling)
            if tuple(sequence[at:end]) == spelling:
                todo.append((k + 1, silence(end), [*found, (at, end)]))
    return None
