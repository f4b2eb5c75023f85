"""Builds the lexicon transducer L from phones to words, with optional silence around every word.

If silence has the same probability everywhere (Mohri, Pereira and Riley, "Speech recognition with weighted finite-state
transducers", 2008), every word is a loop at one state, and its last phone is followed by silence or not. If the
probability depends on the words (Chen et al., 2015, see :mod:`lstmp.corpus.silence_model`), there are two such states,
one after silence and one after no silence, and the first arc of a word has a different cost at each of them.
Disambiguation symbols make the inputs differ for words that have the same phones, or whose phones are the beginning of
another word, so that L ∘ G can be determinized.

Entries may be pieces of words (:mod:`lstmp.corpus.pieces`). One more state then represents the position between two
pieces of a word. There is no silence at this state, and only pieces that do not begin a word leave it.
"""

from collections import Counter

import kaldifst
import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.corpus.silence_model import SilenceModel, SilenceTerms

Pronunciations = list[tuple[int, float, tuple[int, ...]]]
Borders = list[tuple[bool, bool]]

START, LOOP, SILENCE, DISAMBIG = 0, 1, 2, 3
NO_SILENCE = 1  # with a silence model, the states NO_SILENCE and SILENCE replace LOOP


def disambiguate(pronunciations) -> list[int]:
    """Return the disambiguation symbol that must follow each phone sequence: k for ``#k``, 0 for none.

    A sequence needs no symbol if it occurs once and no other sequence begins with it. Equal sequences get #1, #2, … in
    the given order.
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
    """Build L with one silence probability.

    Args:
        entries: (word id, probability, phone ids); for L_disambig, the last phone id is the disambiguation symbol.
        silence: id of the optional silence phone.
        sil_prob: probability of silence at the start and after each word.
        silence_disambig: symbol that follows each optional silence (L_disambig only).
        backoff: phone and word id of ``#0``, which must pass L unchanged (L_disambig only).
        borders: for each entry that is a piece of a word, whether a word begins and whether it ends with the piece;
            None: entries are words.

    Returns:
        The transducer, with arcs sorted by output label, ready for composition with G or with a transcript.
    """
    begins, ends = _borders(borders, entries)
    within = 3 if silence_disambig is None else 4
    special = within + (not ends.all())
    cost_silence, cost_none = -np.log(sil_prob), -np.log(1 - sil_prob)
    phones, words, costs, is_first, is_last, word_of = _phones_of(entries)
    inner = special + np.arange(len(phones)) - word_of  # the state after this phone, unless it is the last of the word

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

    There are two states, after silence and after no silence. The path of a pronunciation leads from one of them to one
    of them. The cost of a sentence is −log of a product: probability · F(before) · P(after) of each word, P at the
    start and F at the end of the sentence.

    Args:
        entries, silence, backoff, borders: as in :func:`lexicon_fst`.
        terms: silence terms of each entry.
        model: the silence model, for the ends of the sentence.
        silence_disambig: symbol that marks the absence of silence (L_disambig only). Kaldi places it there, because
            then silence and its absence differ without an additional state.

    Returns:
        The transducer, as from :func:`lexicon_fst`.
    """
    begins, ends = _borders(borders, entries)
    within, no_silence = 3, silence_disambig or 0
    special = within + (not ends.all())
    phones, words, costs, is_first, is_last, word_of = _phones_of(entries)
    after = special + np.arange(len(phones))  # the state after each phone
    word_terms = np.array(terms, np.float64).reshape(-1, 3)
    phone_terms = word_terms[word_of]
    arcs: list[tuple] = [(after[~is_first] - 1, phones[~is_first], 0, 0.0, after[~is_first])]
    opens, continues = is_first & begins[word_of], is_first & ~begins[word_of]
    for state, column in ((SILENCE, 1), (NO_SILENCE, 2)):
        cost = costs - np.log(phone_terms[:, column])
        arcs.append((state, phones[opens], words[opens], cost[opens], after[opens]))
    arcs.append((within, phones[continues], words[continues], costs[continues], after[continues]))
    closes = after[is_last & ends[word_of]]
    arcs += [(closes, silence, 0, -np.log(word_terms[ends, 0]), SILENCE),
             (closes, no_silence, 0, -np.log1p(-word_terms[ends, 0]), NO_SILENCE),
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
    """Return whether a word begins, and whether it ends, with each entry: two arrays, bool [entries]."""
    both = np.ones((len(entries), 2), bool) if borders is None else np.array(borders, bool).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _phones_of(entries: Pronunciations):
    """Return arrays over all phones of all entries: phone, word, cost of the entry, is first, is last, entry index."""
    length = np.array([len(p) for _, _, p in entries], np.int64)
    phones = np.array([x for _, _, p in entries for x in p], np.int32)
    begin = np.cumsum(length) - length
    word_of = np.repeat(np.arange(len(entries)), length)
    index = np.arange(len(phones)) - begin[word_of]
    words = np.array([w for w, _, _ in entries], np.int32)[word_of]
    costs = -np.log(np.array([p for _, p, _ in entries], np.float64))[word_of]
    return phones, words, costs, index == 0, index == length[word_of] - 1, word_of


def _to_fst(arcs, num_states: int, finals: dict[int, float]) -> kaldifst.StdVectorFst:
    """Build an FST from arcs, given as arrays (src, ilabel, olabel, cost, dst), and sort it by output label."""
    src, ilabel, olabel, cost, dst = (np.concatenate(column) for column in zip(*arcs, strict=True))
    order = np.argsort(src, kind="stable")
    final = np.full(num_states, np.inf, np.float32)
    final[list(finals)] = list(finals.values())
    fst = FstArrays(START, final, src[order], ilabel[order], olabel[order], cost[order], dst[order]).to_fst()
    kaldifst.arcsort(fst, sort_type="olabel")
    return fst


def _arc(*fields):
    return tuple(np.array([x]) for x in fields)
