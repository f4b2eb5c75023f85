"""The lexicon as a transducer L: phones in, words out, optional silence around every word.

Shape (Mohri, Pereira and Riley, "Speech recognition with weighted finite-state transducers", 2008): every word is a
loop at one state; after its last phone either silence follows or not. With disambiguation symbols, words that sound
the same, or that begin as another does, still differ on the input side, so that L ∘ G can be determinized.
"""

from collections import Counter

import kaldifst
import numpy as np

from lstmp.corpus.fst import FstArrays

Pronunciations = list[tuple[int, float, tuple[int, ...]]]

START, LOOP, SILENCE, DISAMBIG = 0, 1, 2, 3


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
                backoff: tuple[int, int] | None = None) -> kaldifst.StdVectorFst:
    """Build L from (word id, probability, phone ids).

    Args:
        entries: for L_disambig, with the disambiguation symbol as the last of the phone ids.
        silence: the optional silence phone.
        sil_prob: probability of silence, at the start and after each word.
        silence_disambig: symbol that follows each optional silence (L_disambig only).
        backoff: phone and word id of ``#0``, which must pass L unchanged (L_disambig only).

    Returns:
        the transducer, arcs sorted by output label, to be composed with G or with a transcript.
    """
    special = 3 if silence_disambig is None else 4
    cost_silence, cost_none = -np.log(sil_prob), -np.log(1 - sil_prob)
    length = np.array([len(p) for _, _, p in entries], np.int64)
    phones = np.array([x for _, _, p in entries for x in p], np.int32)
    begin = np.cumsum(length) - length
    word_of = np.repeat(np.arange(len(entries)), length)
    index = np.arange(len(phones)) - begin[word_of]
    inner = special + np.arange(len(phones)) - word_of  # the state after this phone, unless it is the word's last
    is_first, is_last = index == 0, index == length[word_of] - 1
    words = np.array([w for w, _, _ in entries], np.int32)[word_of]
    costs = -np.log(np.array([p for _, p, _ in entries], np.float64))[word_of]

    src = np.where(is_first, LOOP, inner - 1)
    olabel, cost = np.where(is_first, words, 0), np.where(is_first, costs, 0.0)
    arcs = [  # src, ilabel, olabel, cost, dst
        (src, phones, olabel, cost + np.where(is_last, cost_none, 0.0), np.where(is_last, LOOP, inner)),
        tuple(a[is_last] for a in (src, phones, olabel, cost + cost_silence, np.full_like(src, SILENCE))),
        _arc(START, 0, 0, cost_none, LOOP), _arc(START, 0, 0, cost_silence, SILENCE)]
    if silence_disambig is None:
        arcs.append(_arc(SILENCE, silence, 0, 0.0, LOOP))
    else:
        arcs += [_arc(SILENCE, silence, 0, 0.0, DISAMBIG), _arc(DISAMBIG, silence_disambig, 0, 0.0, LOOP)]
    if backoff is not None:
        arcs.append(_arc(LOOP, *backoff, 0.0, LOOP))
    src, ilabel, olabel, cost, dst = (np.concatenate(column) for column in zip(*arcs, strict=True))
    order = np.argsort(src, kind="stable")
    final = np.full(special + len(phones) - len(entries), np.inf, np.float32)
    final[LOOP] = 0.0
    fst = FstArrays(START, final, src[order], ilabel[order], olabel[order], cost[order], dst[order]).to_fst()
    kaldifst.arcsort(fst, sort_type="olabel")
    return fst


def _arc(*fields):
    return tuple(np.array([x]) for x in fields)
