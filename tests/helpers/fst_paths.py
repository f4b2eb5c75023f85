"""The paths of a small FST, one by one."""

import numpy as np

from lstmp.corpus.fst import FstArrays


def paths(fst, longest: int) -> list[tuple[tuple[int, ...], tuple[int, ...], float]]:
    """All (input labels, output labels, cost) of at most ``longest`` input labels, by walking."""
    a = FstArrays.of(fst)
    out, todo = [], [(a.start, (), (), 0.0)]
    while todo:
        state, given, taken, cost = todo.pop()
        if np.isfinite(a.final[state]):
            out.append((given, taken, cost + float(a.final[state])))
        for i in np.flatnonzero(a.src == state):
            longer = given + ((int(a.ilabel[i]),) if a.ilabel[i] else ())
            if len(longer) <= longest:
                words = taken + ((int(a.olabel[i]),) if a.olabel[i] else ())
                todo.append((a.dst[i], longer, words, cost + float(a.weight[i])))
    return out


def sort(found):
    return sorted((given, words, round(cost, 4)) for given, words, cost in found)
