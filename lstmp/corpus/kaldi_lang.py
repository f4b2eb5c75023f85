"""Kaldi's lang folder, which has no ``lexiconp.txt``: pronunciations and the probability of silence out of ``L.fst``.

Kaldi's ``make_lexicon_fst`` writes it so: from the start there is a way to the loop state with silence and one without;
from the loop state each pronunciation leads, its word on the first arc, back to the loop state, without silence or by
a state before it where silence is said. The cost of its arcs is its probability and that of silence or none.
"""

import math
from pathlib import Path

import numpy as np

from lstmp.corpus.fst import FstArrays
from lstmp.errors import UserError
from lstmp.log import warn

_MOST_STEPS = 100  # along pronunciations, for each arc: more are ways that part again and again, or go around
Lexicon = dict[int, list[tuple[float, tuple[int, ...]]]]
_HINT = "give a lexiconp.txt (`word probability phones`) and a silprob.txt (a probability) beside it"


def read_l_fst(path, optional_silence: int) -> tuple[Lexicon, float]:
    """Read the lexicon.

    Args:
        path: ``L.fst``.
        optional_silence: phone.

    Returns:
        word → [(probability, phones), …], and the probability of silence between words; 0.5 where there is none.

    Raises:
        UserError: it is damaged, or of another structure, such as with silence probabilities for each word.
    """
    fst = FstArrays.read(path)
    first = np.searchsorted(fst.src, np.arange(len(fst.final) + 1)).tolist()
    ilabel, olabel, weight, dst = (x.tolist() for x in (fst.ilabel, fst.olabel, fst.weight, fst.dst))
    hubs = sorted({int(s) for s in np.unique(fst.src[fst.olabel > 0])})
    if len(hubs) != 1:
        raise UserError(f"{len(hubs)} states have words on their arcs, where one is expected", file=path, hint=_HINT)
    loop = hubs[0]
    pauses = {s for s in range(len(fst.final)) if s not in (loop, fst.start) and first[s + 1] - first[s] == 1 and
              (ilabel[first[s]], olabel[first[s]], dst[first[s]]) == (optional_silence, 0, loop)}
    pause_cost = min((weight[i] for i in range(first[fst.start], first[fst.start + 1])
                      if ilabel[i] == olabel[i] == 0 and dst[i] in pauses), default=None) if fst.start >= 0 else None
    none_cost = min((weight[i] for i in range(first[fst.start], first[fst.start + 1])
                     if ilabel[i] == olabel[i] == 0 and dst[i] == loop), default=0.0)
    pronunciation_in: set[tuple] = set()
    lexicon: Lexicon = {}
    steps = 0
    for arc in range(first[loop], first[loop + 1]):
        if not olabel[arc]:
            continue
        todo = [(arc, (), 0.0)]
        while todo:
            i, phones, cost = todo.pop()
            phones, cost = phones + ((ilabel[i],) if ilabel[i] else ()), cost + weight[i]
            steps += 1
            if steps > 1000 + _MOST_STEPS * len(ilabel) or (olabel[i] and i != arc):
                raise UserError(f"word {olabel[arc]} does not lead back to the state that words leave", file=path,
                                hint=_HINT)
            if dst[i] != loop and dst[i] not in pauses:
                todo += [(j, phones, cost) for j in range(first[dst[i]], first[dst[i] + 1])]
                continue
            if dst[i] in pauses and pause_cost is not None:
                continue  # the same pronunciation comes back without silence as well
            entry = (olabel[arc], phones)
            if phones and entry not in pronunciation_in:
                pronunciation_in.add(entry)
                lexicon.setdefault(olabel[arc], []).append((_probability(cost - none_cost), phones))
    if not lexicon:
        raise UserError("no pronunciation in it", file=path, hint=_HINT)
    if pause_cost is None or not (sil_prob := _probability(pause_cost)) < 1:
        warn(f"{path}: no optional silence in it; between words it is taken to be as likely as not")
        sil_prob = 0.5
    return lexicon, sil_prob


def _probability(cost: float) -> float:
    """As many digits as a float32 cost has."""
    return float(f"{min(max(math.exp(-cost), 1e-10), 1.0):.6g}")


def is_kaldis(directory) -> bool:
    """Whether a lang folder is one of Kaldi's: it has ``L.fst``, and no ``lexiconp.txt``."""
    d = Path(directory)
    return (d / "L.fst").is_file() and not (d / "lexiconp.txt").exists()
