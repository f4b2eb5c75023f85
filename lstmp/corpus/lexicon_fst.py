"""The lexicon as a transducer L: phones in, words out, optional silence around every word.

Where silence is equally likely everywhere (Mohri, Pereira and Riley, "Speech recognition with weighted finite-state
transducers", 2008), every word is a loop at one state; after its last phone either silence follows or not. Where it
depends on the words (Chen et al., 2015, see :mod:`lstmp.corpus.silence_model`), there are two such states: a word
begins at the one after silence or at the other, and pays for it. With disambiguation symbols, words that sound the
same, or that begin as another does, still differ on the input side, so that L ∘ G can be determinized.

Entries may be pieces of words (:mod:`lstmp.corpus.pieces`). One more state then stands for the place between two pieces
of a word: there is no silence, and only what does not begin a word goes on from it.
"""

from collections import Counter

import kaldifst
import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms

Pronunciations = list[tuple[int, float, tuple[int, ...]]]
Borders = list[tuple[bool, bool]]

START, LOOP, SILENCE, DISAMBIG = 0, 1, 2, 3
NO_SILENCE = 1  # where a silence model has two states for LOOP, beside SILENCE


def disambiguate(pronunciations) -> list[int]:
    """For each phone sequence, which disambiguation symbol must follow it: k for ``#k``, 0 for none.

    None is needed if no other entry has the same phones and none begins with them; equal sequences get #1, #2, … in
    the order given.
    """
    count = Counter(pronunciations)
    prefixes = {p[:n] for p in count for n in range(1, len(p))}
    last: Counter = Counter()
    symbols = []
    for p in pronunciations:
        if count[p] == 1 and p not in prefixes:
            symbols.append(0)
        else:
            last[p] += 1
            symbols.append(last[p])
    return symbols


def lexicon_fst(entries: Pronunciations, *, silence: int, sil_prob: float, silence_disambig: int | None = None,
                backoff: tuple[int, int] | None = None, borders: Borders | None = None) -> kaldifst.StdVectorFst:
    """Build L from (word id, probability, phone ids).

    Args:
        entries: for L_disambig, with the disambiguation symbol as the last of the phone ids.
        silence: the optional silence phone.
        sil_prob: probability of silence, at the start and after each word.
        silence_disambig: symbol that follows each optional silence (L_disambig only).
        backoff: phone and word id of ``#0``, which must pass L unchanged (L_disambig only).
        borders: of pieces of words, whether a word begins and ends with each; None: entries are words.

    Returns:
        the transducer, arcs sorted by output label, to be composed with G or with a transcript.
    """
    begins, ends = _borders(borders, entries)
    within = 3 if silence_disambig is None else 4
    special = within + (not ends.all())
    cost_silence, cost_none = -np.log(sil_prob), -np.log(1 - sil_prob)
    phones, words, costs, is_first, is_last, word_of = _phones_of(entries)
    inner = special + np.arange(len(phones)) - word_of  # the state after this phone, unless it is the word's last

    closes = is_last & ends[word_of]
    src = np.where(is_first, np.where(begins[word_of], LOOP, within), inner - 1)
    dst = np.where(is_last, np.where(ends[word_of], LOOP, within), inner)
    olabel, cost = np.where(is_first, words, 0), np.where(is_first, costs, 0.0)
    arcs = [  # src, ilabel, olabel, cost, dst
        (src, phones, olabel, cost + np.where(closes, cost_none, 0.0), dst),
        tuple(a[closes] for a in (src, phones, olabel, cost + cost_silence, np.full_like(src, SILENCE))),
        _arc(START, 0, 0, cost_none, LOOP), _arc(START, 0, 0, cost_silence, SILENCE)]
    if silence_disambig is None:
        arcs.append(_arc(SILENCE, silence, 0, 0.0, LOOP))
    else:
        arcs += [_arc(SILENCE, silence, 0, 0.0, DISAMBIG), _arc(DISAMBIG, silence_disambig, 0, 0.0, LOOP)]
    if backoff is not None:
        arcs += [_arc(state, *backoff, 0.0, state) for state in (LOOP, *([within] if special > within else []))]
    return _to_fst(arcs, special + len(phones) - len(entries), {LOOP: 0.0})


def silprob_lexicon_fst(entries: Pronunciations, terms: list[SilenceTerms], model: SilenceModel, *, silence: int,
                        silence_disambig: int | None = None, backoff: tuple[int, int] | None = None,
                        borders: Borders | None = None) -> kaldifst.StdVectorFst:
    """Build L with silence probabilities of each pronunciation.

    The path of a pronunciation goes from one of two states, after silence and after none, to one of the two. The cost
    of a path is −log of the product of, word for word, probability · F(before) · P(after), of P at the start and of F
    at the end of the sentence.

    Args:
        entries, silence, backoff, borders: as in :func:`lexicon_fst`.
        terms: those of each entry.
        model: for the ends of the sentence.
        silence_disambig: symbol that stands wherever there is no silence (L_disambig only); Kaldi has it there, as
            silence is then told from its absence without one more state.
    """
    begins, ends = _borders(borders, entries)
    within, no_silence = 3, silence_disambig or 0
    special = within + (not ends.all())
    phones, words, costs, is_first, is_last, word_of = _phones_of(entries)
    after = special + np.arange(len(phones))  # the state after each phone
    of_word = np.array(terms, np.float64).reshape(-1, 3)
    of_phone = of_word[word_of]
    arcs: list[tuple] = [(after[~is_first] - 1, phones[~is_first], 0, 0.0, after[~is_first])]
    opens, goes_on = is_first & begins[word_of], is_first & ~begins[word_of]
    for state, column in ((SILENCE, 1), (NO_SILENCE, 2)):
        cost = costs - np.log(of_phone[:, column])
        arcs.append((state, phones[opens], words[opens], cost[opens], after[opens]))
    arcs.append((within, phones[goes_on], words[goes_on], costs[goes_on], after[goes_on]))
    closes = after[is_last & ends[word_of]]
    arcs += [(closes, silence, 0, -np.log(of_word[ends, 0]), SILENCE),
             (closes, no_silence, 0, -np.log1p(-of_word[ends, 0]), NO_SILENCE),
             (after[is_last & ~ends[word_of]], 0, 0, 0.0, within)]
    arcs = [tuple(np.broadcast_arrays(*arc)) for arc in arcs]
    arcs += [_arc(START, silence, 0, -np.log(model.start), SILENCE),
             _arc(START, no_silence, 0, -np.log1p(-model.start), NO_SILENCE)]
    if backoff is not None:
        states = (SILENCE, NO_SILENCE, *([within] if special > within else []))
        arcs += [_arc(state, *backoff, 0.0, state) for state in states]
    return _to_fst(arcs, special + len(phones),
                   {SILENCE: -np.log(model.end_silence), NO_SILENCE: -np.log(model.end_none)})


def _borders(borders: Borders | None, entries: Pronunciations) -> tuple[np.ndarray, np.ndarray]:
    """bool [entries], twice."""
    both = np.ones((len(entries), 2), bool) if borders is None else np.array(borders, bool).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _phones_of(entries: Pronunciations):
    """For each phone of each entry: phone, word, cost of the pronunciation, is it first, is it last, which entry."""
    length = np.array([len(p) for _, _, p in entries], np.int64)
    phones = np.array([x for _, _, p in entries for x in p], np.int32)
    begin = np.cumsum(length) - length
    word_of = np.repeat(np.arange(len(entries)), length)
    index = np.arange(len(phones)) - begin[word_of]
    words = np.array([w for w, _, _ in entries], np.int32)[word_of]
    costs = -np.log(np.array([p for _, p, _ in entries], np.float64))[word_of]
    return phones, words, costs, index == 0, index == length[word_of] - 1, word_of


def _to_fst(arcs, num_states: int, finals: dict[int, float]) -> kaldifst.StdVectorFst:
    """From arcs as arrays of (src, ilabel, olabel, cost, dst), sorted by output label."""
    src, ilabel, olabel, cost, dst = (np.concatenate(column) for column in zip(*arcs, strict=True))
    order = np.argsort(src, kind="stable")
    final = np.full(num_states, np.inf, np.float32)
    final[list(finals)] = list(finals.values())
    fst = FstArrays(START, final, src[order], ilabel[order], olabel[order], cost[order], dst[order]).to_fst()
    kaldifst.arcsort(fst, sort_type="olabel")
    return fst


def _arc(*fields):
    return tuple(np.array([x]) for x in fields)
