"""Reads the pronunciations and the silence probability from ``L.fst`` of a Kaldi lang folder without ``lexiconp.txt``.

Kaldi's ``make_lexicon_fst`` writes ``L.fst`` as follows. From the start state, one path with silence and one path
without it lead to the loop state. Each pronunciation is a path from the loop state back to it, with the word on the
first arc. The path ends at the loop state directly, or at a silence state from which an arc with the silence phone
leads to the loop state. The cost of the path is that of the pronunciation plus that of silence or no silence.
"""

import math
from pathlib import Path

import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError
from lstmp.log import warn

_MAX_STEPS = 20  # steps of the search per arc; more mean that paths branch again and again
_MAX_LENGTH = 1000  # arcs of a pronunciation; more mean a cycle
Lexicon = dict[int, list[tuple[float, tuple[int, ...]]]]
_HINT = "put a lexiconp.txt (`word probability phones`) and a silprob.txt (a probability) into the same folder"


def read_l_fst(path, optional_silence: int) -> tuple[Lexicon, float]:
    """Read the lexicon from ``L.fst``.

    Args:
        path: ``L.fst``.
        optional_silence: id of the optional silence phone.

    Returns:
        word id → [(probability, phone ids), …]; and the probability of silence between words, 0.5 if ``L.fst`` has no
        optional silence.

    Raises:
        UserError: the file is damaged or has another structure, for example one with silence probabilities per word.
    """
    fst = FstArrays.read(path)
    first = np.searchsorted(fst.src, np.arange(len(fst.final) + 1)).tolist()
    ilabel, olabel, weight, dst = (x.tolist() for x in (fst.ilabel, fst.olabel, fst.weight, fst.dst))
    word_states = sorted({int(s) for s in np.unique(fst.src[fst.olabel > 0])})
    if len(word_states) != 1:
        raise UserError(f"{len(word_states)} states have arcs with words, expected one state", file=path, hint=_HINT)
    loop = word_states[0]
    pauses = {s for s in range(len(fst.final)) if s not in (loop, fst.start) and first[s + 1] - first[s] == 1 and
              (ilabel[first[s]], olabel[first[s]], dst[first[s]]) == (optional_silence, 0, loop)}
    pause_cost = min((weight[i] for i in range(first[fst.start], first[fst.start + 1])
                      if ilabel[i] == olabel[i] == 0 and dst[i] in pauses), default=None) if fst.start >= 0 else None
    none_cost = min((weight[i] for i in range(first[fst.start], first[fst.start + 1])
                     if ilabel[i] == olabel[i] == 0 and dst[i] == loop), default=0.0)
    seen: set[tuple] = set()
    lexicon: Lexicon = {}
    steps = 0
    for arc in range(first[loop], first[loop + 1]):  # depth-first search from each arc with a word
        if not olabel[arc]:
            continue
        todo = [(arc, (), 0.0, 1)]
        while todo:
            i, phones, cost, length = todo.pop()
            phones, cost = phones + ((ilabel[i],) if ilabel[i] else ()), cost + weight[i]
            steps += 1
            if steps > 10_000 + _MAX_STEPS * len(ilabel) or length > _MAX_LENGTH or (olabel[i] and i != arc):
                raise UserError(f"the path of word {olabel[arc]} does not lead back to the loop state", file=path,
                                hint=_HINT)
            if dst[i] != loop and dst[i] not in pauses:
                todo += [(j, phones, cost, length + 1) for j in range(first[dst[i]], first[dst[i] + 1])]
                continue
            if dst[i] in pauses and pause_cost is not None:
                continue  # the same pronunciation also has a path without silence
            entry = (olabel[arc], phones)
            if phones and entry not in seen:
                seen.add(entry)
                lexicon.setdefault(olabel[arc], []).append((_probability(cost - none_cost), phones))
    if not lexicon:
        raise UserError("the lexicon has no pronunciation", file=path, hint=_HINT)
    if pause_cost is None or not (sil_prob := _probability(pause_cost)) < 1:
        warn(f"{path}: the lexicon has no optional silence; a probability of 0.5 is used for silence between words")
        sil_prob = 0.5
    return lexicon, sil_prob


def _probability(cost: float) -> float:
    """Return the probability of a cost, with the six digits that a float32 cost can represent."""
    return float(f"{min(max(math.exp(-cost), 1e-10), 1.0):.6g}")


def is_kaldi_lang(directory) -> bool:
    """Whether a lang folder was written by Kaldi: it has ``L.fst`` but no ``lexiconp.txt``."""
    d = Path(directory)
    return (d / "L.fst").is_file() and not (d / "lexiconp.txt").exists()
